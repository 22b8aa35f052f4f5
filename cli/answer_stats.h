// answer_stats.h: how long an answer took and what that is in tokens a second.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>

#include "squint/engine.h"

namespace squint::cli {

struct AnswerStats {
  double ms_first_token = 0;           // images and prompt
  double prefill_tokens_a_second = 0;  // of the prompt, those of images included
  double decode_tokens_a_second = 0;   // of the answer but its first; 0: there were none
  int64_t peak_memory = 0;             // of the process so far, in bytes
};
AnswerStats stats_of(const Completion& answer);

// One line; `weight_bytes` are those of the checkpoint.
std::string summary(const Completion& answer, int64_t weight_bytes);
// A line for each, as --stats shows them.
std::string stats_text(const Completion& answer, int64_t weight_bytes);
void add_stats(nlohmann::ordered_json& json, const Completion& answer);

}  // namespace squint::cli
