#include <algorithm>
#include <cmath>
#include <span>
#include <vector>

#include "eval/ocrbench.h"
#include "runtime/sampler.h"
#include "runtime/teacher_forcing.h"
#include "squint/error.h"
#include "squint/ocrbench.h"

namespace squint {
namespace {

// Rows computed together: enough to keep the matrix products busy.
constexpr int64_t kBatchRows = 8;

double log_sum_exp(std::span<const float> logits) {
  const double largest = *std::ranges::max_element(logits);
  double sum = 0;
  for (const float x : logits) sum += std::exp(x - largest);
  return largest + std::log(sum);
}

// Σ_i p_i (ln p_i - ln q_i)
double kl_divergence(std::span<const float> base, std::span<const float> other) {
  const double base_sum = log_sum_exp(base);
  const double other_sum = log_sum_exp(other);
  double kl = 0;
  for (size_t i = 0; i < base.size(); ++i) {
    const double log_p = base[i] - base_sum;
    kl += std::exp(log_p) * (log_p - (other[i] - other_sum));
  }
  return kl;
}

struct LoadedModel {
  io::Checkpoint checkpoint;
  qwen3_vl::Model model;

  LoadedModel(const std::filesystem::path& folder, Backend& backend)
      : checkpoint(io::Checkpoint::open(folder)), model(checkpoint, backend) {}
};

void add_tokens(std::span<const float> base, std::span<const float> other, int64_t vocab,
                Divergence& total) {
  const auto width = static_cast<size_t>(vocab);
  for (size_t at = 0; at < base.size(); at += width) {
    const auto p = base.subspan(at, width);
    const auto q = other.subspan(at, width);
    total.kl += kl_divergence(p, q);
    total.top1 += runtime::argmax(p) == runtime::argmax(q) ? 1 : 0;
    ++total.tokens;
  }
}

}  // namespace

Divergence compare_models(const CompareOptions& options, Backend& backend) {
  std::vector<eval::Sample> samples = eval::load_ocrbench(options.data);
  if (options.limit > 0 && options.limit < static_cast<int64_t>(samples.size())) {
    samples.resize(static_cast<size_t>(options.limit));
  }
  const LoadedModel base(options.base, backend);
  const LoadedModel other(options.other, backend);
  const int64_t vocab = base.model.config().text.vocab;
  if (vocab != other.model.config().text.vocab) {
    throw Error(
        ErrorCode::bad_input,
        "the two models have different vocabularies: only a model and what was made from it "
        "can be compared");
  }
  Arena scratch(backend);
  Context cx{.backend = backend, .scratch = scratch};
  Divergence total;
  const auto rows = static_cast<int64_t>(samples.size());
  for (int64_t first = 0; first < rows; first += kBatchRows) {
    if (options.stop.stop_requested()) throw Error(ErrorCode::interrupted, "interrupted");
    if (options.on_progress) options.on_progress({first, rows});
    std::vector<runtime::ForcedInput> inputs;
    for (int64_t i = first; i < std::min(rows, first + kBatchRows); ++i) {
      const eval::Sample& s = samples[static_cast<size_t>(i)];
      inputs.push_back(
          runtime::force(base.model.processor(), {s.question, {s.image}, s.answers.front()}));
    }
    std::vector<std::vector<float>> expected(inputs.size());
    runtime::forced_logits(cx, base.model, inputs, [&](size_t row, const Tensor& logits) {
      const auto values = logits.span<const float>();
      expected[row].assign(values.begin(), values.end());
    });
    runtime::forced_logits(cx, other.model, inputs, [&](size_t row, const Tensor& logits) {
      add_tokens(expected[row], logits.span<const float>(), vocab, total);
    });
  }
  if (options.on_progress) options.on_progress({rows, rows});
  total.rows = rows;
  if (total.tokens > 0) {
    total.kl /= static_cast<double>(total.tokens);
    total.top1 /= static_cast<double>(total.tokens);
  }
  return total;
}

}  // namespace squint
