#include "quantize/sample_report.h"

#include <cmath>

#include "base/random.h"

namespace squint::test {
namespace {

constexpr const char* kLinears[] = {"self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj",
                                    "self_attn.o_proj", "mlp.gate_proj",    "mlp.up_proj",
                                    "mlp.down_proj"};

void add_layer(QuantizeReport& report, int64_t layer, Random& random) {
  for (const char* linear : kLinears) {
    const double plain = 0.05 * std::exp(random.uniform() - 0.5) * (1 + 0.02 * layer);
    report.linears.push_back(
        {.module = "model.language_model.layers." + std::to_string(layer) + "." + linear,
         .error = plain * (0.35 + 0.3 * random.uniform()),
         .plain_error = plain});
  }
  if (layer == 6) report.linears.back().plain_error = 0.93;
  for (const char* group : {"input_layernorm → q, k, v", "post_attention_layernorm → gate, up",
                            "up_proj → down_proj"}) {
    report.smoothing.push_back({.layer = layer,
                                .group = group,
                                .ratio = std::floor(20 * random.uniform()) / 20,
                                .duo = random.uniform() > 0.2,
                                .loss = 1e-5 * (0.3 + 0.5 * random.uniform()),
                                .identity_loss = 1e-5});
  }
  if (layer == 3) report.smoothing.back().rolled_back = true;
}

}  // namespace

QuantizeReport sample_report(int64_t layers) {
  QuantizeReport report;
  report.options = {.model = "models/Qwen3-VL-8B-Instruct",
                    .output = "out/Qwen3-VL-8B-Instruct-W4A16",
                    .calibration = {{"data/calibration"}, {"scans", 0.5}},
                    .method = QuantizeMethod::awq_gptq,
                    .observer = RangeObserver::imatrix};
  report.plan = {.rows = 400,
                 .tokens = 102400,
                 .image_tokens = 61230,
                 .layers = layers,
                 .resumed_layers = 7,
                 .peak_bytes = 3'400'000'000};
  report.architecture = "qwen3_vl";
  report.recipe = "default_stage:\n  default_modifiers:\n    AWQModifier:\n      n_grid: 20\n";
  Random random(11);
  for (int64_t layer = 0; layer < layers; ++layer) add_layer(report, layer, random);
  for (int bin = -24; bin < -6; ++bin) {
    report.scales[bin] = std::llround(9e6 * std::exp(-0.1 * (bin + 17) * (bin + 17)));
  }
  report.held_out = {
      .rows = 40,
      .quantized =
          {.tokens = 10240, .kl = 0.00214, .median = 0.00031, .p99 = 0.0312, .top1 = 0.9914},
      .plain = TokenDivergence{
          .tokens = 10240, .kl = 0.0612, .median = 0.0101, .p99 = 0.7311, .top1 = 0.9323}};
  report.parameters = 8'767'123'696;
  report.source_bytes = 17'534'247'392;
  report.output_bytes = 7'242'247'392;
  report.layers_source_bytes = 13'892'000'000;
  report.layers_output_bytes = 3'600'000'000;
  report.model_hash = std::string(64, 'a');
  report.calibration_hash = std::string(64, 'b');
  report.options_hash = std::string(64, 'c');
  report.outputs = {{"config.json", 3784, std::string(64, 'd')},
                    {"model-00001-of-00002.safetensors", 4'990'000'000, std::string(64, 'e')},
                    {"model-00002-of-00002.safetensors", 1'740'000'000, std::string(64, 'f')}};
  report.run = {.finished = "2026-01-31 23:59:59 UTC",
                .backend = "cpu",
                .kernels = "avx512",
                .threads = 16,
                .seconds = 2482,
                .phases = {{"checking the model", 9.5},
                           {"calibration rows", 2.2},
                           {"images", 141},
                           {"statistics", 600},
                           {"scales and rounding", 1300},
                           {"on to the next layer", 404},
                           {"writing", 18.7},
                           {"hashing", 6.3}},
                .memory_bytes = 3'260'000'000,
                .resident_bytes = 9'900'000'000};
  return report;
}

}  // namespace squint::test
