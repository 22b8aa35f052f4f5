#include "runtime/sampler.h"

#include <algorithm>
#include <cmath>
#include <unordered_set>
#include <vector>

#include "base/check.h"

namespace squint::runtime {
namespace {

void penalize(std::span<float> logits, std::span<const int32_t> prompt,
              std::span<const int32_t> output, const Sampling& sampling) {
  const auto known = [&](int32_t id) { return id >= 0 && static_cast<size_t>(id) < logits.size(); };
  if (sampling.repetition_penalty != 1) {
    std::unordered_set<int32_t> seen(prompt.begin(), prompt.end());
    seen.insert(output.begin(), output.end());
    const auto penalty = static_cast<float>(sampling.repetition_penalty);
    for (const int32_t id : seen) {
      if (!known(id)) continue;
      float& x = logits[static_cast<size_t>(id)];
      x = x > 0 ? x / penalty : x * penalty;
    }
  }
  if (sampling.presence_penalty != 0) {
    for (const int32_t id : std::unordered_set<int32_t>(output.begin(), output.end())) {
      if (known(id))
        logits[static_cast<size_t>(id)] -= static_cast<float>(sampling.presence_penalty);
    }
  }
}

struct Candidate {
  int32_t id;
  double weight;
};

// Candidates above the k-th largest logit and all that equal it, heaviest first.
std::vector<Candidate> top_candidates(std::span<const float> logits, const Sampling& sampling) {
  float threshold = -std::numeric_limits<float>::infinity();
  const auto k = static_cast<size_t>(sampling.top_k);
  if (k > 0 && k < logits.size()) {
    std::vector<float> sorted(logits.begin(), logits.end());
    std::nth_element(sorted.begin(), sorted.begin() + static_cast<int64_t>(k) - 1, sorted.end(),
                     std::greater<>());
    threshold = sorted[k - 1];
  }
  const double largest = *std::ranges::max_element(logits);
  std::vector<Candidate> out;
  for (size_t i = 0; i < logits.size(); ++i) {
    if (logits[i] < threshold) continue;
    out.push_back({static_cast<int32_t>(i),
                   std::exp((static_cast<double>(logits[i]) - largest) / sampling.temperature)});
  }
  std::ranges::stable_sort(out, std::greater<>(), &Candidate::weight);
  return out;
}

}  // namespace

int32_t argmax(std::span<const float> logits) {
  return static_cast<int32_t>(std::ranges::max_element(logits) - logits.begin());
}

int32_t sample(std::span<float> logits, std::span<const int32_t> prompt,
               std::span<const int32_t> output, const Sampling& sampling, Random& random) {
  SQUINT_CHECK(!logits.empty());
  penalize(logits, prompt, output, sampling);
  if (sampling.temperature <= 0) return argmax(logits);
  std::vector<Candidate> candidates = top_candidates(logits, sampling);
  double total = 0;
  for (const Candidate& c : candidates) total += c.weight;
  // The smallest set of the heaviest whose share reaches top_p.
  double kept = 0;
  size_t count = 0;
  while (count < candidates.size() && (count == 0 || kept < sampling.top_p * total)) {
    kept += candidates[count++].weight;
  }
  double left = random.uniform() * kept;
  for (size_t i = 0; i < count; ++i) {
    left -= candidates[i].weight;
    if (left < 0) return candidates[i].id;
  }
  return candidates[count - 1].id;
}

}  // namespace squint::runtime
