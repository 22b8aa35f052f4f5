// answers.h: a benchmark's rows answered greedily, compared with the reference's answers.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "squint/backend.h"

namespace squint::test {

struct AnswerResult {
  int64_t rows = 0;
  int64_t score = 0;
  std::vector<std::string> differences;  // answers that differ where the reference was sure
};

// `predictions` is a JSON list of {"text", "min_margin"} in the rows' order: min_margin is the
// smallest distance of the reference's two best logits, and up to 1e-3 a coin toss.
AnswerResult answer_all(const std::filesystem::path& model, const std::filesystem::path& data,
                        const std::filesystem::path& predictions, Backend& backend);

}  // namespace squint::test
