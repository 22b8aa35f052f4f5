#include "quantize/bit_budget.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "base/check.h"
#include "base/checked_math.h"
#include "squint/error.h"

namespace squint::quantize {

using qwen3_vl::LinearRole;

namespace {

constexpr int64_t kMostSteps = 65536;
constexpr std::array<int, 3> kChoices = {4, 8, 16};

std::optional<QuantizationScheme> scheme_with(const QuantizeOptions& options, int bits) {
  if (bits == 16) return std::nullopt;
  return common_scheme(options, bits, options.group_size);
}

}  // namespace

std::vector<size_t> least_loss(std::span<const std::vector<BitOption>> units, int64_t capacity) {
  int64_t divisor = 0;
  for (const auto& unit : units) {
    capacity -= unit.front().size;
    for (const BitOption& o : unit) divisor = std::gcd(divisor, o.size - unit.front().size);
  }
  SQUINT_CHECK(capacity >= 0);
  const int64_t step = std::max({divisor, ceil_div(capacity, kMostSteps), int64_t{1}});
  const auto steps = static_cast<size_t>(capacity / step);
  // best[c]: of the units so far, with at most c steps more than the smallest.
  std::vector<double> best(steps + 1, 0.0);
  std::vector<std::vector<uint8_t>> taken;
  for (const auto& unit : units) {
    std::vector<double> now(steps + 1);
    std::vector<uint8_t>& take = taken.emplace_back(steps + 1);
    for (size_t c = 0; c <= steps; ++c) {
      now[c] = best[c] + unit[0].loss;
      for (size_t o = 1; o < unit.size(); ++o) {
        const auto more = static_cast<size_t>(ceil_div(unit[o].size - unit[0].size, step));
        if (more > c || !(best[c - more] + unit[o].loss < now[c])) continue;
        now[c] = best[c - more] + unit[o].loss;
        take[c] = static_cast<uint8_t>(o);
      }
    }
    best = std::move(now);
  }
  std::vector<size_t> chosen(units.size());
  size_t left = steps;
  for (size_t u = units.size(); u-- > 0;) {
    chosen[u] = taken[u][left];
    left -= static_cast<size_t>(ceil_div(units[u][chosen[u]].size - units[u].front().size, step));
  }
  return chosen;
}

std::vector<SensitivityReport> measure_sensitivity(Context& cx,
                                                   const qwen3_vl::DecoderBlockWeights& stored,
                                                   const qwen3_vl::TextConfig& config,
                                                   int64_t layer, BlockPlan plan,
                                                   const BlockObserver* observer) {
  std::vector<SensitivityReport> out;
  for (const LinearUnit& unit : linear_units()) {
    out.push_back({.layer = layer, .unit = unit_name(unit)});
  }
  plan.feedback.reset();
  for (const int bits : {4, 8}) {
    for (auto& scheme : plan.schemes.linears) scheme->bits = bits;
    const QuantizedBlock block = quantize_block(cx, stored, config, layer, plan, observer, nullptr);
    for (size_t u = 0; u < out.size(); ++u) {
      for (const LinearRole role : linear_units()[u]) {
        const LinearReport& linear = *std::ranges::find(
            block.linears, qwen3_vl::module_name(layer, role), &LinearReport::module);
        (bits == 4 ? out[u].loss_4 : out[u].loss_8) += linear.error * linear.error;
      }
    }
  }
  return out;
}

void spend_budget(const QuantizeOptions& options,
                  const std::array<Shape, qwen3_vl::kLinearRoles>& shapes,
                  std::vector<SensitivityReport>& sensitivity, ModuleSchemes& schemes) {
  std::vector<std::vector<BitOption>> units;
  int64_t weights = 0;
  int64_t least = 0;
  const size_t per_layer = linear_units().size();
  SQUINT_CHECK(sensitivity.size() == schemes.size() * per_layer);
  for (size_t i = 0; i < sensitivity.size(); ++i) {
    const LinearUnit& unit = linear_units()[i % per_layer];
    const auto size = [&](const std::optional<QuantizationScheme>& scheme) {
      int64_t bits = 0;
      for (const LinearRole role : unit) {
        const Shape& shape = shapes[static_cast<size_t>(role)];
        bits += stored_bits(shape[0], shape[1], scheme);
      }
      return bits;
    };
    for (const LinearRole role : unit) weights += shapes[static_cast<size_t>(role)].numel();
    std::vector<BitOption>& choices = units.emplace_back();
    if (is_fixed(options, qwen3_vl::module_name(sensitivity[i].layer, unit[0]))) {
      choices = {{.size = size(schemes[i / per_layer][unit[0]])}};
    } else {
      choices = {{size(scheme_with(options, 4)), sensitivity[i].loss_4},
                 {size(scheme_with(options, 8)), sensitivity[i].loss_8},
                 {size(scheme_with(options, 16)), 0}};
    }
    least += choices.front().size;
  }
  const auto capacity = static_cast<int64_t>(*options.budget * static_cast<double>(weights));
  if (least > capacity) {
    throw Error(
        ErrorCode::usage,
        fmt::format("budget: {} bits per weight are too few: 4 bits with their scales, and "
                    "what overrides ask for, take {:.3f}",
                    *options.budget, static_cast<double>(least) / static_cast<double>(weights)));
  }
  const std::vector<size_t> chosen = least_loss(units, capacity);
  for (size_t i = 0; i < sensitivity.size(); ++i) {
    const LinearUnit& unit = linear_units()[i % per_layer];
    BlockSchemes& block = schemes[i / per_layer];
    if (units[i].size() > 1) {
      for (const LinearRole role : unit) block[role] = scheme_with(options, kChoices[chosen[i]]);
    }
    sensitivity[i].bits = block[unit[0]] ? block[unit[0]]->bits : 16;
  }
}

}  // namespace squint::quantize
