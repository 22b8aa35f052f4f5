// verify.cpp: a quantized checkpoint against its base model, tensor by tensor. The linear layers of
// a block are taken in the order of the forward pass, so that the factors by which smoothing has
// changed one are known when the next is compared.
#include "squint/verify.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <nlohmann/json.hpp>
#include <set>

#include "base/thread_pool.h"
#include "io/checkpoint.h"
#include "io/packed_layers.h"
#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/decoder_block.h"
#include "quantize/verify_linear.h"
#include "squint/error.h"

namespace squint {
namespace {

using namespace quantize;
using qwen3_vl::LinearRole;
using qwen3_vl::NormRole;

constexpr size_t kListed = 5;

std::string listed(const std::vector<std::string>& names) {
  std::string out;
  for (size_t i = 0; i < std::min(names.size(), kListed); ++i) {
    out += (i > 0 ? ", " : "") + names[i];
  }
  return names.size() > kListed ? out + fmt::format(" and {} more", names.size() - kListed) : out;
}

bool is_floating(const Tensor& tensor) {
  return tensor.dtype() == DType::bf16 || tensor.dtype() == DType::f16 ||
         tensor.dtype() == DType::f32;
}

// Calls check(begin, count) for parts of a tensor until one says no: an embedding in float32 would
// be gigabytes.
template <class Check>
bool everywhere(const Tensor& tensor, const Check& check) {
  constexpr int64_t kPart = 1 << 20;
  const int64_t count = tensor.numel();
  for (int64_t begin = 0; begin < count; begin += kPart) {
    if (!check(begin, std::min(kPart, count - begin))) return false;
  }
  return true;
}

Tensor part_of(const Tensor& tensor, int64_t begin, int64_t count) {
  return to_f32(tensor.reshaped({tensor.numel()}).rows(begin, count));
}

// As stored, or rounded to another type on the way.
bool same_values(const Tensor& a, const Tensor& b) {
  if (a.dtype() == b.dtype()) {
    return std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
  }
  if (!is_floating(a) || !is_floating(b)) return false;
  constexpr float kRelative = 1.0f / 256;        // bf16 keeps 8 bits
  constexpr float kAbsolute = 1.0f / (1 << 24);  // the smallest f16
  return everywhere(a, [&](int64_t begin, int64_t count) {
    const Tensor x = part_of(a, begin, count);
    const Tensor y = part_of(b, begin, count);
    return std::ranges::equal(x.span<const float>(), y.span<const float>(), [&](float p, float q) {
      return std::abs(p - q) <= kAbsolute + kRelative * std::abs(q);
    });
  });
}

bool all_finite(const Tensor& tensor) {
  if (!is_floating(tensor)) return true;
  return everywhere(tensor, [&](int64_t begin, int64_t count) {
    const Tensor part = part_of(tensor, begin, count);
    return std::ranges::all_of(part.span<const float>(), [](float x) { return std::isfinite(x); });
  });
}

class Verifier {
 public:
  explicit Verifier(const VerifyOptions& options)
      : options_(options),
        checkpoint_(io::Checkpoint::open(options.checkpoint)),
        base_(io::Checkpoint::open(options.base)),
        config_(config_of(base_)),
        layers_(checkpoint_),
        pool_(options.threads > 0 ? options.threads : available_cores()) {
    expect_related();
    const std::vector<std::string> packed = layers_.modules();
    packed_ = {packed.begin(), packed.end()};
    total_ = static_cast<int64_t>(base_.names().size());
  }

  Verification run() {
    out_.checkpoint = options_.checkpoint.string();
    out_.base = options_.base.string();
    out_.format = layers_.packing().description();
    for (int64_t layer = 0; layer < config_.text.layers; ++layer) verify_layer(layer);
    const std::set<std::string> rest = packed_;
    for (const std::string& module : rest) {
      if (!seen_.contains(module + ".weight")) verify(module, {}, false);
    }
    verify_other_tensors();
    out_.packed_layers = static_cast<int64_t>(packed_.size());
    out_.bits = weights_ > 0 ? 8 * static_cast<double>(stored_bytes_) / weights_ : 0;
    return std::move(out_);
  }

 private:
  static qwen3_vl::Config config_of(const io::Checkpoint& checkpoint) {
    return qwen3_vl::parse_config(checkpoint.config(),
                                  (checkpoint.folder() / io::kConfigFileName).string());
  }

  void expect_related() const {
    if (base_.config().contains("quantization_config")) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: the base model is quantized too; give the original",
                              options_.base.string()));
    }
    // Factors are passed from layer to layer, so the shapes must fit together.
    const qwen3_vl::Weights weights(base_);
    for (int64_t layer = 0; layer < config_.text.layers; ++layer) {
      qwen3_vl::DecoderBlockWeights::expect(weights, config_.text, layer);
    }
    const qwen3_vl::TextConfig quantized = config_of(checkpoint_).text;
    const qwen3_vl::TextConfig& original = config_.text;
    if (quantized.layers == original.layers && quantized.hidden == original.hidden) return;
    throw Error(ErrorCode::bad_input,
                fmt::format("{} has {} layers of {}, {} has {} of {}: not its base model",
                            options_.checkpoint.string(), quantized.layers, quantized.hidden,
                            options_.base.string(), original.layers, original.hidden));
  }

  void stop_if_asked() const {
    if (options_.stop.stop_requested()) throw Error(ErrorCode::interrupted, "interrupted");
  }

  void step(const std::string& name) {
    stop_if_asked();
    seen_.insert(name);
    if (options_.on_progress) {
      options_.on_progress(static_cast<int64_t>(seen_.size()), total_, name);
    }
  }

  void verify_layer(int64_t layer) {
    using enum LinearRole;
    const auto of = [&](LinearRole role, const std::vector<float>& columns, bool fits_rows) {
      return verify(qwen3_vl::module_name(layer, role), columns, fits_rows);
    };
    const std::vector<float> attention = gain_change(layer, NormRole::attention);
    of(q, attention, false);
    of(k, attention, false);
    of(o, repeated(of(v, attention, true)), false);
    const std::vector<float> mlp = gain_change(layer, NormRole::mlp);
    of(gate, mlp, false);
    of(down, of(up, mlp, true), false);
  }

  // Each key/value head feeds several query heads' columns of o_proj.
  std::vector<float> repeated(const std::vector<float>& rows) const {
    const qwen3_vl::TextConfig& t = config_.text;
    std::vector<float> out;
    if (rows.empty()) return out;
    for (int64_t i = 0; i < t.heads * t.head_dim; ++i) {
      const int64_t head = i / t.head_dim / (t.heads / t.kv_heads);
      out.push_back(rows[static_cast<size_t>(head * t.head_dim + i % t.head_dim)]);
    }
    return out;
  }

  // A norm's gain now over what it was; ones where the checkpoint has no such norm.
  std::vector<float> gain_change(int64_t layer, NormRole role) {
    const std::string name = qwen3_vl::norm_name(layer, role);
    const Tensor* now = checkpoint_.find(name);
    const Tensor then = base_.get(name);
    std::vector<float> out(static_cast<size_t>(config_.text.hidden), 1);
    if (now == nullptr || !(now->shape() == then.shape()) || !is_floating(*now)) {
      return out;  // Reported with the other tensors.
    }
    step(name);
    const Tensor gains = to_f32(*now);
    const Tensor original = to_f32(then);
    for (size_t i = 0; i < out.size(); ++i) {
      const float ratio = gains.span<const float>()[i] / original.span<const float>()[i];
      if (std::isfinite(ratio) && ratio != 0) out[i] = ratio;
    }
    if (!all_finite(*now)) out_.problems.push_back(name + " holds NaN or infinity");
    return out;
  }

  // Returns the row factors; none where the layer could not be compared.
  std::vector<float> verify(const std::string& module, std::vector<float> columns, bool fits_rows) {
    const std::string name = module + ".weight";
    const Tensor* base = base_.find(name);
    const bool packed = packed_.contains(module);
    if (base == nullptr || base->shape().rank() != 2 || !is_floating(*base) ||
        (!packed && checkpoint_.find(name) == nullptr)) {
      return {};  // Reported with the other tensors.
    }
    step(name);
    VerifiedLinear& linear = out_.linears.emplace_back();
    linear.module = module;
    linear.packed = packed;
    if (columns.empty()) columns.resize(static_cast<size_t>(base->dim(1)), 1);
    LinearComparison comparison{
        .base = *base, .columns = std::move(columns), .fits_rows = fits_rows};
    expect_fate(module, linear);
    try {
      if (packed) return verify_packed(comparison, linear);
      comparison.dense = checkpoint_.get(name);
      linear.bits = 8.0 * static_cast<double>(byte_size(comparison.dense.dtype()));
      if (!is_floating(comparison.dense) || !(comparison.dense.shape() == base->shape())) {
        throw Error(
            ErrorCode::bad_input,
            fmt::format("is {} {}, the base model has {}", squint::name(comparison.dense.dtype()),
                        comparison.dense.shape().to_string(), base->shape().to_string()));
      }
      return verifier_.verify(comparison, {}, linear);
    } catch (const Error& e) {
      linear.problems.emplace_back(e.what());
      return {};
    }
  }

  std::vector<float> verify_packed(LinearComparison& comparison, VerifiedLinear& linear) {
    for (const std::string& name : layers_.tensor_names(linear.module))
      packed_tensors_.insert(name);
    const io::PackedLayer layer =
        layers_.get(linear.module, comparison.base.dim(0), comparison.base.dim(1));
    const int64_t weights = layer.rows * layer.cols;
    linear.bits = 8 * static_cast<double>(layer.stored_bytes) / static_cast<double>(weights);
    stored_bytes_ += layer.stored_bytes;
    weights_ += static_cast<double>(weights);
    if (!sensible_scales(layer, linear)) return {};
    comparison.packed = &layer;
    return verifier_.verify(comparison, layers_.packing().reading, linear);
  }

  // Whether there is something to compare.
  static bool sensible_scales(const io::PackedLayer& layer, VerifiedLinear& linear) {
    const float smallest = layer.scale_dtype == DType::f16 ? 0x1p-14f : 0x1p-126f;
    int64_t infinite = 0;
    int64_t zero = 0;
    int64_t negative = 0;
    for (const float scale : layer.scales) {
      infinite += std::isfinite(scale) ? 0 : 1;
      zero += scale == 0 ? 1 : 0;
      negative += scale < 0 && layer.zeros ? 1 : 0;
      linear.denormal_scales += scale != 0 && std::abs(scale) < smallest ? 1 : 0;
    }
    for (const auto& [count, what] :
         {std::pair{infinite, "NaN or infinite"}, {zero, "0"}, {negative, "negative"}}) {
      if (count == 0) continue;
      linear.problems.push_back(
          fmt::format("{} of {} scales are {}", count, layer.scales.size(), what));
    }
    return infinite == 0;
  }

  // Loaders believe config.json.
  void expect_fate(const std::string& module, VerifiedLinear& linear) const {
    const std::optional<bool> should = layers_.packing().expects(module);
    if (!should || *should == linear.packed) return;
    linear.problems.push_back(
        fmt::format("config.json says that it is {}quantized, but it is{}; loaders will fail",
                    *should ? "" : "not ", linear.packed ? "" : " not"));
  }

  void verify_other_tensors() {
    std::vector<std::string> missing;
    std::vector<std::string> extra;
    std::vector<std::string> changed;
    for (const std::string& name : base_.names()) {
      if (seen_.contains(name)) continue;
      step(name);
      const Tensor* now = checkpoint_.find(name);
      const Tensor& then = *base_.find(name);
      if (now == nullptr) {
        if (!(config_.tied_head && name == "lm_head.weight")) missing.push_back(name);
      } else if (!(now->shape() == then.shape())) {
        out_.problems.push_back(fmt::format("{} is {}, the base model has {}", name,
                                            now->shape().to_string(), then.shape().to_string()));
      } else if (!all_finite(*now)) {
        out_.problems.push_back(name + " holds NaN or infinity");
      } else if (!same_values(*now, then)) {
        changed.push_back(name);
      }
    }
    for (const std::string& name : checkpoint_.names()) {
      if (base_.find(name) == nullptr && !packed_tensors_.contains(name)) extra.push_back(name);
    }
    for (const std::string& module : packed_) {
      if (checkpoint_.find(module + ".weight") != nullptr) extra.push_back(module + ".weight");
    }
    for (const auto& [names, what] : {std::pair{&missing, "missing"},
                                      {&extra, "not in the base model"},
                                      {&changed, "other values than in the base model"}}) {
      if (names->empty()) continue;
      out_.problems.push_back(fmt::format("{}: {} tensor{}: {}", what, names->size(),
                                          names->size() == 1 ? "" : "s", listed(*names)));
    }
  }

  const VerifyOptions& options_;
  io::Checkpoint checkpoint_;
  io::Checkpoint base_;
  qwen3_vl::Config config_;
  io::PackedLayers layers_;
  ThreadPool pool_;
  LinearVerifier verifier_{pool_};
  std::set<std::string> packed_;          // modules
  std::set<std::string> packed_tensors_;  // theirs, as far as they belong to a known layer
  std::set<std::string> seen_;            // tensors of the base model
  int64_t total_ = 0;
  int64_t stored_bytes_ = 0;
  double weights_ = 0;
  Verification out_;
};

}  // namespace

Verification verify_checkpoint(const VerifyOptions& options) { return Verifier(options).run(); }

}  // namespace squint
