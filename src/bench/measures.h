// measures.h: one model, once: loaded, asked, and gone again.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "bench/energy.h"
#include "squint/bench.h"
#include "squint/engine.h"

namespace squint::bench {

// What is known of a model before it is loaded.
struct ModelFacts {
  int64_t parameters = 0;
  int64_t token_weight_bytes = 0;  // prepared text layers and head
  int64_t max_tokens = 0;          // of prompt and answer
  double image_operations = 0;
  int64_t image_tokens = 0;
  std::function<double(int64_t tokens)> prefill_operations;
  std::function<double(int64_t tokens)> cache_bytes;  // read for a token after so many
};
ModelFacts facts_of(const std::filesystem::path& model, const BenchOptions& options,
                    const Backend& backend);

// One round of one model.
struct Round {
  double load_s = 0;
  int64_t loaded_bytes = 0;  // resident beside what there was before the load
  int64_t peak_bytes = 0;
  int64_t stored_bytes = 0;
  Completion answer;                                // to the image; empty where there is none
  double joules = -1;                               // of that answer; below 0: not readable
  std::map<int64_t, double> prefill_ms;             // by tokens
  std::map<int64_t, double> decode_ms;              // of a token, by depth
  std::map<std::string, std::vector<int32_t>> ids;  // of every answer, by what was asked
};
using Step = std::function<void(const std::string& what)>;  // called before each
Round run_round(const std::filesystem::path& model, const BenchOptions& options,
                const ModelFacts& facts, Backend& backend, EnergyMeter& energy, const Step& step);

// Prompts of a round, ascending: those of `prefill` and `depth` that the model has room for.
std::vector<int64_t> prompts_of(const BenchOptions& options, const ModelFacts& facts);
bool has_room(int64_t prompt, const BenchOptions& options, const ModelFacts& facts);

}  // namespace squint::bench
