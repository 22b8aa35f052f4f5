#include "quantize/mappings.h"

#include <gtest/gtest.h>

#include "io/error_of.h"

namespace squint::quantize {
namespace {

using test::error_of;
using test::says;

qwen3_vl::TextConfig config(int64_t heads, int64_t kv_heads) {
  qwen3_vl::TextConfig c;
  c.layers = 3;
  c.heads = heads;
  c.kv_heads = kv_heads;
  return c;
}

std::vector<std::string> names(const std::vector<qwen3_vl::SmoothGroup>& groups) {
  std::vector<std::string> out;
  for (const qwen3_vl::SmoothGroup& group : groups) out.emplace_back(group.name);
  return out;
}

const std::string kAttention = "input_layernorm → q, k, v";
const std::string kMlp = "post_attention_layernorm → gate, up";
const std::string kDown = "up_proj → down_proj";
const std::string kOutput = "v_proj → o_proj";

TEST(Mappings, WithoutAnyAllGroupsAreMeant) {
  const SmoothGroups chosen = choose_groups({}, config(4, 4));
  ASSERT_EQ(chosen.layers.size(), 3u);
  EXPECT_EQ(names(chosen.layers[2]), (std::vector{kAttention, kMlp, kDown, kOutput}));
}

TEST(Mappings, TheDefaultOnesNameThemAll) {
  EXPECT_EQ(names(choose_groups(default_mappings(), config(4, 4)).layers[1]),
            names(choose_groups({}, config(4, 4)).layers[1]));
  const SmoothGroups grouped = choose_groups(default_mappings(), config(4, 2));
  EXPECT_EQ(names(grouped.layers[0]), (std::vector{kAttention, kMlp, kDown}));
  EXPECT_TRUE(grouped.left_out);
}

TEST(Mappings, SomeGroupsOfSomeLayers) {
  const std::vector<SmoothMapping> mappings = {
      {"re:.*layers\\.[02]\\.mlp\\.up_proj$", {"re:.*layers\\.[02]\\..*down_proj$"}},
      {"model.language_model.layers.2.input_layernorm", {"re:.*layers.2.self_attn.[qkv]_proj"}},
  };
  const SmoothGroups chosen = choose_groups(mappings, config(4, 2));
  EXPECT_EQ(names(chosen.layers[0]), std::vector{kDown});
  EXPECT_TRUE(chosen.layers[1].empty());
  EXPECT_EQ(names(chosen.layers[2]), (std::vector{kAttention, kDown}));
  EXPECT_FALSE(chosen.left_out);
}

TEST(Mappings, WhatIsNoGroupIsRefusedWithThoseThereAre) {
  const auto refuse = [](const std::vector<SmoothMapping>& mappings, const std::string& part) {
    const std::string message =
        error_of(ErrorCode::bad_input, [&] { choose_groups(mappings, config(4, 2)); });
    EXPECT_TRUE(says(message, part));
    EXPECT_TRUE(says(message, kMlp + "; " + kDown));
  };
  refuse({{"re:.*input_layernorm", {"re:.*q_proj"}}},
         "in layer 0 it joins model.language_model."
         "layers.0.input_layernorm → q_proj");
  refuse({{"re:.*layernorm", {"re:.*gate_proj", "re:.*up_proj"}}}, "post_attention_layernorm →");
  refuse({{"re:.*mlp.norm", {"re:.*down_proj"}}}, "joins nothing → down_proj");
  refuse({{"re:.*up_proj", {"re:.*experts.*"}}}, "→ nothing");
  refuse({{"re:.*norm1", {"re:.*qkv"}}}, "no text layer has such a name");
  refuse({{"re:.*up_proj", {"re:.*down_proj"}}, {"re:.*mlp.up_proj", {"re:.*down_proj"}}},
         kDown + " is there already");
}

}  // namespace
}  // namespace squint::quantize
