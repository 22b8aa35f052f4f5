#include "backends/cpu/fast_backend.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"
#include "base/checked_math.h"

namespace squint::cpu {
namespace {

// One pass over a weight takes so many: they stay in a core's second cache.
constexpr int64_t kMostByteRows = 256;
// Products below are not worth waking a worker for; about five microseconds.
constexpr int64_t kWorthSharing = 1 << 19;
// Of a normal distribution one block in 500 goes beyond.
constexpr float kMostCrest = 4;
constexpr int64_t kRowsWorthSharing = 1 << 14;  // floats that are rounded

const float* floats(const Tensor& x) { return x.span<const float>().data(); }
float* mutable_floats(const Tensor& x) { return x.span<float>().data(); }
const float* bias_of(const LinearWeight& weight) {
  return weight.bias.empty() ? nullptr : floats(weight.bias);
}

// Null where the weight is kept as in exact mode.
const CodeStrips* strips_of(const LinearWeight& weight) {
  const auto* prepared = std::get_if<std::shared_ptr<const PreparedWeight>>(&weight.weight);
  SQUINT_CHECK(prepared != nullptr);  // Backend::prepare was forgotten
  const auto* codes = dynamic_cast<const CodeWeight*>(prepared->get());
  return codes == nullptr ? nullptr : &codes->strips();
}

bool are_codes(std::span<const LinearWeight* const> weights) {
  return std::ranges::all_of(weights, [](const auto* w) { return strips_of(*w) != nullptr; });
}

bool same_format(const CodeStrips& a, const CodeStrips& b) {
  return a.bits == b.bits && a.out == b.out && a.groups == b.groups &&
         a.group_blocks == b.group_blocks && (a.zeros == nullptr) == (b.zeros == nullptr);
}

// Of a plane, then of the other.
int64_t plane_bytes(int64_t rows, int64_t blocks) { return rows * blocks * (kCodeBlock + 8); }
int64_t byte_rows_bytes(int64_t rows, int64_t blocks) {
  return 2 * plane_bytes(rows, blocks) + rows * blocks;
}

BytePlane plane_at(std::byte* memory, int64_t count) {
  std::byte* scales = memory + count * kCodeBlock;
  return {.codes = reinterpret_cast<int8_t*>(memory),
          .scales = reinterpret_cast<float*>(scales),
          .negative_sums = reinterpret_cast<int32_t*>(scales + count * 4)};
}

ByteRows byte_rows_at(std::byte* memory, int64_t rows, int64_t blocks) {
  const int64_t bytes = plane_bytes(rows, blocks);
  return {.first = plane_at(memory, rows * blocks),
          .second = plane_at(memory + bytes, rows * blocks),
          .twice = reinterpret_cast<uint8_t*>(memory + 2 * bytes),
          .blocks = blocks};
}

ByteRows row_of(const ByteRows& all, int64_t row) {
  const auto moved = [&](const BytePlane& plane) {
    return BytePlane{.codes = plane.codes + row * all.blocks * kCodeBlock,
                     .scales = plane.scales + row * all.blocks,
                     .negative_sums = plane.negative_sums + row * all.blocks};
  };
  return {.first = moved(all.first),
          .second = moved(all.second),
          .twice = all.twice + row * all.blocks,
          .blocks = all.blocks};
}

int64_t strips_in(const CodeStrips& weight) { return ceil_div(weight.out, kStripRows); }

}  // namespace

FastBackend::FastBackend(const FastKernelTable& kernels, int threads)
    : CpuBackend(*kernels.exact, threads), fast_(kernels), workers_(static_cast<size_t>(threads)) {}

LinearWeight FastBackend::prepare(const LinearWeight& weight) {
  if (!CodeWeight::takes(CodeWeight::form_of(weight))) return CpuBackend::prepare(weight);
  LinearWeight ready{.out_features = weight.out_features, .in_features = weight.in_features};
  ready.weight =
      std::static_pointer_cast<const PreparedWeight>(CodeWeight::make(weight, memory_, pool()));
  ready.bias = weight.bias;
  return ready;
}

PreparedSize FastBackend::prepared_size(const WeightForm& form) const {
  return CodeWeight::takes(form) ? CodeWeight::size_of(form) : CpuBackend::prepared_size(form);
}

ByteRows FastBackend::to_bytes(const Input& input, int64_t first, int64_t rows) {
  const int64_t n = input.x.dim(1);
  const int64_t blocks = ceil_div(n, kCodeBlock);
  const auto needed = static_cast<size_t>(byte_rows_bytes(rows, blocks));
  if (byte_rows_.size() < needed) byte_rows_.resize(needed);
  const ByteRows out = byte_rows_at(byte_rows_.data(), rows, blocks);
  const bool changed = !input.norm.empty() || input.gelu;
  const int64_t grain = std::max<int64_t>(1, kRowsWorthSharing / std::max<int64_t>(n, 1));
  pool().parallel_for(rows, grain, [&](int64_t begin, int64_t end, int worker) {
    std::vector<float>& own = workers_[static_cast<size_t>(worker)].row;
    if (changed && std::ssize(own) < n) own.resize(static_cast<size_t>(n));
    for (int64_t row = begin; row < end; ++row) {
      const float* x = floats(input.x) + (first + row) * n;
      if (input.gelu) {
        table().pointwise({.op = Pointwise::gelu_tanh,
                           .a = x,
                           .b = nullptr,
                           .out = own.data(),
                           .begin = 0,
                           .end = n});
      } else if (changed) {
        const bool mean = !input.norm_bias.empty();
        const NormArgs args{.x = x,
                            .weight = floats(input.norm),
                            .bias = mean ? floats(input.norm_bias) : nullptr,
                            .eps = input.eps,
                            .n = n,
                            .out = own.data(),
                            .row_begin = 0,
                            .row_end = 1};
        (mean ? table().layer_norm : table().rms_norm)(args);
      }
      fast_.to_bytes({.x = changed ? own.data() : x,
                      .n = n,
                      .rows = 1,
                      .most_crest = kMostCrest,
                      .out = row_of(out, row)});
    }
  });
  return out;
}

void FastBackend::multiply(const Input& input, std::span<const Product> products) {
  const int64_t all = input.x.dim(0);
  const int64_t in = round_up(input.x.dim(1), kCodeBlock);
  const int64_t step = std::clamp<int64_t>(kMostByteRowCodes / in, 1, kMostByteRows);
  int64_t strips = 0;
  for (const Product& p : products) strips += strips_in(*p.weight);
  for (int64_t first = 0; first < all; first += step) {
    const int64_t rows = std::min(step, all - first);
    const ByteRows x = to_bytes(input, first, rows);
    const int64_t grain = std::max<int64_t>(1, kWorthSharing / (rows * in * kStripRows));
    pool().parallel_for(strips, grain, [&](int64_t begin, int64_t end, int) {
      int64_t before = 0;
      for (const Product& p : products) {
        const int64_t own = strips_in(*p.weight);
        const int64_t from = std::clamp<int64_t>(begin - before, 0, own);
        const int64_t to = std::clamp<int64_t>(end - before, 0, own);
        before += own;
        if (from == to) continue;
        fast_.multiply({.x = x,
                        .rows = rows,
                        .weight = *p.weight,
                        .up = p.up,
                        .bias = p.bias,
                        .out = p.out + first * p.weight->out,
                        .add = p.add,
                        .strip_begin = from,
                        .strip_end = to});
      }
    });
  }
}

void FastBackend::linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  if (out.numel() == 0) return;
  const CodeStrips* strips = strips_of(weight);
  if (strips == nullptr) return CpuBackend::linear(x, weight, out);
  const Product product{.weight = strips, .bias = bias_of(weight), .out = mutable_floats(out)};
  multiply({.x = x}, {&product, 1});
}

// Where a weight is kept as in exact mode, what it is multiplied with is float32.
void FastBackend::linears(const Input& input, Weights weights, std::span<const Tensor> outs) {
  if (input.x.numel() == 0 || weights.empty()) return;
  if (are_codes(weights)) {
    std::vector<Product> products;
    for (size_t i = 0; i < weights.size(); ++i) {
      products.push_back({.weight = strips_of(*weights[i]),
                          .bias = bias_of(*weights[i]),
                          .out = mutable_floats(outs[i])});
    }
    return multiply(input, products);
  }
  const Tensor normed = Tensor::on_host(DType::f32, input.x.shape());
  if (input.norm_bias.empty()) {
    rms_norm(input.x, input.norm, input.eps, normed);
  } else {
    layer_norm(input.x, input.norm, input.norm_bias, input.eps, normed);
  }
  for (size_t i = 0; i < weights.size(); ++i) linear(normed, *weights[i], outs[i]);
}

void FastBackend::norm_linears(const Tensor& x, const Tensor& norm, float eps, Weights weights,
                               std::span<const Tensor> outs) {
  linears({.x = x, .norm = norm, .eps = eps}, weights, outs);
}

void FastBackend::layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias,
                                     float eps, Weights weights, std::span<const Tensor> outs) {
  linears({.x = x, .norm = norm, .norm_bias = norm_bias, .eps = eps}, weights, outs);
}

void FastBackend::norm_gated(const Tensor& x, const Tensor& norm, float eps,
                             const LinearWeight& gate, const LinearWeight& up, const Tensor& out) {
  if (out.numel() == 0) return;
  const CodeStrips* first = strips_of(gate);
  const CodeStrips* second = strips_of(up);
  const bool one_pass = first != nullptr && second != nullptr && same_format(*first, *second) &&
                        gate.bias.empty() && up.bias.empty();
  if (one_pass) {
    const Product product{.weight = first, .up = second, .out = mutable_floats(out)};
    return multiply({.x = x, .norm = norm, .eps = eps}, {&product, 1});
  }
  const Tensor upper = Tensor::on_host(DType::f32, out.shape());
  linears({.x = x, .norm = norm, .eps = eps}, std::array{&gate, &up}, std::array{out, upper});
  swiglu(out, upper, out);
}

void FastBackend::linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  if (out.numel() == 0) return;
  const CodeStrips* strips = strips_of(weight);
  if (strips == nullptr) {
    const Tensor product = Tensor::on_host(DType::f32, out.shape());
    CpuBackend::linear(x, weight, product);
    return add(product, out);
  }
  const Product product{
      .weight = strips, .bias = bias_of(weight), .out = mutable_floats(out), .add = true};
  multiply({.x = x}, {&product, 1});
}

void FastBackend::gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  if (out.numel() == 0) return;
  const CodeStrips* strips = strips_of(weight);
  if (strips == nullptr) {
    gelu(x, GeluKind::tanh, x);
    return linear_add(x, weight, out);
  }
  const Product product{
      .weight = strips, .bias = bias_of(weight), .out = mutable_floats(out), .add = true};
  multiply({.x = x, .gelu = true}, {&product, 1});
}

}  // namespace squint::cpu
