#include "models/qwen3_vl/config.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::qwen3_vl {
namespace {

using test::error_of;
using test::says;

Json published() {
  return Json::parse(test::read_text(test::repo_dir() / "models/reader/config.json"));
}

// The same model as newer writers spell it.
Json newer() {
  Json config = published();
  Json& text = config["text_config"];
  text["rope_parameters"] = text["rope_scaling"];
  text["rope_parameters"]["rope_theta"] = text["rope_theta"];
  text.erase("rope_scaling");
  text.erase("rope_theta");
  config["vision_config"]["model_type"] = "qwen3_vl_vision";
  return config;
}

Json patched(const char* merge_patch) {
  Json config = published();
  config.merge_patch(Json::parse(merge_patch));
  return config;
}

std::string refusal(ErrorCode code, const Json& config) {
  return error_of(code, [&] { parse_config(config, "some/config.json"); });
}

// Sections of config.json and the whole numbers that each must have.
const std::vector<std::pair<std::string, std::vector<std::string>>> kIntegers = {
    {"", {"image_token_id", "video_token_id"}},
    {"/text_config",
     {"hidden_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads", "head_dim",
      "intermediate_size", "vocab_size", "max_position_embeddings"}},
    {"/vision_config",
     {"hidden_size", "depth", "num_heads", "intermediate_size", "num_position_embeddings",
      "patch_size", "temporal_patch_size", "spatial_merge_size", "out_hidden_size"}}};

// Calls check(pointer, section, key) for every one of them.
template <class Check>
void for_integers(const Check& check) {
  for (const auto& [section, keys] : kIntegers) {
    for (const std::string& key : keys) {
      check(Json::json_pointer(section + "/" + key), section.empty() ? "" : section.substr(1), key);
    }
  }
}

void expect_reader(const Config& c) {
  EXPECT_EQ(c.text.hidden, 384);
  EXPECT_EQ(c.text.layers, 6);
  EXPECT_EQ(c.text.heads, 6);
  EXPECT_EQ(c.text.kv_heads, 2);
  EXPECT_EQ(c.text.head_dim, 64);
  EXPECT_EQ(c.text.intermediate, 1152);
  EXPECT_EQ(c.text.vocab, 1024);
  EXPECT_EQ(c.text.max_positions, 4096);
  EXPECT_EQ(c.text.norm_eps, 1e-6f);
  EXPECT_EQ(c.text.rope_theta, 5e6);
  EXPECT_EQ(c.text.mrope_section, (std::array<int64_t, 3>{12, 10, 10}));
  EXPECT_EQ(c.vision.hidden, 192);
  EXPECT_EQ(c.vision.depth, 6);
  EXPECT_EQ(c.vision.heads, 3);
  EXPECT_EQ(c.vision.head_dim(), 64);
  EXPECT_EQ(c.vision.intermediate, 768);
  EXPECT_EQ(c.vision.positions, 576);
  EXPECT_EQ(c.vision.patch_size, 16);
  EXPECT_EQ(c.vision.temporal_patch_size, 2);
  EXPECT_EQ(c.vision.merge_size, 2);
  EXPECT_EQ(c.vision.out_hidden, 384);
  EXPECT_EQ(c.vision.patch_values(), 1536);
  EXPECT_EQ(c.vision.merged_hidden(), 768);
  EXPECT_EQ(c.vision.deepstack_blocks, (std::vector<int64_t>{1, 2, 4}));
  EXPECT_EQ(c.image_token_id, 1010);
  EXPECT_EQ(c.video_token_id, 1011);
  EXPECT_EQ(c.eos_token_ids, std::vector<int64_t>{1000});
  EXPECT_FALSE(c.tied_head);
}

TEST(Config, PublishedSpelling) { expect_reader(parse_config(published(), "config.json")); }

TEST(Config, NewerSpelling) { expect_reader(parse_config(newer(), "config.json")); }

TEST(Config, EndTokens) {
  const auto ids = [](const char* value) {
    Json config = published();
    config["text_config"]["eos_token_id"] = Json::parse(value);
    return parse_config(config, "config.json").eos_token_ids;
  };
  EXPECT_EQ(ids("7"), std::vector<int64_t>{7});
  EXPECT_EQ(ids("[7, 0]"), (std::vector<int64_t>{7, 0}));
  EXPECT_TRUE(ids("[]").empty());
  EXPECT_TRUE(ids("null").empty());
  for (const char* value : {"-1", "1.5", "\"7\"", "[1, -1]", "[[1]]", "true", "{}"}) {
    Json config = published();
    config["text_config"]["eos_token_id"] = Json::parse(value);
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "text_config: \"eos_token_id\""))
        << value;
  }
}

TEST(Config, NewerSpellingMayKeepRopeThetaOutside) {
  Json config = newer();
  config["text_config"]["rope_parameters"].erase("rope_theta");
  config["text_config"]["rope_theta"] = 1e4;
  EXPECT_EQ(parse_config(config, "config.json").text.rope_theta, 1e4);
}

TEST(Config, RopeThetaInsideWins) {
  Json config = newer();
  config["text_config"]["rope_theta"] = 500000;  // the class default of another version
  EXPECT_EQ(parse_config(config, "config.json").text.rope_theta, 5e6);
}

TEST(Config, MissingNumbersAreNamed) {
  for_integers(
      [](const Json::json_pointer& at, const std::string& section, const std::string& key) {
        Json config = published();
        config[at.parent_pointer()].erase(key);
        const std::string message = refusal(ErrorCode::bad_input, config);
        EXPECT_TRUE(says(message, "some/config.json")) << key;
        EXPECT_TRUE(says(message, section)) << key;
        EXPECT_TRUE(says(message, "\"" + key + "\" is missing"));
      });
}

TEST(Config, OtherMissingKeysAreNamed) {
  const std::vector<std::pair<std::string, std::string>> keys = {
      {"", "text_config"},
      {"", "vision_config"},
      {"/text_config", "rms_norm_eps"},
      {"/text_config", "rope_theta"},
      {"/text_config", "rope_scaling"},
      {"/text_config/rope_scaling", "mrope_section"},
      {"/vision_config", "deepstack_visual_indexes"}};
  for (const auto& [section, key] : keys) {
    Json config = published();
    config[Json::json_pointer(section)].erase(key);
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "\"" + key + "\" is missing"));
  }
  Json config = newer();
  config["text_config"]["rope_parameters"].erase("rope_theta");
  EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "\"rope_theta\" is missing"));
}

TEST(Config, WrongTypesAreNamed) {
  for_integers([](const Json::json_pointer& at, const std::string&, const std::string& key) {
    for (const char* value : {"\"16\"", "16.0", "null", "[16]", "{}", "true", "1e3"}) {
      Json config = published();
      config[at] = Json::parse(value);
      const std::string message = refusal(ErrorCode::bad_input, config);
      EXPECT_TRUE(says(message, "\"" + key + "\" should be an integer")) << value;
    }
  });
}

TEST(Config, ImpossibleSizesAreNamed) {
  for_integers(
      [](const Json::json_pointer& at, const std::string& section, const std::string& key) {
        if (section.empty()) return;  // token ids are checked against the tokenizer
        for (const char* value : {"0", "-1", "2147483648", "9223372036854775807",
                                  "9223372036854775808", "18446744073709551615"}) {
          Json config = published();
          config[at] = Json::parse(value);
          EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "\"" + key + "\"")) << value;
        }
      });
}

TEST(Config, LimitsOfFloatingPointNumbers) {
  for (const char* value : {"0", "-1e-6", "1", "1e-300", "1e300"}) {
    Json config = published();
    config["text_config"]["rms_norm_eps"] = Json::parse(value);
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "\"rms_norm_eps\"")) << value;
  }
  for (const char* value : {"0", "1", "-5e6"}) {
    Json config = published();
    config["text_config"]["rope_theta"] = Json::parse(value);
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "\"rope_theta\"")) << value;
  }
  for (const char* key : {"rms_norm_eps", "rope_theta"}) {
    Json config = published();
    config["text_config"][key] = "1e-6";
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "should be a number")) << key;
  }
}

TEST(Config, OtherArchitecturesAreToldWhatIsSupported) {
  for (const char* found :
       {R"(["Qwen3VLMoeForConditionalGeneration"])", R"(["Qwen2_5_VLForConditionalGeneration"])",
        R"(["Qwen3ForCausalLM", "Qwen3VLForConditionalGeneration"])", "[]", "[7]",
        R"("Qwen3VLForConditionalGeneration")"}) {
    Json config = published();
    config["architectures"] = Json::parse(found);
    config["model_type"] = "the_type";
    const std::string message = refusal(ErrorCode::unsupported, config);
    EXPECT_TRUE(says(message, Json::parse(found).dump()));
    EXPECT_TRUE(says(message, "the_type"));
    EXPECT_TRUE(says(message, "supported: Qwen3VLForConditionalGeneration"));
  }
  Json config = published();
  config.erase("architectures");
  config.erase("model_type");
  EXPECT_TRUE(says(refusal(ErrorCode::unsupported, config), "missing"));
}

TEST(Config, NotAnObject) {
  for (const char* text : {"[]", "1", "null", "\"x\""}) {
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, Json::parse(text)), "expected a JSON object"));
  }
  for (const char* key : {"text_config", "vision_config"}) {
    for (const char* value : {"[]", "1", "null", "\"x\""}) {
      Json config = published();
      config[key] = Json::parse(value);
      EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), key)) << value;
    }
  }
}

TEST(Config, UnsupportedVariantsAreNamed) {
  const std::vector<std::pair<const char*, std::string>> cases = {
      {R"({"text_config": {"hidden_act": "gelu"}})", "\"hidden_act\" is \"gelu\""},
      {R"({"text_config": {"attention_bias": true}})", "\"attention_bias\" is true"},
      {R"({"text_config": {"rope_scaling": {"rope_type": "yarn"}}})", "\"rope_type\" is \"yarn\""},
      {R"({"text_config": {"rope_scaling": {"mrope_interleaved": false}}})",
       "\"mrope_interleaved\" is false"},
      {R"({"vision_config": {"hidden_act": "quick_gelu"}})", "\"hidden_act\" is \"quick_gelu\""},
      {R"({"vision_config": {"in_channels": 4}})", "\"in_channels\" is 4, supported is 3"}};
  for (const auto& [patch, part] : cases) {
    EXPECT_TRUE(says(refusal(ErrorCode::unsupported, patched(patch)), part));
  }
}

TEST(Config, MropeSectionsMustShareTheFrequencies) {
  for (const char* section : {"[12, 10, 9]", "[24, 20, 20]", "[33, 0, 0]", "[12, 10, -10]"}) {
    Json config = published();
    config["text_config"]["rope_scaling"]["mrope_section"] = Json::parse(section);
    const std::string message = refusal(ErrorCode::bad_input, config);
    EXPECT_TRUE(says(message, "text_config.rope_scaling")) << section;
    EXPECT_TRUE(says(message, "32")) << section;
  }
  for (const char* section : {"[16, 16]", "[8, 8, 8, 8]", "32", "null", "{}", "[12, 10, 10.0]",
                              "[12, 10, \"10\"]", "[12, 10, 18446744073709551615]"}) {
    Json config = published();
    config["text_config"]["rope_scaling"]["mrope_section"] = Json::parse(section);
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "\"mrope_section\"")) << section;
  }
}

TEST(Config, DeepstackBlocksMustExist) {
  for (const char* taps : {"[1, 2, 6]", "[-1]", "[1.0]", "[\"1\"]", "[18446744073709551615]"}) {
    Json config = published();
    config["vision_config"]["deepstack_visual_indexes"] = Json::parse(taps);
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "blocks 0 to 5")) << taps;
  }
  for (const char* taps : {"1", "null", "{}"}) {
    Json config = published();
    config["vision_config"]["deepstack_visual_indexes"] = Json::parse(taps);
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "should be a list")) << taps;
  }
  Json config = published();
  config["vision_config"]["deepstack_visual_indexes"] = {0, 1, 2, 3, 4, 5, 5};
  EXPECT_TRUE(says(refusal(ErrorCode::bad_input, config), "more deepstack features"));
  config["vision_config"]["deepstack_visual_indexes"] = Json::array();
  EXPECT_TRUE(parse_config(config, "config.json").vision.deepstack_blocks.empty());
}

TEST(Config, ContradictionsAreNamed) {
  const std::vector<std::pair<const char*, std::string>> cases = {
      {R"({"text_config": {"num_key_value_heads": 4}})", "6 attention heads"},
      {R"({"text_config": {"num_key_value_heads": 12}})", "\"num_key_value_heads\""},
      {R"({"text_config": {"num_attention_heads": 66}})", "66 attention heads"},
      {R"({"text_config": {"head_dim": 65}})", "\"head_dim\" should be even"},
      {R"({"vision_config": {"num_heads": 5}})", "\"hidden_size\" 192"},
      {R"({"vision_config": {"num_heads": 96}})", "\"hidden_size\" 192"},
      {R"({"vision_config": {"num_position_embeddings": 575}})", "should be a square"},
      {R"({"vision_config": {"out_hidden_size": 192}})", "out_hidden_size 192"}};
  for (const auto& [patch, part] : cases) {
    EXPECT_TRUE(says(refusal(ErrorCode::bad_input, patched(patch)), part));
  }
}

TEST(Config, TiedHeadInEitherPlace) {
  EXPECT_TRUE(parse_config(patched(R"({"tie_word_embeddings": true})"), "c").tied_head);
  EXPECT_TRUE(
      parse_config(patched(R"({"text_config": {"tie_word_embeddings": true}})"), "c").tied_head);
  EXPECT_FALSE(parse_config(patched(R"({"tie_word_embeddings": null})"), "c").tied_head);
}

TEST(Config, EndTokenIsOptional) {
  const Config c = parse_config(patched(R"({"text_config": {"eos_token_id": null}})"), "c");
  EXPECT_TRUE(c.eos_token_ids.empty());
}

}  // namespace
}  // namespace squint::qwen3_vl
