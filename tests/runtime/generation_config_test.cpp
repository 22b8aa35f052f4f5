#include "runtime/generation_config.h"

#include <gtest/gtest.h>

#include <limits>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::runtime {
namespace {

using test::error_of;
using test::says;

GenerationConfig parse(const std::string& text) {
  return parse_generation_config(Json::parse(text), "generation_config.json");
}

std::string refusal(const std::string& text) {
  return error_of(ErrorCode::bad_input, [&] { parse(text); });
}

TEST(GenerationConfig, PublishedFile) {
  const GenerationConfig c =
      parse(test::read_text(test::repo_dir() / "models/reader/generation_config.json"));
  EXPECT_EQ(c.sampling.temperature, 0.7);
  EXPECT_EQ(c.sampling.top_k, 20);
  EXPECT_EQ(c.sampling.top_p, 0.8);
  EXPECT_EQ(c.sampling.repetition_penalty, 1.0);
  EXPECT_EQ(c.sampling.presence_penalty, 0.0);
  EXPECT_EQ(c.eos_token_ids, (std::vector<int64_t>{1000, 998}));
}

TEST(GenerationConfig, EmptyFileIsGreedy) {
  const GenerationConfig c = parse("{}");
  EXPECT_EQ(c.sampling.temperature, 0.0);
  EXPECT_EQ(c.sampling.top_k, 0);
  EXPECT_EQ(c.sampling.top_p, 1.0);
  EXPECT_EQ(c.sampling.repetition_penalty, 1.0);
  EXPECT_TRUE(c.eos_token_ids.empty());
}

TEST(GenerationConfig, NullIsAbsent) {
  const GenerationConfig c = parse(R"({"do_sample": true, "temperature": null, "top_k": null,
      "top_p": null, "repetition_penalty": null, "eos_token_id": null})");
  EXPECT_EQ(c.sampling.temperature, 1.0);
  EXPECT_EQ(c.sampling.top_k, 0);
  EXPECT_EQ(c.sampling.top_p, 1.0);
  EXPECT_TRUE(c.eos_token_ids.empty());
  EXPECT_EQ(parse(R"({"do_sample": null, "temperature": 0.5})").sampling.temperature, 0.0);
}

TEST(GenerationConfig, GreedyUnlessAskedToSample) {
  const GenerationConfig c =
      parse(R"({"do_sample": false, "temperature": 0.7, "top_k": 20, "repetition_penalty": 1.5})");
  EXPECT_EQ(c.sampling.temperature, 0.0);
  EXPECT_EQ(c.sampling.top_k, 0);
  EXPECT_EQ(c.sampling.repetition_penalty, 1.5);
}

TEST(GenerationConfig, EndTokens) {
  EXPECT_EQ(parse(R"({"eos_token_id": 151645})").eos_token_ids, std::vector<int64_t>{151645});
  EXPECT_EQ(parse(R"({"eos_token_id": [3, 0]})").eos_token_ids, (std::vector<int64_t>{3, 0}));
  EXPECT_TRUE(parse(R"({"eos_token_id": []})").eos_token_ids.empty());
  for (const char* value :
       {"-1", "1.5", "\"7\"", "[1, -1]", "[[1]]", "true", "{}", "18446744073709551615"}) {
    const std::string message = refusal(std::string(R"({"eos_token_id": )") + value + "}");
    EXPECT_TRUE(says(message, "generation_config.json: \"eos_token_id\"")) << value;
  }
}

TEST(GenerationConfig, NonsenseIsNamed) {
  const std::vector<std::pair<const char*, std::vector<const char*>>> cases = {
      {"temperature", {"-0.1", "101", "1e300", "\"hot\"", "[1]", "true"}},
      {"top_p", {"0", "-1", "1.01", "\"1\""}},
      {"top_k", {"-1", "2.5", "1e300", "9223372036854775808", "\"20\""}},
      {"repetition_penalty", {"0", "-1", "1e9", "{}"}},
      {"do_sample", {"1", "\"true\"", "[]"}}};
  for (const auto& [key, values] : cases) {
    for (const char* value : values) {
      Json config = {{"do_sample", true}};
      config[key] = Json::parse(value);
      const std::string message = refusal(config.dump());
      EXPECT_TRUE(says(message, "generation_config.json")) << value;
      EXPECT_TRUE(says(message, key)) << value;
    }
  }
}

TEST(GenerationConfig, NotAnObject) {
  for (const char* text : {"[]", "null", "7", "\"x\""}) {
    EXPECT_TRUE(says(refusal(text), "expected a JSON object"));
  }
}

TEST(CheckSampling, LimitsAreInclusiveWhereTheySaySo) {
  check_sampling({});
  check_sampling({.repetition_penalty = 100,
                  .presence_penalty = -100,
                  .temperature = 100,
                  .top_k = std::numeric_limits<int64_t>::max(),
                  .top_p = 1e-9});
  check_sampling({.presence_penalty = 100, .temperature = 0});
}

TEST(CheckSampling, EveryValueIsNamed) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const double infinity = std::numeric_limits<double>::infinity();
  const std::vector<std::pair<Sampling, std::string>> cases = {
      {{.temperature = -1}, "temperature"},
      {{.temperature = nan}, "temperature"},
      {{.temperature = infinity}, "temperature"},
      {{.top_p = 0}, "top_p"},
      {{.top_p = nan}, "top_p"},
      {{.top_k = -1}, "top_k"},
      {{.repetition_penalty = 0}, "repetition_penalty"},
      {{.repetition_penalty = nan}, "repetition_penalty"},
      {{.presence_penalty = 101}, "presence_penalty"},
      {{.presence_penalty = nan}, "presence_penalty"}};
  for (const auto& [sampling, name] : cases) {
    const std::string message =
        error_of(ErrorCode::usage, [&sampling = sampling] { check_sampling(sampling); });
    EXPECT_TRUE(says(message, name + ": "));
  }
}

}  // namespace
}  // namespace squint::runtime
