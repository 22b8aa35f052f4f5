#include "runtime/generation_config.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "models/qwen3_vl/config.h"
#include "squint/error.h"

namespace squint::runtime {
namespace {

bool present(const Json& config, std::string_view key) {
  const auto it = config.find(key);
  return it != config.end() && !it->is_null();
}

double number_or(const Json& config, std::string_view key, double otherwise,
                 std::string_view where) {
  return present(config, key) ? number_member(config, key, where) : otherwise;
}

}  // namespace

void check_sampling(const Sampling& s) {
  const auto expect = [](bool fine, const char* name, const char* range, double found) {
    if (!fine) {
      throw Error(ErrorCode::usage, fmt::format("{}: expected {}, found {}", name, range, found));
    }
  };
  expect(s.temperature >= 0 && s.temperature <= 100, "temperature", "0 to 100", s.temperature);
  expect(s.top_p > 0 && s.top_p <= 1, "top_p", "above 0, at most 1", s.top_p);
  expect(s.top_k >= 0, "top_k", "0 (all) or more", static_cast<double>(s.top_k));
  expect(s.repetition_penalty > 0 && s.repetition_penalty <= 100, "repetition_penalty",
         "above 0, at most 100", s.repetition_penalty);
  expect(s.presence_penalty >= -100 && s.presence_penalty <= 100, "presence_penalty", "-100 to 100",
         s.presence_penalty);
}

GenerationConfig parse_generation_config(const Json& config, std::string_view where) {
  if (!config.is_object()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected a JSON object, found {}", where, config.type_name()));
  }
  GenerationConfig out;
  if (present(config, "do_sample") && bool_member(config, "do_sample", where)) {
    out.sampling.temperature = number_or(config, "temperature", 1, where);
    out.sampling.top_p = number_or(config, "top_p", 1, where);
    out.sampling.top_k = present(config, "top_k") ? int_member(config, "top_k", where) : 0;
  }
  out.sampling.repetition_penalty = number_or(config, "repetition_penalty", 1, where);
  if (const auto eos = config.find("eos_token_id"); eos != config.end()) {
    out.eos_token_ids = qwen3_vl::parse_eos_token_ids(*eos, where);
  }
  try {
    check_sampling(out.sampling);
  } catch (const Error& e) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where, e.what()));
  }
  return out;
}

}  // namespace squint::runtime
