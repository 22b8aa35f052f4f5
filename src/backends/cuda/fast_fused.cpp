// Operators that fast mode has whole.
#include <algorithm>
#include <array>
#include <vector>

#include "backends/cuda/device_tensor.h"
#include "backends/cuda/fast_backend.h"

namespace squint::cuda {

void FastBackend::norm_linears(const Tensor& x, const Tensor& norm, float eps, Weights weights,
                               std::span<const Tensor> outs) {
  if (x.numel() == 0 || weights.empty()) return;
  const Input input{.x = x, .norm = norm, .eps = eps};
  switch (choose(x.dim(0), weights)) {
    case Product::few_rows:
      return few_rows(input, weights, outs, Epilogue::store);
    case Product::matrix:
      return matrices(input, weights, outs, false);
    case Product::exact:
      break;
  }
  const Tensor normed = temporary(x.shape());
  rms_norm(x, norm, eps, normed);
  for (size_t i = 0; i < weights.size(); ++i) linear(normed, *weights[i], outs[i]);
}

void FastBackend::layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias,
                                     float eps, Weights weights, std::span<const Tensor> outs) {
  if (x.numel() == 0 || weights.empty()) return;
  if (choose(x.dim(0), weights) == Product::matrix) {
    return matrices({.x = x, .norm = norm, .eps = eps, .norm_bias = norm_bias}, weights, outs,
                    false);
  }
  const Tensor normed = temporary(x.shape());
  layer_norm(x, norm, norm_bias, eps, normed);
  for (size_t i = 0; i < weights.size(); ++i) linear(normed, *weights[i], outs[i]);
}

void FastBackend::gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  if (out.numel() == 0) return;
  const std::array weights{&weight};
  if (choose(x.dim(0), weights) == Product::matrix) {
    return matrices({.x = x, .norm = {}, .gelu = true}, weights, std::array{out}, true);
  }
  gelu(x, GeluKind::tanh, x);
  linear_add(x, weight, out);
}

// Of matrices the upper halves wait in memory, for some rows at a time.
void FastBackend::norm_gated(const Tensor& x, const Tensor& norm, float eps,
                             const LinearWeight& gate, const LinearWeight& up, const Tensor& out) {
  if (out.numel() == 0) return;
  const std::array weights{&gate, &up};
  const Product product = choose(x.dim(0), weights);
  if (product == Product::few_rows) {
    return few_rows({.x = x, .norm = norm, .eps = eps}, weights, std::array{out}, Epilogue::gated);
  }
  const int64_t width = x.dim(1) + out.dim(1);
  const int64_t step =
      rows_at_a_time(x.dim(0), width * byte_size(DType::f32), kMostTemporaryBytes, 1);
  for (int64_t row = 0; row < x.dim(0); row += step) {
    const int64_t rows = std::min(step, x.dim(0) - row);
    const Tensor some = x.rows(row, rows);
    const Tensor gated = out.rows(row, rows);
    const Tensor both = temporary({rows * width});
    const Tensor uppers(both.storage(), 0, DType::f32, gated.shape());
    if (product == Product::matrix) {
      matrices({.x = some, .norm = norm, .eps = eps}, weights, std::array{gated, uppers}, false);
    } else {
      const Tensor normed(both.storage(), uppers.bytes(), DType::f32, some.shape());
      rms_norm(some, norm, eps, normed);
      linear(normed, gate, gated);
      linear(normed, up, uppers);
    }
    gate_values(floats(gated), floats(uppers), gated.numel(), stream());
    launched("computing values");
  }
}

// Of matrices, what goes into the last product is made in bf16: a third of the bytes.
void FastBackend::norm_gated_add(const Tensor& x, const Tensor& norm, float eps,
                                 const LinearWeight& gate, const LinearWeight& up,
                                 const LinearWeight& down, const Tensor& inner, const Tensor& out) {
  if (out.numel() == 0) return;
  const auto matrix = [&](const LinearWeight& weight) {
    return choose(x.dim(0), std::array{&weight}) == Product::matrix;
  };
  const int64_t n = inner.dim(1);
  const bool aligned = reinterpret_cast<uintptr_t>(inner.raw()) % 16 == 0 && n == bf16_stride(n);
  if (!matrix(gate) || !matrix(up) || !matrix(down) || !aligned || !gate.bias.empty() ||
      !up.bias.empty()) {
    return FusedOperators::norm_gated_add(x, norm, eps, gate, up, down, inner, out);
  }
  const int64_t begin = inner.raw() - inner.storage()->data();
  const Tensor gated(inner.storage(), begin, DType::bf16, inner.shape());
  const Tensor uppers(inner.storage(), begin + gated.bytes(), DType::bf16, inner.shape());
  matrices({.x = x, .norm = norm, .eps = eps}, std::array{&gate, &up}, std::array{gated, uppers},
           false);
  gate_bf16(gated.raw(), uppers.raw(), gated.numel(), stream());
  launched("computing values");
  multiply({.rows = x.dim(0),
            .outs = down.out_features,
            .in = n,
            .x = gated.raw(),
            .x_stride = n,
            .weight = nullptr,
            .weight_stride = n,
            .bias = down.bias.empty() ? nullptr : floats(down.bias),
            .add = true,
            .out = floats(out),
            .out_stride = down.out_features},
           down);
}

void FastBackend::linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  if (out.numel() == 0) return;
  const std::array weights{&weight};
  switch (choose(x.dim(0), weights)) {
    case Product::few_rows:
      return few_rows({.x = x, .norm = {}}, weights, std::array{out}, Epilogue::add);
    case Product::matrix:
      return matrices({.x = x, .norm = {}}, weights, std::array{out}, true);
    case Product::exact:
      break;
  }
  const Tensor product = temporary(out.shape());
  CudaBackend::linear(x, weight, product);
  add(product, out);
}

namespace {

HeadsOfStep heads_of(const HeadsArgs& heads) {
  return {.key = floats(heads.key),
          .value = floats(heads.value),
          .query_norm = floats(heads.query_norm),
          .key_norm = floats(heads.key_norm),
          .eps = heads.eps,
          .cosine = floats(heads.cosine),
          .sine = floats(heads.sine)};
}

}  // namespace

void FastBackend::norm_rotate_append(const HeadsArgs& heads, std::span<const KvSlice> slices) {
  if (slices.empty()) return;
  steps_.refuse();  // positions would be those of today
  AppendArgs args{};
  args.query = floats(heads.query);
  args.from = heads_of(heads);
  args.heads = static_cast<int32_t>(heads.query.dim(1));
  args.kv_heads = static_cast<int32_t>(heads.key.dim(1));
  args.head_dim = static_cast<int32_t>(heads.query.dim(2));
  for (size_t first = 0; first < slices.size(); first += kMostSlices) {
    const auto some = slices.subspan(first, std::min<size_t>(kMostSlices, slices.size() - first));
    args.count = static_cast<int32_t>(some.size());
    for (size_t i = 0; i < some.size(); ++i) args.slices[i] = view(some[i], some[i].kv->length);
    append_fast(args, stream());
    launched("filling a cache");
    for (const KvSlice& slice : some) slice.kv->length += slice.count;
  }
}

void FastBackend::attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
                         const Tensor& out) {
  std::vector<int64_t> positions;
  for (const KvSlice& slice : slices) positions.push_back(slice.kv->length - slice.count);
  FastAttention args = attention_of(query, scale, true, out);
  launch_attention(args, slices, positions);
}

// Of few tokens in one kernel.
void FastBackend::attend_heads(const HeadsArgs& heads, std::span<const KvSlice> slices, float scale,
                               const Tensor& out) {
  std::vector<KvSlice> few;
  std::vector<KvSlice> many;
  for (const KvSlice& slice : slices) {
    (slice.count <= kMostDecodeTokens ? few : many).push_back(slice);
  }
  norm_rotate_append(heads, many);
  attend(heads.query, many, scale, out);
  if (few.empty()) return;
  std::vector<int64_t> positions;
  for (const KvSlice& slice : few) {
    positions.push_back(slice.kv->length);
    slice.kv->length += slice.count;
  }
  FastAttention args = attention_of(heads.query, scale, true, out);
  args.from = heads_of(heads);
  launch_attention(args, few, positions);
}

}  // namespace squint::cuda
