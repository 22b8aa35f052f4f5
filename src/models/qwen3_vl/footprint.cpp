#include "models/qwen3_vl/footprint.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/checked_math.h"
#include "core/packed_int.h"
#include "models/qwen3_vl/decoder_block.h"
#include "models/qwen3_vl/model.h"

namespace squint::qwen3_vl {
namespace {

constexpr int64_t kFloat = 4;

int64_t stored_bytes(const WeightForm& form) {
  const int64_t out = form.out_features;
  const int64_t in = form.in_features;
  if (!form.scheme) return out * in * byte_size(form.dtype);
  const QuantizationScheme& scheme = *form.scheme;
  const int64_t groups = scheme.groups(in);
  const int64_t codes = codes_per_word(scheme.bits);
  const int64_t zeros = scheme.symmetric ? 0 : ceil_div(out, codes) * groups * 4;
  return out * ceil_div(in, codes) * 4 + out * groups * byte_size(DType::bf16) + zeros;
}

// Adds up a step.
class Step {
 public:
  Step(Component component, const Backend& backend, const FormOf& form_of)
      : backend_(backend), form_of_(form_of) {
    step_.component = component;
  }

  // `parts`: one stored matrix may become several layers.
  void add_linear(const std::string& module, int64_t out, int64_t in, bool bias,
                  int64_t parts = 1) {
    const WeightForm whole = form_of_(module, out, in);
    WeightForm part = whole;
    part.eight_bits_do = step_.component == Component::vision || step_.component == Component::head;
    part.out_features = out / parts;
    const PreparedSize size = backend_.prepared_size(part);
    step_.parameters += out * in;
    step_.stored_bytes += qwen3_vl::stored_bytes(whole);
    step_.kept_bytes += size.kept * parts;
    step_.passing_bytes = std::max(step_.passing_bytes, size.passing);
    if (bias) add_vector(out);
  }
  // Norms and biases are float32 once loaded.
  void add_vector(int64_t size) {
    step_.stored_bytes += size * byte_size(DType::bf16);
    step_.kept_bytes += size * kFloat;
  }
  // Stays in the file.
  void add_mapped(const WeightForm& form) {
    step_.parameters += form.out_features * form.in_features;
    step_.stored_bytes += qwen3_vl::stored_bytes(form);
  }
  void share() { step_.shared = true; }
  const LoadStep& done() const { return step_; }

 private:
  const Backend& backend_;
  const FormOf& form_of_;
  LoadStep step_;
};

Step merger_step(const VisionConfig& v, const std::string& prefix, bool norm_after_merge,
                 const Backend& backend, const FormOf& form_of) {
  Step step(Component::vision, backend, form_of);
  const int64_t norm = norm_after_merge ? v.merged_hidden() : v.hidden;
  step.add_vector(norm);
  step.add_vector(norm);
  step.add_linear(prefix + "linear_fc1", v.merged_hidden(), v.merged_hidden(), true);
  step.add_linear(prefix + "linear_fc2", v.out_hidden, v.merged_hidden(), true);
  return step;
}

void add_vision_steps(const VisionConfig& v, const Backend& backend, const FormOf& form_of,
                      std::vector<LoadStep>& steps) {
  const std::string prefix = "model.visual.";
  Step embed(Component::vision, backend, form_of);
  embed.add_linear(prefix + "patch_embed.proj", v.hidden, v.patch_values(), true);
  embed.add_mapped({.out_features = v.positions, .in_features = v.hidden});
  steps.push_back(embed.done());
  for (int64_t i = 0; i < v.depth; ++i) {
    const std::string block = fmt::format("{}blocks.{}.", prefix, i);
    Step step(Component::vision, backend, form_of);
    for (int norm_values = 0; norm_values < 4; ++norm_values) step.add_vector(v.hidden);
    step.add_linear(block + "attn.qkv", 3 * v.hidden, v.hidden, true, /*parts=*/3);
    step.add_linear(block + "attn.proj", v.hidden, v.hidden, true);
    step.add_linear(block + "mlp.linear_fc1", v.intermediate, v.hidden, true);
    step.add_linear(block + "mlp.linear_fc2", v.hidden, v.intermediate, true);
    steps.push_back(step.done());
  }
  steps.push_back(merger_step(v, prefix + "merger.", false, backend, form_of).done());
  for (size_t j = 0; j < v.deepstack_blocks.size(); ++j) {
    const std::string merger = fmt::format("{}deepstack_merger_list.{}.", prefix, j);
    steps.push_back(merger_step(v, merger, true, backend, form_of).done());
  }
}

Step decoder_step(const TextConfig& t, int64_t layer, const Backend& backend,
                  const FormOf& form_of) {
  Step step(Component::text, backend, form_of);
  for (const LinearRole role : kAllLinears) {
    const LinearSize size = linear_size(role, t);
    step.add_linear(module_name(layer, role), size.out, size.in, false);
  }
  for (const NormRole role : kAllNorms) step.add_vector(norm_size(role, t));
  return step;
}

void take(ArenaLayout& scratch, int64_t rows, int64_t columns) {
  scratch.take(rows * columns * kFloat);
}

void lay_out_vision_block(ArenaLayout& scratch, const VisionConfig& v, const Backend& backend,
                          int64_t patches) {
  const ArenaLayout::Mark mark = scratch.mark();
  for (int i = 0; i < 5; ++i) take(scratch, patches, v.hidden);  // normed, out, q, k, values
  scratch.take(backend.kv_bytes(v.heads, v.head_dim(), patches));
  take(scratch, patches, v.hidden);  // mixed
  take(scratch, patches, v.intermediate);
  scratch.release(mark);
}

void lay_out_merge(ArenaLayout& scratch, const VisionConfig& v, int64_t patches) {
  const ArenaLayout::Mark mark = scratch.mark();
  const int64_t tokens = patches / (v.merge_size * v.merge_size);
  for (int i = 0; i < 2; ++i) take(scratch, tokens, v.merged_hidden());  // wide, inner
  scratch.release(mark);
}

void lay_out_decoder_block(ArenaLayout& scratch, const TextConfig& t, int64_t tokens) {
  const ArenaLayout::Mark mark = scratch.mark();
  take(scratch, tokens, t.hidden);                 // normed
  take(scratch, tokens, t.heads * t.head_dim);     // mixed
  take(scratch, tokens, t.intermediate);           // gated
  take(scratch, tokens, t.hidden);                 // out
  take(scratch, tokens, t.heads * t.head_dim);     // q
  take(scratch, tokens, t.kv_heads * t.head_dim);  // k
  take(scratch, tokens, t.kv_heads * t.head_dim);  // v
  take(scratch, tokens, t.intermediate);           // upper
  scratch.release(mark);
}

void lay_out_text(ArenaLayout& scratch, const TextConfig& t, int64_t tokens) {
  take(scratch, tokens, t.hidden);
  take(scratch, tokens, t.head_dim / 2);  // cosine
  take(scratch, tokens, t.head_dim / 2);  // sine
  lay_out_decoder_block(scratch, t, tokens);
}

void lay_out_logits(ArenaLayout& scratch, const TextConfig& t) {
  take(scratch, 1, t.hidden);
  take(scratch, 1, t.vocab);
}

double block_parameters(const TextConfig& t) {
  double total = 0;
  for (const LinearRole role : kAllLinears) {
    const LinearSize size = linear_size(role, t);
    total += static_cast<double>(size.out) * static_cast<double>(size.in);
  }
  return total;
}

}  // namespace

std::vector<LoadStep> load_steps(const Config& config, const Backend& backend,
                                 const FormOf& form_of) {
  std::vector<LoadStep> steps;
  add_vision_steps(config.vision, backend, form_of, steps);
  // Rows are gathered from the file: nothing of the table is kept.
  const TextConfig& t = config.text;
  Step embedding(Component::embedding, backend, form_of);
  embedding.add_mapped(form_of(kEmbedding, t.vocab, t.hidden));
  steps.push_back(embedding.done());
  Step head(Component::head, backend, form_of);
  head.add_vector(t.hidden);
  head.add_linear(config.tied_head ? kEmbedding : kHead, t.vocab, t.hidden, false);
  if (config.tied_head) head.share();
  steps.push_back(head.done());
  for (int64_t layer = 0; layer < t.layers; ++layer) {
    steps.push_back(decoder_step(t, layer, backend, form_of).done());
  }
  return steps;
}

void lay_out_encode(ArenaLayout& scratch, const VisionConfig& v, const Backend& backend,
                    int64_t patches) {
  const ArenaLayout::Mark mark = scratch.mark();
  take(scratch, patches, v.hidden);          // x
  take(scratch, patches, v.patch_values());  // the pixels
  take(scratch, patches, v.hidden);          // interpolated positions
  take(scratch, patches, v.head_dim() / 2);  // cosine
  take(scratch, patches, v.head_dim() / 2);  // sine
  lay_out_vision_block(scratch, v, backend, patches);
  lay_out_merge(scratch, v, patches);
  scratch.release(mark);
}

void lay_out_prompt(ArenaLayout& scratch, const TextConfig& t, int64_t tokens) {
  const ArenaLayout::Mark mark = scratch.mark();
  lay_out_text(scratch, t, tokens);
  lay_out_logits(scratch, t);
  lay_out_text(scratch, t, 1);
  lay_out_logits(scratch, t);
  scratch.release(mark);
}

int64_t feature_bytes(const Config& config, int64_t patches) {
  const VisionConfig& v = config.vision;
  const int64_t tokens = patches / (v.merge_size * v.merge_size);
  return (1 + static_cast<int64_t>(v.deepstack_blocks.size())) * tokens * v.out_hidden * kFloat;
}

int64_t cache_bytes(const TextConfig& config, const Backend& backend, int64_t tokens) {
  return config.layers * backend.kv_bytes(config.kv_heads, config.head_dim, tokens);
}

double encode_operations(const Config& config, int64_t patches) {
  const VisionConfig& v = config.vision;
  const auto p = static_cast<double>(patches);
  const auto h = static_cast<double>(v.hidden);
  const auto merged = static_cast<double>(v.merged_hidden());
  const double block = 4 * h * h + 2 * h * static_cast<double>(v.intermediate);
  const double merger = merged * merged + merged * static_cast<double>(v.out_hidden);
  const double tokens = p / static_cast<double>(v.merge_size * v.merge_size);
  return 2 * p * h * static_cast<double>(v.patch_values()) +
         static_cast<double>(v.depth) * (2 * p * block + 4 * p * p * h) +
         static_cast<double>(1 + v.deepstack_blocks.size()) * 2 * tokens * merger;
}

double prefill_operations(const TextConfig& t, int64_t tokens) {
  const auto n = static_cast<double>(tokens);
  const auto width = static_cast<double>(t.heads * t.head_dim);
  const double pairs = n * (n + 1) / 2;
  return static_cast<double>(t.layers) * (2 * n * block_parameters(t) + 4 * pairs * width) +
         2 * static_cast<double>(t.vocab) * static_cast<double>(t.hidden);
}

}  // namespace squint::qwen3_vl
