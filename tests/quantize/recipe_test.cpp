// Recipes as published, as they might be mistyped, and as squint writes them.
#include "quantize/recipe.h"

#include <gtest/gtest.h>

#include "io/error_of.h"
#include "quantize/mappings.h"
#include "quantize/module_schemes.h"
#include "quantize/yaml.h"
#include "support/paths.h"

namespace squint::quantize {
namespace {

using test::error_of;
using test::says;

struct Read {
  QuantizeOptions options;
  std::vector<std::string> notes;
};

Read read(const std::string& text, const QuantizeOptions& before = {}) {
  Read out{.options = before, .notes = {}};
  out.notes = read_recipe(text, "recipe.yaml", out.options);
  return out;
}

Read read_example(const std::string& name) {
  return read(test::read_text(test::repo_dir() / "tests/fuzz/corpus/recipe" / name));
}

// A modifier in its stage; its own text on lines 3 and on.
std::string modifier(const std::string& text) {
  return "quant_stage:\n  quant_modifiers:\n" + text + "\n";
}

TEST(Recipe, LlmCompressorsOfQwen3Vl) {
  const Read r = read_example("qwen3-vl-awq.yaml");
  EXPECT_EQ(r.options.method, QuantizeMethod::awq);
  EXPECT_EQ(r.options.bits, 4);
  EXPECT_EQ(r.options.group_size, 128);
  EXPECT_TRUE(r.options.symmetric);
  EXPECT_EQ(r.options.observer, RangeObserver::minmax);
  EXPECT_EQ(r.options.duo_scaling, DuoScaling::off);
  EXPECT_EQ(r.options.grid, 20);
  EXPECT_TRUE(r.options.mappings.empty());  // the default ones, written out
  EXPECT_EQ(r.options.ignore.size(), 4u);
  EXPECT_TRUE(r.notes.empty());
}

TEST(Recipe, OldSpellingOfAwq) {
  const Read r = read_example("old-awq.yaml");
  EXPECT_EQ(r.options.method, QuantizeMethod::awq);
  EXPECT_FALSE(r.options.symmetric);
  EXPECT_EQ(r.options.duo_scaling, DuoScaling::on);
  EXPECT_EQ(r.options.ignore[1], "re:visual.*");
  EXPECT_EQ(r.notes, std::vector<std::string>{"no difference here: offload_device (line 7)"});
}

TEST(Recipe, GptqWithAGroup) {
  const Read r = read_example("gptq-groups.yaml");
  EXPECT_EQ(r.options.method, QuantizeMethod::gptq);
  EXPECT_EQ(r.options.group_size, 64);
  EXPECT_EQ(r.options.observer, RangeObserver::minmax);
  EXPECT_EQ(r.options.dampening, 0.05);
  EXPECT_EQ(r.options.rounds, 2);
  EXPECT_EQ(r.notes, std::vector<std::string>{"no difference here: sequential_update (line 5)"});
}

TEST(Recipe, StagesListsAndJson) {
  const Read r = read_example("list.json");
  EXPECT_EQ(r.options.method, QuantizeMethod::awq_gptq);
  EXPECT_EQ(r.options.bits, 8);
  EXPECT_EQ(r.options.duo_scaling, DuoScaling::both);
  EXPECT_EQ(r.options.observer, RangeObserver::imatrix);
}

TEST(Recipe, CommentsOfSquint) {
  const Read r = read_example("squint.yaml");
  EXPECT_EQ(r.options.method, QuantizeMethod::rtn);
  EXPECT_EQ(r.options.observer, RangeObserver::clip);
  EXPECT_EQ(r.options.group_size, 0);
  EXPECT_EQ(r.options.rounds, 0);
  EXPECT_EQ(r.options.propagation, 0.25);
  EXPECT_EQ(r.options.image_weight, 1);
  EXPECT_EQ(r.options.rows, 6);
  EXPECT_EQ(r.options.seed, 3u);
  EXPECT_EQ(r.options.calibration_tokens, 16);
  ASSERT_EQ(r.notes.size(), 1u);
  EXPECT_TRUE(says(r.notes[0], "weights 2 1"));
}

TEST(Recipe, WhatWasNamedBesideItCounts) {
  const std::string text =
      test::read_text(test::repo_dir() / "tests/fuzz/corpus/recipe/squint.yaml");
  const Read r = read(text, {.rows = 9, .seed = 8, .calibration_tokens = 7});
  EXPECT_EQ(r.options.rows, 9);
  EXPECT_EQ(r.options.seed, 8u);
  EXPECT_EQ(r.options.calibration_tokens, 7);
}

TEST(Recipe, SettingsOfAnEarlierOneAreGone) {
  QuantizeOptions before{.duo_scaling = DuoScaling::both, .grid = 7, .mappings = {{"a", {"b"}}}};
  before.rounds = 6;
  before.dampening = 0.5;
  before.shrinkage = 0.5;
  const Read r = read(modifier("    AWQModifier: {}\n    GPTQModifier: {scheme: w4a16}"), before);
  EXPECT_EQ(r.options.duo_scaling, DuoScaling::on);
  EXPECT_EQ(r.options.grid, 20);
  EXPECT_TRUE(r.options.mappings.empty());
  EXPECT_EQ(r.options.rounds, 2);
  EXPECT_EQ(r.options.dampening, 0.01);
  EXPECT_EQ(r.options.shrinkage, 0.2);
}

TEST(Recipe, ObserversByAllTheirNames) {
  const auto observer = [](const std::string& text) {
    return read(modifier("    QuantizationModifier: {scheme: W4A16, " + text + "}"))
        .options.observer;
  };
  EXPECT_EQ(observer("weight_observer: minmax"), RangeObserver::minmax);
  EXPECT_EQ(observer("weight_observer: static_minmax"), RangeObserver::minmax);
  EXPECT_EQ(observer("observer: mse"), RangeObserver::mse);
  EXPECT_EQ(observer("observer: {weights: memoryless_mse, input: minmax}"), RangeObserver::mse);
  EXPECT_EQ(observer("weight_observer: imatrix_mse"), RangeObserver::imatrix);
  EXPECT_EQ(observer("weight_observer: null"), RangeObserver::minmax);
}

struct Refusal {
  ErrorCode code;
  std::string text;
  std::vector<std::string> message;
};

TEST(Recipe, WhatIsRefusedIsNamed) {
  constexpr auto kBad = ErrorCode::bad_input;
  constexpr auto kUnsupported = ErrorCode::unsupported;
  const std::string weights =
      "    QuantizationModifier:\n      config_groups:\n        a:\n"
      "          targets: [Linear]\n          weights: ";
  const std::vector<Refusal> refusals = {
      {kBad,
       modifier("    AWQModifier:\n      n_gird: 20"),
       {"recipe.yaml line 4", "unknown key \"n_gird\"", "\"n_grid\" meant"}},
      {kBad, modifier("    GPTQModifer: {scheme: W4A16}"), {"line 3", "\"GPTQModifier\" meant"}},
      {kUnsupported,
       modifier("    SmoothQuantModifier: {}"),
       {"line 3", "squint runs AWQModifier"}},
      {kBad, "quant_stages: {}", {"line 1", "ends in _stage"}},
      {kBad, "quant_stage: {quant_modifier: {}}", {"line 1", "ends in _modifiers"}},
      {kBad, "args: {bits: 4}", {"line 1", "unknown key \"args\""}},
      {kBad, "", {"no modifier has a scheme"}},
      {kBad, modifier("    AWQModifier: {}"), {"no modifier has a scheme"}},
      {kUnsupported,
       modifier("    QuantizationModifier: {scheme: FP8_DYNAMIC}"),
       {"line 3", "FP8_DYNAMIC", "W4A16_ASYM"}},
      {kUnsupported,
       modifier("    QuantizationModifier: {scheme: {W4A16: [a], W4A16_ASYM: [b]}}"),
       {"line 3", "differ in symmetric or observer"}},
      {kBad,
       modifier("    QuantizationModifier:\n      config_groups: {a: {targets: [Linear]}}"),
       {"targets and weights"}},
      {kUnsupported,
       modifier("    QuantizationModifier: {scheme: W4A16}\n    AWQModifier: {}"),
       {"line 4", "must come before"}},
      {kBad,
       modifier("    QuantizationModifier: {scheme: W4A16}\n    GPTQModifier: {}"),
       {"line 4", "follows another, of line 3"}},
      {kUnsupported,
       modifier("    AWQModifier: {scheme: W4A16}\n    GPTQModifier: {scheme: W4A16}"),
       {"line 3", "modifier of line 4 quantizes"}},
      {kUnsupported,
       modifier("    GPTQModifier: {scheme: W4A16, actorder: group}"),
       {"actorder", "static"}},
      {kUnsupported, modifier("    GPTQModifier: {scheme: W4A16, actorder: null}"), {"actorder"}},
      {kBad,
       modifier("    GPTQModifier: {scheme: W4A16, dampening_frac: 2}"),
       {"dampening_frac: expected 0 to 1, found \"2\""}},
      {kBad,
       modifier("    AWQModifier: {scheme: W4A16, duo_scaling: both, n_grid: 3}"),
       {"at least 4 with duo scaling both"}},
      {kBad, modifier("    AWQModifier: {scheme: W4A16, duo_scaling: maybe}"), {"true or false"}},
      {kUnsupported, modifier("    AWQModifier: {num_bits: 4}"), {"llm-compressor 0.5"}},
      {kUnsupported,
       modifier("    QuantizationModifier: {scheme: W4A16, kv_cache_scheme: {a: 1}}"),
       {"kv_cache_scheme must be null"}},
      {kUnsupported,
       modifier("    QuantizationModifier: {scheme: W4A16, observer: percentile}"),
       {"observer \"percentile\"", "imatrix_mse"}},
      {kUnsupported, modifier(weights + "{num_bits: 3, group_size: 128}"), {"num_bits 3"}},
      {kUnsupported,
       modifier(weights + "{num_bits: 4, type: float, group_size: 16}"),
       {"type must be int"}},
      {kUnsupported, modifier(weights + "{num_bits: 4}"), {"strategy \"tensor\""}},
      {kUnsupported, modifier(weights + "{num_bits: 4, group_size: 100}"), {"multiples of 8"}},
      {kBad, modifier(weights + "{num_bits: 4, strategy: group}"), {"do not go together"}},
      {kUnsupported,
       modifier(weights + "{num_bits: 4, group_size: 8, observer_kwargs: {grid: 9}}"),
       {"line 7", "observer_kwargs"}},
      {kUnsupported,
       modifier(weights +
                "{num_bits: 4, group_size: 8}\n          input_activations: {num_bits: 8}"),
       {"line 8", "activations stay"}},
      {kUnsupported,
       modifier("    AWQModifier: {scheme: W4A16, mappings: [{smooth_layer: a, "
                "balance_layers: [b], activation_hook_target: c}]}"),
       {"activation_hook_target"}},
      {kBad,
       modifier("    AWQModifier: {scheme: W4A16, mappings: [{smooth_layer: a}]}"),
       {"needs smooth_layer and balance_layers"}},
      {kBad,
       modifier("    QuantizationModifier: {scheme: W4A16, ignore: [\"a\\nb\"]}"),
       {"printable ASCII"}},
      {kUnsupported,
       modifier("    QuantizationModifier: {scheme: W4A16, ignore: ['re:(']}"),
       {"line 3", "regular expression"}},
      {kBad,
       "# squint: round 2\n" + modifier("    GPTQModifier: {scheme: W4A16}"),
       {"line 1", "\"rounds\" meant"}},
      {kBad,
       "# squint: rounds many\n" + modifier("    GPTQModifier: {scheme: W4A16}"),
       {"line 1", "rounds: expected 0 to 100"}},
  };
  for (const Refusal& r : refusals) {
    SCOPED_TRACE(r.text);
    QuantizeOptions options;
    const std::string message =
        error_of(r.code, [&] { read_recipe(r.text, "recipe.yaml", options); });
    for (const std::string& part : r.message) EXPECT_TRUE(says(message, part));
  }
}

TEST(Recipe, OptionsComeBackFromWhatIsWritten) {
  const std::vector<SmoothMapping> mappings = {
      {"re:.*layers\\.[02]\\.mlp\\.up_proj$", {"re:.*down_proj$", "it's"}}};
  int count = 0;
  for (const QuantizeMethod method :
       {QuantizeMethod::rtn, QuantizeMethod::awq, QuantizeMethod::gptq, QuantizeMethod::awq_gptq}) {
    for (const RangeObserver observer :
         {RangeObserver::minmax, RangeObserver::mse, RangeObserver::imatrix, RangeObserver::clip}) {
      for (const DuoScaling duo : {DuoScaling::off, DuoScaling::on, DuoScaling::both}) {
        const bool even = ++count % 2 == 0;
        QuantizeOptions o{.calibration = {{"a"}}, .method = method, .observer = observer};
        o.bits = even ? 4 : 8;
        o.group_size = count % 3 * 32;
        o.symmetric = even;
        if (!even) o.targets = {"Linear", "re:.*_proj"};
        o.rows = count % 4;
        if (even) o.seed = 12345678901234567890u;
        o.calibration_tokens = count % 5;
        o.signed_scales = even;
        if (method == QuantizeMethod::awq || method == QuantizeMethod::awq_gptq) {
          o.duo_scaling = duo;
          o.grid = 4 + count;
          if (even) o.mappings = mappings;
        }
        if (method == QuantizeMethod::gptq || method == QuantizeMethod::awq_gptq) {
          o.dampening = 0.1 / count;
          o.shrinkage = 0.7 / count;
          o.rounds = count;
          o.propagation = 1.0 / count;
          o.image_weight = 1.0 / 3;
        }
        const std::string text = recipe_yaml(o, module_schemes(o, 2));
        SCOPED_TRACE(text);
        const Read r = read(text);
        EXPECT_TRUE(r.notes.empty());
        EXPECT_EQ(r.options.method, o.method);
        EXPECT_EQ(r.options.observer, o.observer);
        EXPECT_EQ(r.options.bits, o.bits);
        EXPECT_EQ(r.options.group_size, o.group_size);
        EXPECT_EQ(r.options.symmetric, o.symmetric);
        EXPECT_EQ(r.options.targets, o.targets);
        EXPECT_EQ(r.options.ignore, o.ignore);
        EXPECT_EQ(r.options.rows, o.rows);
        EXPECT_EQ(r.options.seed, o.seed);
        EXPECT_EQ(r.options.calibration_tokens, o.calibration_tokens);
        EXPECT_EQ(r.options.duo_scaling, o.duo_scaling);
        EXPECT_EQ(r.options.grid, o.grid);
        EXPECT_EQ(r.options.mappings, o.mappings);
        EXPECT_EQ(r.options.dampening, o.dampening);
        EXPECT_EQ(r.options.shrinkage, o.shrinkage);
        EXPECT_EQ(r.options.signed_scales, o.signed_scales || !o.symmetric);
        EXPECT_EQ(r.options.rounds, o.rounds);
        EXPECT_EQ(r.options.propagation, o.propagation);
        EXPECT_EQ(r.options.image_weight, o.image_weight);
      }
    }
  }
}

TEST(Recipe, SchemesOfSeveralGroups) {
  const Read r = read(modifier(
      "    QuantizationModifier: {scheme: {W4A16: ['re:.*self_attn.*'], W8A16: ['re:.*mlp.*']}, "
      "ignore: ['re:.*layers.1.*down_proj']}"));
  const ModuleSchemes schemes = module_schemes(r.options, 2);
  EXPECT_EQ(schemes[0][qwen3_vl::LinearRole::o]->bits, 4);
  EXPECT_EQ(schemes[0][qwen3_vl::LinearRole::down]->bits, 8);
  EXPECT_EQ(schemes[1][qwen3_vl::LinearRole::up]->bits, 8);
}

TEST(Recipe, SchemesComeBackFromWhatIsWritten) {
  QuantizeOptions o{.calibration = {{"a"}}, .observer = RangeObserver::mse, .budget = 4.5};
  o.overrides = {{.pattern = "re:.*down_proj", .bits = 8, .group_size = 64},
                 {.pattern = "re:.*layers.1.*o_proj", .bits = 16},
                 {.pattern = "re:.*layers.0.*(gate|up)_proj", .bits = 8}};
  const ModuleSchemes schemes = module_schemes(o, 3);
  const std::string text = recipe_yaml(o, schemes);
  SCOPED_TRACE(text);
  const Read again = read(text);
  EXPECT_EQ(module_schemes(again.options, 3), schemes);
  EXPECT_FALSE(again.options.budget);  // It is spent.
  EXPECT_EQ(recipe_yaml(again.options, schemes), text.substr(text.find("default_stage")));
}

TEST(Recipe, ABudgetThatIsNotSpentStays) {
  const QuantizeOptions o{.observer = RangeObserver::mse, .budget = 4.5};
  EXPECT_EQ(read(recipe_yaml(o, module_schemes(o, 2))).options.budget, 4.5);
}

TEST(Recipe, InTheFrontOfAModelCard) {
  const test::TempDir dir;
  test::write_text(dir.path() / "README.md",
                   "---\n" + modifier("    QuantizationModifier: {scheme: W8A16}") +
                       "---\n# A model: [not] {yaml\n");
  QuantizeOptions options;
  apply_recipe(dir.path() / "README.md", options);
  EXPECT_EQ(options.bits, 8);
  error_of(ErrorCode::io, [&] { apply_recipe(dir.path() / "none.yaml", options); });
}

TEST(Yaml, WhatMakesAFileLargeIsRefused) {
  const auto refuse = [](const std::string& text, const std::string& part) {
    EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { parse_yaml(text, "a.yaml"); }), part));
  };
  refuse("a: &x [1, 2]\nb: [*x, *x]", "a.yaml line 2: refers to an anchor");
  refuse("a: !!python/object 1", "tag");
  refuse("a: 1\n---\nb: 2", "second document");
  refuse("a: 1\na: 2", "line 2: \"a\" stands here for the second time");
  refuse(std::string(40, '[') + std::string(40, ']'), "nested deeper than 32");
  refuse(std::string(100000, '['), "line 1");
  refuse("[a]: 1", "expected a key");
  refuse("a: [1", "not valid YAML");
  refuse(std::string(kMaxYamlBytes + 1, ' '), "expected at most 1000000");
  std::string many = "[";
  for (int i = 0; i < 5000; ++i) many += "1,";
  refuse(many + "]", "more than 4096 entries");
}

}  // namespace
}  // namespace squint::quantize
