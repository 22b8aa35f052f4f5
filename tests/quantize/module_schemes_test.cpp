#include "quantize/module_schemes.h"

#include <gtest/gtest.h>

#include "io/error_of.h"
#include "quantize/recipe.h"

namespace squint::quantize {
namespace {

using qwen3_vl::LinearRole;
using qwen3_vl::module_name;
using test::error_of;
using test::says;

QuantizeOptions with(std::vector<SchemeOverride> overrides) {
  QuantizeOptions options;
  options.overrides = std::move(overrides);
  options.signed_scales = false;
  return options;
}

std::string refusal(std::vector<SchemeOverride> overrides) {
  return error_of(ErrorCode::usage, [&] { module_schemes(with(std::move(overrides)), 3); });
}

TEST(ModuleSchemes, TheLastOverrideThatMatchesWins) {
  const ModuleSchemes schemes =
      module_schemes(with({{.pattern = "re:.*down_proj", .bits = 8, .group_size = 64},
                           {.pattern = "re:.*layers.2[.]", .bits = 16},
                           {.pattern = "model.language_model.layers.2.mlp.down_proj", .bits = 4}}),
                     3);
  EXPECT_EQ(schemes[0][LinearRole::q], (QuantizationScheme{}));
  EXPECT_EQ(schemes[1][LinearRole::down], (QuantizationScheme{.bits = 8, .group_size = 64}));
  EXPECT_EQ(schemes[2][LinearRole::q], std::nullopt);
  EXPECT_EQ(schemes[2][LinearRole::down], (QuantizationScheme{}));
}

TEST(ModuleSchemes, WhatIsNotSelectedStaysAsItIs) {
  QuantizeOptions options;
  options.signed_scales = false;
  options.targets = {"re:.*mlp.*", "re:.*layers.1.*"};
  options.ignore = {"model.language_model.layers.1.mlp.down_proj"};
  const ModuleSchemes schemes = module_schemes(options, 2);
  EXPECT_EQ(schemes[0][LinearRole::q], std::nullopt);
  EXPECT_EQ(schemes[0][LinearRole::down], (QuantizationScheme{}));
  EXPECT_EQ(schemes[1][LinearRole::q], (QuantizationScheme{}));
  EXPECT_EQ(schemes[1][LinearRole::down], std::nullopt);
  EXPECT_TRUE(is_fixed(options, module_name(0, LinearRole::q)));
  EXPECT_FALSE(is_fixed(options, module_name(1, LinearRole::q)));
}

TEST(ModuleSchemes, WhatLoadersFuseStaysTogether) {
  EXPECT_TRUE(says(refusal({{.pattern = "re:.*layers.1.*v_proj"}}),
                   "layer 1: q_proj has 4 bits, groups of 128, v_proj has 8 bits, groups of 128; "
                   "loaders fuse q, k, v: override them together"));
  EXPECT_TRUE(says(refusal({{.pattern = "re:.*up_proj", .bits = 16}}), "up_proj has 16 bits"));
  module_schemes(with({{.pattern = "re:.*(gate|up)_proj"}, {.pattern = "re:.*self_attn[.].*"}}), 3);
}

TEST(ModuleSchemes, OverridesThatCannotBeAreNamed) {
  EXPECT_TRUE(says(refusal({{.pattern = "model.layers.2.self_attn.o_proj"}}),
                   "nearest is model.language_model.layers.2.self_attn.o_proj"));
  EXPECT_TRUE(says(refusal({{.pattern = "re:mlp.down_prj"}}), "layers.0.mlp.down_proj"));
  EXPECT_TRUE(says(refusal({{.pattern = "Linear", .bits = 5}}), "4, 8 or 16 bits, found 5"));
  EXPECT_TRUE(says(refusal({{.pattern = "Linear", .group_size = 12}}), "multiple of 8"));
  EXPECT_TRUE(says(refusal({{.pattern = "Linear", .bits = 16}}), "nothing to quantize"));
}

// What another reader makes of config.json is what was meant.
TEST(ModuleSchemes, GroupsSayWhichModuleHasWhichScheme) {
  const ModuleSchemes schemes =
      module_schemes(with({{.pattern = "re:.*layers.(1|11)[.].*self_attn", .bits = 8},
                           {.pattern = "re:.*down_proj", .bits = 8, .group_size = 0},
                           {.pattern = "re:.*layers.5[.].*o_proj", .bits = 16}}),
                     12);
  io::QuantizationConfig config;
  config.groups = config_groups(schemes, "memoryless_mse");
  ASSERT_EQ(config.groups.size(), 3u);
  EXPECT_EQ(config.groups[0].targets[1].text(),
            R"(re:.*layers\.(0|2|3|4|6|7|8|9|10)\.self_attn\.(o)_proj$)");
  for (const std::string& module : unquantized_modules(schemes)) config.ignore.emplace_back(module);
  for (int64_t layer = 0; layer < 12; ++layer) {
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      const std::string module = module_name(layer, role);
      const auto& scheme = schemes[static_cast<size_t>(layer)][role];
      EXPECT_EQ(config.ignores(module), !scheme) << module;
      if (!scheme) continue;
      const io::QuantizationGroup* group = config.group_of(module);
      ASSERT_NE(group, nullptr) << module;
      EXPECT_EQ(group->scheme, *scheme) << module;
    }
  }
  for (const io::QuantizationGroup& group : config.groups) {
    for (const io::ModulePattern& target : group.targets) {
      EXPECT_FALSE(target.matches("model.visual.blocks.1.attn.proj")) << target.text();
      // As vLLM names it.
      EXPECT_EQ(target.matches("language_model.model.layers.1.mlp.gate_proj"),
                target.matches("model.language_model.layers.1.mlp.gate_proj"));
    }
  }
}

TEST(ModuleSchemes, OneSchemeTargetsAllLinears) {
  const auto groups = config_groups(module_schemes(with({}), 3), "memoryless_mse");
  ASSERT_EQ(groups.size(), 1u);
  ASSERT_EQ(groups[0].targets.size(), 1u);
  EXPECT_EQ(groups[0].targets[0].text(), "Linear");
}

TEST(ModuleSchemes, TheRecipeHasThemAll) {
  const QuantizeOptions options = with({{.pattern = "re:.*o_proj", .bits = 8, .group_size = 0},
                                        {.pattern = "re:.*layers.2.*down_proj", .bits = 16}});
  const std::string recipe = recipe_yaml(options, module_schemes(options, 3));
  EXPECT_TRUE(says(recipe, R"(targets: ['re:.*layers\.\d+\.self_attn\.(o)_proj$'])"));
  EXPECT_TRUE(says(recipe, "group_size: -1"));
  EXPECT_TRUE(says(recipe, "'re:.*visual.*', 'model.language_model.layers.2.mlp.down_proj']"));
}

TEST(ModuleSchemes, ScalesAndZeroPointsCount) {
  EXPECT_EQ(stored_bits(8, 256, std::nullopt), 8 * 256 * 16);
  EXPECT_EQ(stored_bits(8, 256, QuantizationScheme{}), 8 * 256 * 4 + 8 * 2 * 16);
  EXPECT_EQ(stored_bits(8, 256, QuantizationScheme{.bits = 8, .symmetric = false}),
            8 * 256 * 8 + 8 * 2 * 16 + 8 * 2 * 8);
}

}  // namespace
}  // namespace squint::quantize
