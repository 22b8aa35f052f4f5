#include "backends/cpu/cpu_backend.h"

#include <algorithm>
#include <atomic>
#include <bit>
#include <cmath>
#include <cstring>

#include "backends/cpu/panels.h"
#include "base/check.h"
#include "base/checked_math.h"

namespace squint::cpu {
namespace {

// Loops shorter than this many floats are not worth waking a worker for.
constexpr int64_t kWorthSharing = 1 << 14;

const float* floats(const Tensor& x) { return x.span<const float>().data(); }
float* mutable_floats(const Tensor& x) { return x.span<float>().data(); }

// Rows per part of a loop over rows of n floats, so that a part is worth a worker.
int64_t row_grain(int64_t n) {
  return std::max<int64_t>(1, kWorthSharing / std::max<int64_t>(n, 1));
}

const PanelWeight& panel_weight(const LinearWeight& weight) {
  const auto* prepared = std::get_if<std::shared_ptr<const PreparedWeight>>(&weight.weight);
  SQUINT_CHECK(prepared != nullptr);  // Backend::prepare was forgotten
  const auto* panels = dynamic_cast<const PanelWeight*>(prepared->get());
  SQUINT_CHECK(panels != nullptr);
  return *panels;
}

// Floats that one worker needs to attend to `length` keys.
int64_t attention_floats(int64_t head_dim, int64_t length) {
  return kAttentionRows * (head_dim + round_up(length, kLanes) + kLanes);
}

}  // namespace

CpuBackend::CpuBackend(const KernelTable& kernels, int threads)
    : kernels_(kernels), pool_(threads), attention_scratch_(static_cast<size_t>(threads)) {}

void CpuBackend::copy(const Tensor& from, const Tensor& to) {
  SQUINT_CHECK(from.bytes() == to.bytes());
  std::memmove(to.raw(), from.raw(), static_cast<size_t>(from.bytes()));
}

LinearWeight CpuBackend::prepare(const LinearWeight& weight) {
  LinearWeight ready{.out_features = weight.out_features, .in_features = weight.in_features};
  ready.weight = std::static_pointer_cast<const PreparedWeight>(PanelWeight::make(weight, pool_));
  ready.bias = weight.bias;
  return ready;
}

PreparedSize CpuBackend::prepared_size(const WeightForm& form) const {
  return PanelWeight::size_of(form);
}

int64_t CpuBackend::kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const {
  const int64_t rows = round_up(capacity, kLanes);
  return heads * rows * (head_dim + value_stride(head_dim)) * byte_size(cache_dtype());
}

int64_t CpuBackend::attention_bytes(int64_t head_dim, int64_t length) const {
  return pool_.size() * attention_floats(head_dim, length) * byte_size(DType::f32);
}

KvLayer CpuBackend::make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                            int64_t capacity) {
  const DType dtype = cache_dtype();
  const int64_t rows = round_up(capacity, kLanes);
  const int64_t key_bytes = heads * rows * head_dim * byte_size(dtype);
  KvLayer kv{.keys = Tensor(storage, 0, dtype, {heads, rows / kLanes, head_dim, kLanes}),
             .values = Tensor(storage, key_bytes, dtype, {heads, rows, value_stride(head_dim)}),
             .heads = heads,
             .head_dim = head_dim,
             .capacity = capacity};
  // Kernels read whole tiles: what lies past the last position must be finite.
  std::memset(kv.keys.raw(), 0, static_cast<size_t>(kv.keys.bytes()));
  std::memset(kv.values.raw(), 0, static_cast<size_t>(kv.values.bytes()));
  return kv;
}

void CpuBackend::linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  const Panels& panels = panel_weight(weight).panels();
  GemmArgs args{.x = floats(x),
                .rows = x.dim(0),
                .weight = panels,
                .bias = weight.bias.empty() ? nullptr : floats(weight.bias),
                .out = mutable_floats(out),
                .panel_begin = 0,
                .panel_end = 0};
  const int64_t panel_work = args.rows * panels.in * kLanes;
  const int64_t grain = std::max<int64_t>(1, kWorthSharing / std::max<int64_t>(panel_work, 1));
  pool_.parallel_for(ceil_div(panels.out, kLanes), grain, [&](int64_t begin, int64_t end, int) {
    GemmArgs part = args;
    part.panel_begin = begin;
    part.panel_end = end;
    kernels_.gemm(part);
  });
}

void CpuBackend::rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  const int64_t n = weight.numel();
  pool_.parallel_for(x.numel() / n, row_grain(n), [&](int64_t begin, int64_t end, int) {
    kernels_.rms_norm({.x = floats(x),
                       .weight = floats(weight),
                       .bias = nullptr,
                       .eps = eps,
                       .n = n,
                       .out = mutable_floats(out),
                       .row_begin = begin,
                       .row_end = end});
  });
}

void CpuBackend::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                            const Tensor& out) {
  const int64_t n = weight.numel();
  pool_.parallel_for(x.numel() / n, row_grain(n), [&](int64_t begin, int64_t end, int) {
    kernels_.layer_norm({.x = floats(x),
                         .weight = floats(weight),
                         .bias = floats(bias),
                         .eps = eps,
                         .n = n,
                         .out = mutable_floats(out),
                         .row_begin = begin,
                         .row_end = end});
  });
}

void CpuBackend::rotate(const Tensor& cosine, const Tensor& sine, const Tensor& x) {
  const int64_t row = x.dim(1) * x.dim(2);
  pool_.parallel_for(x.dim(0), row_grain(row), [&](int64_t begin, int64_t end, int) {
    kernels_.rotate({.cosine = floats(cosine),
                     .sine = floats(sine),
                     .heads = x.dim(1),
                     .half = x.dim(2) / 2,
                     .x = mutable_floats(x),
                     .token_begin = begin,
                     .token_end = end});
  });
}

void CpuBackend::append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) {
  const int64_t d = kv.head_dim;
  const int64_t rows = round_up(kv.capacity, kLanes);
  const int64_t stride = value_stride(d);
  float* key_tiles = mutable_floats(kv.keys);
  float* value_rows = mutable_floats(kv.values);
  for (int64_t t = 0; t < keys.dim(0); ++t) {
    const int64_t at = kv.length + t;
    for (int64_t h = 0; h < kv.heads; ++h) {
      const float* key = floats(keys) + (t * kv.heads + h) * d;
      const float* value = floats(values) + (t * kv.heads + h) * d;
      float* tile = key_tiles + (h * rows + at / kLanes * kLanes) * d + at % kLanes;
      for (int64_t i = 0; i < d; ++i) tile[i * kLanes] = key[i];
      std::copy(value, value + d, value_rows + (h * rows + at) * stride);
    }
  }
  kv.length += keys.dim(0);
}

void CpuBackend::attention(const AttentionArgs& args, const Tensor& out) {
  const KvLayer& kv = *args.kv;
  const int64_t tokens = args.query.dim(0);
  const int64_t heads = args.query.dim(1);
  const int64_t group = heads / kv.heads;
  SQUINT_CHECK(group <= kAttentionRows);
  const int64_t block = kAttentionRows / group;
  const int64_t blocks = ceil_div(tokens, block);
  const int64_t scratch = attention_floats(kv.head_dim, kv.length);
  pool_.parallel_for(kv.heads * blocks, 1, [&](int64_t begin, int64_t end, int worker) {
    std::vector<float>& own = attention_scratch_[static_cast<size_t>(worker)];
    if (static_cast<int64_t>(own.size()) < scratch) own.resize(static_cast<size_t>(scratch));
    for (int64_t task = begin; task < end; ++task) {
      const int64_t token = task % blocks * block;
      kernels_.attention({.query = floats(args.query),
                          .heads = heads,
                          .keys = floats(kv.keys),
                          .values = floats(kv.values),
                          .kv_heads = kv.heads,
                          .head_dim = kv.head_dim,
                          .value_stride = value_stride(kv.head_dim),
                          .capacity = round_up(kv.capacity, kLanes),
                          .length = kv.length,
                          .first_position = args.first_position,
                          .causal = args.causal,
                          .scale = args.scale,
                          .out = mutable_floats(out),
                          .kv_head = task / blocks,
                          .token_begin = token,
                          .token_end = std::min(tokens, token + block),
                          .scratch = own.data()});
    }
  });
}

void CpuBackend::pointwise(Pointwise op, const Tensor& a, const Tensor& b, const Tensor& out) {
  const PointwiseArgs args{.op = op,
                           .a = floats(a),
                           .b = b.empty() ? nullptr : floats(b),
                           .out = mutable_floats(out),
                           .begin = 0,
                           .end = 0};
  pool_.parallel_for(out.numel(), kWorthSharing, [&](int64_t begin, int64_t end, int) {
    PointwiseArgs part = args;
    part.begin = begin;
    part.end = end;
    kernels_.pointwise(part);
  });
}

void CpuBackend::swiglu(const Tensor& gate, const Tensor& up, const Tensor& out) {
  pointwise(Pointwise::swiglu, gate, up, out);
}

void CpuBackend::add(const Tensor& x, const Tensor& out) { pointwise(Pointwise::add, x, {}, out); }

void CpuBackend::gelu(const Tensor& x, GeluKind kind, const Tensor& out) {
  if (kind == GeluKind::tanh) return pointwise(Pointwise::gelu_tanh, x, {}, out);
  const float* from = floats(x);
  float* to = mutable_floats(out);
  // The exact form runs once per image, in the mergers: the C library's erf is fast enough.
  pool_.parallel_for(out.numel(), kWorthSharing, [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin; i < end; ++i) {
      const float v = from[i];
      to[i] = 0.5f * v * (1.0f + std::erf(v * 0.70710678118654752f));
    }
  });
}

void CpuBackend::argmax(const Tensor& x, int64_t count, const Tensor& out) {
  for (int64_t row = 0; row < x.dim(0); ++row) {
    const std::span<const float> values =
        x.rows(row, 1).span<const float>().first(static_cast<size_t>(count));
    out.span<int32_t>()[static_cast<size_t>(row)] =
        static_cast<int32_t>(std::ranges::max_element(values) - values.begin());
  }
}

void CpuBackend::rms_norm_gradient(const Tensor& x, const Tensor& weight, float eps,
                                   const Tensor& d_out, const Tensor& d_x) {
  const int64_t n = weight.numel();
  pool_.parallel_for(x.numel() / n, row_grain(n), [&](int64_t begin, int64_t end, int) {
    kernels_.rms_norm_gradient({.x = floats(x),
                                .weight = floats(weight),
                                .eps = eps,
                                .n = n,
                                .d_out = floats(d_out),
                                .d_x = mutable_floats(d_x),
                                .row_begin = begin,
                                .row_end = end});
  });
}

void CpuBackend::swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& d_out,
                                 const Tensor& d_gate, const Tensor& d_up) {
  pool_.parallel_for(gate.numel(), kWorthSharing, [&](int64_t begin, int64_t end, int) {
    kernels_.swiglu_gradient({.gate = floats(gate),
                              .up = floats(up),
                              .d_out = floats(d_out),
                              .d_gate = mutable_floats(d_gate),
                              .d_up = mutable_floats(d_up),
                              .begin = begin,
                              .end = end});
  });
}

void CpuBackend::attention_gradient(const AttentionGradientArgs& args) {
  const int64_t tokens = args.query.dim(0);
  const int64_t kv_heads = args.key.dim(1);
  const auto scratch = static_cast<size_t>(2 * round_up(tokens, kLanes));
  pool_.parallel_for(kv_heads, 1, [&](int64_t begin, int64_t end, int worker) {
    std::vector<float>& own = attention_scratch_[static_cast<size_t>(worker)];
    if (own.size() < scratch) own.resize(scratch);
    for (int64_t kv_head = begin; kv_head < end; ++kv_head) {
      kernels_.attention_gradient({.query = floats(args.query),
                                   .key = floats(args.key),
                                   .value = floats(args.value),
                                   .d_out = floats(args.d_out),
                                   .d_query = mutable_floats(args.d_query),
                                   .d_key = mutable_floats(args.d_key),
                                   .d_value = mutable_floats(args.d_value),
                                   .tokens = tokens,
                                   .heads = args.query.dim(1),
                                   .kv_heads = kv_heads,
                                   .head_dim = args.query.dim(2),
                                   .scale = args.scale,
                                   .kv_head = kv_head,
                                   .scratch = own.data()});
    }
  });
}

void CpuBackend::add_second_moment(const Tensor& x, const Tensor& out) {
  add_moments(x, x, out, kernels_.add_second_moment);
}

void CpuBackend::add_cross_moment(const Tensor& x, const Tensor& y, const Tensor& out) {
  add_moments(x, y, out, kernels_.add_cross_moment);
}

void CpuBackend::add_moments(const Tensor& x, const Tensor& y, const Tensor& out,
                             void (*kernel)(const MomentArgs&)) {
  const int64_t n = x.dim(1);
  const int64_t panels = ceil_div(n, kLanes);
  const int64_t most = std::min(x.dim(0), kMomentTokens);
  std::vector<float> rows(static_cast<size_t>(n * most));
  std::vector<float> columns(static_cast<size_t>(panels * most * kLanes));
  for (int64_t first = 0; first < x.dim(0); first += kMomentTokens) {
    MomentArgs args{.x = rows.data(),
                    .y = columns.data(),
                    .tokens = std::min(x.dim(0) - first, kMomentTokens),
                    .n = n,
                    .out = mutable_floats(out),
                    .panel = 0};
    pool_.parallel_for(panels, 4, [&](int64_t begin, int64_t end, int) {
      for (int64_t t = 0; t < args.tokens; ++t) {
        const float* x_row = floats(x) + (first + t) * n;
        const float* y_row = floats(y) + (first + t) * n;
        for (int64_t i = begin * kLanes; i < end * kLanes; ++i) {
          if (i < n) rows[i * args.tokens + t] = x_row[i];
          columns[(i / kLanes * args.tokens + t) * kLanes + i % kLanes] = i < n ? y_row[i] : 0;
        }
      }
    });
    // A second moment's panel takes longer the later it comes: each index takes one from either
    // end.
    pool_.parallel_for(ceil_div(panels, 2), 1, [&](int64_t begin, int64_t end, int) {
      for (int64_t i = begin; i < end; ++i) {
        MomentArgs part = args;
        part.panel = i;
        kernel(part);
        part.panel = panels - 1 - i;
        if (part.panel != i) kernel(part);
      }
    });
  }
}

void CpuBackend::scale_rows(const Tensor& x, const Tensor& factor, const Tensor& out) {
  const int64_t n = x.dim(1);
  const float* from = floats(x);
  const float* factors = floats(factor);
  float* to = mutable_floats(out);
  pool_.parallel_for(x.dim(0), row_grain(n), [&](int64_t begin, int64_t end, int) {
    for (int64_t i = begin * n; i < end * n; ++i) to[i] = from[i] * factors[i / n];
  });
}

void CpuBackend::add_abs_sum(const Tensor& x, const Tensor& out) {
  kernels_.add_abs_sum(
      {.x = floats(x), .rows = x.dim(0), .n = x.dim(1), .out = mutable_floats(out)});
}

double CpuBackend::dot(const Tensor& a, const Tensor& b, int64_t first) {
  const int64_t n = b.dim(1);
  std::vector<float> rows(static_cast<size_t>(a.dim(0)));
  pool_.parallel_for(a.dim(0), row_grain(n), [&](int64_t begin, int64_t end, int) {
    for (int64_t row = begin; row < end; ++row) {
      rows[static_cast<size_t>(row)] =
          kernels_.dot(floats(a) + row * a.dim(1) + first, floats(b) + row * n, n);
    }
  });
  double total = 0;
  for (const float row : rows) total += row;
  return total;
}

namespace {

QuantizeArgs quantize_args(const Tensor& weight, const QuantizationScheme& scheme) {
  return {.weight = reinterpret_cast<const uint16_t*>(weight.raw()),
          .smooth = nullptr,
          .in = weight.dim(1),
          .group_columns = scheme.group_columns(weight.dim(1)),
          .lowest = static_cast<float>(scheme.lowest()),
          .highest = static_cast<float>(scheme.highest()),
          .symmetric = scheme.symmetric,
          .signed_scales = scheme.symmetric && scheme.signed_scales,
          .steps = 1,
          .errors = nullptr,
          .codes = nullptr,
          .scales = nullptr,
          .zeros = nullptr,
          .improved = 0,
          .error = nullptr,
          .row_begin = 0,
          .row_end = 0};
}

}  // namespace

void CpuBackend::quantize_weight(const Tensor& weight, const QuantizationScheme& scheme,
                                 Observer observer, const QuantizedWeight& out) {
  QuantizeArgs args = quantize_args(weight, scheme);
  args.codes = out.codes.span<int8_t>().data();
  args.scales = reinterpret_cast<uint16_t*>(out.scales.raw());
  args.zeros = out.zero_points.span<int8_t>().data();
  const auto run = [&](int steps) {
    args.steps = steps;
    args.errors = mse_errors_.data();
    std::atomic<uint32_t> improved = 0;
    pool_.parallel_for(weight.dim(0), 1, [&](int64_t begin, int64_t end, int) {
      QuantizeArgs part = args;
      part.row_begin = begin;
      part.row_end = end;
      kernels_.quantize(part);
      improved.fetch_or(part.improved);
    });
    return improved.load();
  };
  if (observer == Observer::minmax) {
    run(1);
    return;
  }
  if (mse_errors_.empty()) mse_errors_ = mse_errors();
  // Every group tries every step at once. Only where patience would have ended the search early,
  // which takes a tiny matrix, is it run again with fewer.
  const int steps = steps_before_patience_ends(run(kMseSteps));
  if (steps < kMseSteps) run(steps);
}

void CpuBackend::quantization_error(const Tensor& weight, const Tensor& smooth,
                                    const QuantizationScheme& scheme, const Tensor& out) {
  QuantizeArgs args = quantize_args(weight, scheme);
  args.smooth = smooth.empty() ? nullptr : floats(smooth);
  args.error = mutable_floats(out);
  pool_.parallel_for(weight.dim(0), row_grain(weight.dim(1)), [&](int64_t begin, int64_t end, int) {
    QuantizeArgs part = args;
    part.row_begin = begin;
    part.row_end = end;
    kernels_.quantization_error(part);
  });
}

void CpuBackend::round_adaptively(const Tensor& weight, const AdaptiveRounding& how,
                                  const QuantizationScheme& scheme, const QuantizedWeight& out) {
  const int64_t rows = weight.dim(0);
  const int64_t in = weight.dim(1);
  const bool informed = !how.hessian.empty();
  const RoundingArgs args{.weight = floats(weight),
                          .importance = floats(how.importance),
                          .hessian = informed ? floats(how.hessian) : nullptr,
                          .feedback = informed ? floats(how.feedback) : nullptr,
                          .order = how.order.data(),
                          .search = how.search,
                          .rounds = how.rounds,
                          .in = in,
                          .group_columns = scheme.group_columns(in),
                          .lowest = static_cast<float>(scheme.lowest()),
                          .highest = static_cast<float>(scheme.highest()),
                          .symmetric = scheme.symmetric,
                          .signed_scales = scheme.symmetric && scheme.signed_scales,
                          .codes = out.codes.span<int8_t>().data(),
                          .scales = reinterpret_cast<uint16_t*>(out.scales.raw()),
                          .zeros = out.zero_points.span<int8_t>().data(),
                          .row_begin = 0,
                          .row_end = 0,
                          .scratch = nullptr};
  // Few enough that every worker has its share, as a small matrix needs.
  const int64_t abreast =
      std::clamp<int64_t>(ceil_div(rows, kLanes) / (4 * int64_t{pool_.size()}), 1, kRoundingPanels);
  const int64_t part_rows = abreast * kLanes;
  const auto scratch = static_cast<size_t>(rounding_scratch(in, scheme.groups(in), abreast));
  pool_.parallel_for(ceil_div(rows, part_rows), 1, [&](int64_t begin, int64_t end, int) {
    std::vector<float> own(scratch);
    for (int64_t i = begin; i < end; ++i) {
      RoundingArgs part = args;
      part.row_begin = i * part_rows;
      part.row_end = std::min(rows, part.row_begin + part_rows);
      part.scratch = own.data();
      kernels_.round_adaptively(part);
    }
  });
}

}  // namespace squint::cpu
