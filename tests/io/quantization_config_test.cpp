#include "io/quantization_config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::io {
namespace {

using test::error_of;
using test::says;

std::string published_text() {
  return test::read_text(test::repo_dir() / "tests/data/io/quantization_config_8b.json");
}

Json published() { return Json::parse(published_text()); }

QuantizationConfig parse(const Json& quantization) {
  const Json config = {{"quantization_config", quantization}};
  return find_quantization_config(config, "config.json").value();
}

Json& weights_of(Json& quantization) { return quantization["config_groups"]["group_0"]["weights"]; }

// The list that a vision tower of 27 blocks and an untouched lm_head give.
std::vector<ModulePattern> ignore_list_8b() {
  std::vector<ModulePattern> ignore;
  const auto add = [&](const std::string& name) { ignore.emplace_back(name); };
  for (int block = 0; block < 27; ++block) {
    const std::string start = "model.visual.blocks." + std::to_string(block);
    for (const char* end : {".attn.qkv", ".attn.proj", ".mlp.linear_fc1", ".mlp.linear_fc2"}) {
      add(start + end);
    }
  }
  for (const char* merger : {"merger", "deepstack_merger_list.0", "deepstack_merger_list.1",
                             "deepstack_merger_list.2"}) {
    for (const char* end : {".linear_fc1", ".linear_fc2"}) {
      add(std::string("model.visual.") + merger + end);
    }
  }
  add("lm_head");
  return ignore;
}

// The text that the ecosystem's loaders are known to accept, to the byte.
TEST(QuantizationConfig, IsWrittenInThePortableForm) {
  const QuantizationConfig config{.groups = {QuantizationGroup{}}, .ignore = ignore_list_8b()};
  EXPECT_EQ(config.ignore.size(), 117u);
  EXPECT_EQ(quantization_config_json(config) + "\n", published_text());
}

TEST(QuantizationConfig, PublishedFormIsRead) {
  const QuantizationConfig config = parse(published());
  ASSERT_EQ(config.groups.size(), 1u);
  EXPECT_EQ(config.groups[0].scheme, QuantizationScheme{});
  EXPECT_EQ(config.groups[0].observer, "memoryless_minmax");
  EXPECT_EQ(config.ignore.size(), 117u);
  EXPECT_TRUE(config.ignores("lm_head"));
  EXPECT_TRUE(config.ignores("model.visual.merger.linear_fc2"));
  EXPECT_FALSE(config.ignores("model.language_model.layers.0.mlp.down_proj"));
  EXPECT_EQ(config.group_of("model.language_model.layers.0.mlp.down_proj"), &config.groups[0]);
}

TEST(QuantizationConfig, EverySchemeComesBack) {
  for (const int bits : {4, 8}) {
    for (const int64_t group_size : {0, 32, 128}) {
      for (const bool symmetric : {true, false}) {
        QuantizationConfig config{.groups = {QuantizationGroup{}}, .ignore = {}};
        config.groups[0].scheme = {bits, group_size, symmetric};
        config.groups[0].observer = "memoryless_mse";
        const QuantizationConfig back = parse(Json::parse(quantization_config_json(config)));
        EXPECT_EQ(back.groups.at(0).scheme, config.groups[0].scheme);
        EXPECT_EQ(back.groups.at(0).observer, "memoryless_mse");
        EXPECT_TRUE(back.ignore.empty());
      }
    }
  }
}

TEST(QuantizationConfig, KeysOfOtherReleasesAreAccepted) {
  Json q = published();
  weights_of(q)["scale_dtype"] = nullptr;
  weights_of(q)["zp_dtype"] = "torch.int8";
  weights_of(q)["actorder"] = "static";
  weights_of(q).erase("observer");
  q["config_groups"]["group_0"].erase("format");
  q["something_new"] = 1;
  q["sparsity_config"] = {{"format", "dense"}};
  q.erase("ignore");
  EXPECT_EQ(parse(q).groups.at(0).scheme, QuantizationScheme{});
}

TEST(QuantizationConfig, ConfigWithoutTheKeyIsNotQuantized) {
  EXPECT_FALSE(find_quantization_config(Json::object(), "c").has_value());
  EXPECT_FALSE(find_quantization_config({{"quantization_config", nullptr}}, "c").has_value());
}

TEST(QuantizationConfig, ManyGroupsAreReadInTheirOrder) {
  Json q = published();
  for (int i = 1; i < 12; ++i) {
    const std::string name = "group_" + std::to_string(i);
    q["config_groups"][name] = q["config_groups"]["group_0"];
    q["config_groups"][name]["weights"]["group_size"] = 16 * i;
  }
  const QuantizationConfig config = parse(q);
  ASSERT_EQ(config.groups.size(), 12u);
  EXPECT_EQ(config.groups[2].scheme.group_size, 32);
  EXPECT_EQ(config.groups[10].scheme.group_size, 160);
  EXPECT_EQ(parse(Json::parse(quantization_config_json(config))).groups[11].scheme.group_size, 176);
}

TEST(QuantizationConfig, NameWinsOverExpressionOverClass) {
  QuantizationConfig config;
  for (const char* target : {"Linear", "re:.*down_proj$", "m.1.down_proj"}) {
    QuantizationGroup group;
    group.targets = {ModulePattern(target)};
    config.groups.push_back(group);
  }
  EXPECT_EQ(config.group_of("m.1.down_proj"), &config.groups[2]);
  EXPECT_EQ(config.group_of("m.2.down_proj"), &config.groups[1]);
  EXPECT_EQ(config.group_of("m.2.up_proj"), &config.groups[0]);
  config.groups.erase(config.groups.begin());
  EXPECT_EQ(config.group_of("m.2.up_proj"), nullptr);
}

TEST(QuantizationConfig, UnsupportedKindsAreRefused) {
  struct Case {
    const char* pointer;
    Json value;
    const char* says;
  };
  const char* weights = "/config_groups/group_0/weights";
  const std::vector<Case> cases = {
      {"/quant_method", "awq", "the method is \"awq\""},
      {"/quant_method", "gptq", "the method is \"gptq\""},
      {"/format", "float-quantized", "\"format\" is \"float-quantized\""},
      {"/quantization_status", "frozen", "quantization_status"},
      {"/kv_cache_scheme", {{"num_bits", 8}}, "\"kv_cache_scheme\" is set"},
      {"/transform_config", {{"config_groups", 1}}, "\"transform_config\" is set"},
      {"/sparsity_config", {{"format", "sparse-24"}}, "sparse-24"},
      {"/config_groups/group_0/format", "nvfp4-pack-quantized", "nvfp4-pack-quantized"},
      {"/config_groups/group_0/input_activations", {{"num_bits", 8}}, "input_activations"},
      {"/config_groups/group_0/output_activations", {{"num_bits", 8}}, "output_activations"},
      {weights, nullptr, "no description of quantized weights"},
      {"/config_groups/group_0/weights/num_bits", 3, "3 bits"},
      {"/config_groups/group_0/weights/type", "float", "\"type\" is \"float\""},
      {"/config_groups/group_0/weights/dynamic", true, "\"dynamic\" is true"},
      {"/config_groups/group_0/weights/strategy", "tensor", "the strategy is \"tensor\""},
      {"/config_groups/group_0/weights/actorder", "group", "another order"},
      {"/config_groups/group_0/weights/block_structure", "2x2", "block_structure"},
      {"/ignore/0", "re:(unclosed", "not a regular expression"},
      {"/ignore/0", "re:(?<=x)y", "not a regular expression"},
      {"/ignore/0", "re:(a)\\1", "not a regular expression"},
      {"/ignore/0", "re:" + std::string(600, 'a'), "longer than 512"},
  };
  for (const Case& c : cases) {
    Json q = published();
    q[Json::json_pointer(c.pointer)] = c.value;
    const std::string message = error_of(ErrorCode::unsupported, [&] { parse(q); });
    EXPECT_TRUE(says(message, c.says)) << c.pointer;
    if (std::string_view(c.pointer) != "/ignore/0") {
      EXPECT_TRUE(says(message, "supported is compressed-tensors in pack-quantized format"));
    }
  }
}

TEST(QuantizationConfig, DamageIsNamed) {
  struct Case {
    const char* pointer;
    Json value;
    const char* says;
  };
  const std::vector<Case> cases = {
      {"", 1, "expected an object with \"quant_method\""},
      {"/quant_method", 1, "should be a string"},
      {"/config_groups", Json::array(), "at least one group"},
      {"/config_groups", Json::object(), "at least one group"},
      {"/config_groups/group_0", 7, "config_groups.group_0: expected an object"},
      {"/config_groups/group_0/targets", "Linear", "targets: expected a list"},
      {"/config_groups/group_0/weights/group_size", 0, "should be positive"},
      {"/config_groups/group_0/weights/group_size", -128, "should be positive"},
      {"/config_groups/group_0/weights/group_size", nullptr, "\"group_size\" should be an integer"},
      {"/config_groups/group_0/weights/num_bits", "4", "\"num_bits\" should be an integer"},
      {"/config_groups/group_0/weights/symmetric", 1, "should be true or false"},
      {"/config_groups/group_0/weights/observer", 1, "\"observer\" should be a string"},
      {"/ignore", "lm_head", "ignore: expected a list"},
      {"/ignore/3", 3, "found number"},
  };
  for (const Case& c : cases) {
    Json q = published();
    q[Json::json_pointer(c.pointer)] = c.value;
    const std::string message = error_of(ErrorCode::bad_input, [&] { parse(q); });
    EXPECT_TRUE(says(message, c.says)) << c.pointer;
    EXPECT_TRUE(says(message, "config.json: quantization_config"));
  }
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [] { find_quantization_config(1, "c"); }),
                   "c: expected an object"));
}

TEST(ModulePattern, ExpressionsMatchFromTheStartOfTheName) {
  EXPECT_TRUE(ModulePattern("re:.*visual.*").matches("model.visual.merger.linear_fc1"));
  EXPECT_TRUE(ModulePattern("re:model[.]visual").matches("model.visual.merger.linear_fc1"));
  EXPECT_FALSE(ModulePattern("re:visual.*").matches("model.visual.merger.linear_fc1"));
  EXPECT_FALSE(ModulePattern("re:.*lm_head$").matches("lm_head.x"));
  EXPECT_TRUE(ModulePattern("re:^(?!.*down_proj).*proj$").matches("mlp.up_proj"));
  EXPECT_FALSE(ModulePattern("re:^(?!.*down_proj).*proj$").matches("mlp.down_proj"));
}

TEST(ModulePattern, NamesMatchWholeAndTheClassMatchesAll) {
  EXPECT_TRUE(ModulePattern("lm_head").matches("lm_head"));
  EXPECT_FALSE(ModulePattern("lm_head").matches("lm_head.x"));
  EXPECT_FALSE(ModulePattern("lm.head").matches("lm_head"));
  EXPECT_TRUE(ModulePattern("Linear").matches("anything"));
  EXPECT_FALSE(ModulePattern("Linear").matches("model.language_model.embed_tokens"));
  EXPECT_TRUE(ModulePattern("Embedding").matches("model.language_model.embed_tokens"));
  EXPECT_FALSE(ModulePattern("Embedding").matches("lm_head"));
  EXPECT_FALSE(ModulePattern("Embedding").matches("anything"));
}

// A backtracking matcher needs longer than the age of the universe for this.
TEST(ModulePattern, HostileExpressionsTakeNoTime) {
  const ModulePattern pattern("re:(a*)*(a*)*(a*)*b");
  EXPECT_FALSE(pattern.matches(std::string(200, 'a')));
  EXPECT_FALSE(ModulePattern("re:a*").matches(std::string(100'000, 'a')));
  error_of(ErrorCode::unsupported, [] { ModulePattern("re:((a{1000}){1000}){1000}"); });
  // Compiled to as many copies, through which the matcher recurses.
  EXPECT_TRUE(
      says(error_of(ErrorCode::unsupported,
                    [] { ModulePattern("re:(?:a?){10000}").matches(std::string(200, 'a')); }),
           "counted repeats"));
  // Every level inside multiplies the steps by the name's length.
  std::string nested = "b";
  for (int level = 0; level < 8; ++level) nested = "(?:.(?=" + nested + "|(?:.)*))*b";
  EXPECT_TRUE(says(error_of(ErrorCode::unsupported,
                            [&] { ModulePattern("re:" + nested).matches(std::string(200, 'a')); }),
                   "more than 2 lookaheads"));
}

TEST(ModulePattern, TwoLookaheadsAreUnderstood) {
  const ModulePattern pattern("re:^(?=.*layers)(?!.*down_proj)(?:.*)proj$");
  EXPECT_TRUE(pattern.matches("layers.1.up_proj"));
  EXPECT_FALSE(pattern.matches("layers.1.down_proj"));
  EXPECT_FALSE(pattern.matches("blocks.1.up_proj"));
}

TEST(InsertQuantizationConfig, KeepsOrderAndValuesOfEverythingElse) {
  const QuantizationConfig config{.groups = {QuantizationGroup{}}, .ignore = {}};
  const std::string text = insert_quantization_config(
      R"({"z": 1e-06, "a": [1, 5000000.0], "m": {"y": "é", "b": null}, "big": 151936})", config);
  const std::string kept = R"({
  "z": 1e-06,
  "a": [
    1,
    5000000.0
  ],
  "m": {
    "y": "é",
    "b": null
  },
  "big": 151936,
  "quantization_config": {
    "config_groups": {
      "group_0": {
        "format": "pack-quantized",
)";
  EXPECT_EQ(text.substr(0, kept.size()), kept);
  EXPECT_TRUE(text.ends_with("    \"version\": \"0.18.0\"\n  }\n}\n"));
}

TEST(InsertQuantizationConfig, ReplacesInPlace) {
  const QuantizationConfig config{.groups = {QuantizationGroup{}}, .ignore = {}};
  const std::string once =
      insert_quantization_config(R"({"quantization_config": 1, "after": 2})", config);
  EXPECT_TRUE(once.ends_with("\"after\": 2\n}\n"));
  EXPECT_EQ(insert_quantization_config(once, config), once);
}

TEST(InsertQuantizationConfig, ConfigMustBeAnObject) {
  for (const char* text : {"", "[]", "{", "1"}) {
    error_of(ErrorCode::bad_input, [&] { insert_quantization_config(text, {}); });
  }
}

}  // namespace
}  // namespace squint::io
