// What only the quantizer asks for: statistics, factors, rounding. What needs cuBLAS and cuSOLVER
// is computed on the host where they are not installed.
#include <numeric>
#include <vector>

#include "backends/cuda/card_rounding.h"
#include "backends/cuda/cuda_backend.h"
#include "backends/cuda/dense_algebra.h"
#include "backends/cuda/device_memory.h"
#include "backends/cuda/device_tensor.h"
#include "backends/cuda/quantizer_kernels.h"
#include "core/quantization.h"

namespace squint::cuda {
namespace {

GroupRoundingArgs group_args(const Tensor& weight, const QuantizationScheme& scheme) {
  return {.weight = reinterpret_cast<const uint16_t*>(weight.raw()),
          .rows = weight.dim(0),
          .in = weight.dim(1),
          .group_columns = scheme.group_columns(weight.dim(1)),
          .scheme = scheme_args(scheme)};
}

}  // namespace

DenseAlgebra* CudaBackend::algebra() {
  if (!algebra_sought_) {
    algebra_sought_ = true;
    algebra_ = DenseAlgebra::open(index_, stream());
  }
  return algebra_.get();
}

Tensor CudaBackend::on_card(const Tensor& tensor) {
  if (tensor.empty() || tensor.device().kind == DeviceKind::cuda) return tensor;
  Tensor out = room(tensor.shape(), tensor.dtype());
  copy(tensor, out);
  return out;
}

Tensor CudaBackend::room(const Shape& shape, DType dtype) {
  const int64_t bytes = shape.numel() * byte_size(dtype);
  return Tensor(allocate_in_order(index_, bytes, stream()), 0, dtype, shape);
}

bool CudaBackend::multiply_float32(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  const DeviceMatrix& matrix = DeviceWeight::of(weight).matrix();
  if (matrix.format != WeightFormat::f32 || x.dim(0) <= kFewRows || !weight.bias.empty()) {
    return false;
  }
  if (algebra() == nullptr) return false;
  algebra()->multiply(
      {.rows = x.dim(0),
       .columns = matrix.out,
       .inner = matrix.in,
       .a = {floats(x), matrix.in},
       .b = {static_cast<const float*>(matrix.values), matrix.row_vectors * 4, true},
       .out = floats(out),
       .stride = matrix.out,
       .exact = !tf32_});
  return true;
}

void CudaBackend::add_product(const Tensor& x, const Tensor& y, const Tensor& out) {
  const int64_t n = x.dim(1);
  algebra()->multiply({.rows = n,
                       .columns = n,
                       .inner = x.dim(0),
                       .a = {floats(x), n, true},
                       .b = {floats(y), n},
                       .out = floats(out),
                       .stride = n,
                       .add = true,
                       .exact = !tf32_});
}

void CudaBackend::add_second_moment(const Tensor& x, const Tensor& out) {
  if (x.numel() == 0) return;
  if (algebra() != nullptr) return add_product(x, x, out);
  const Tensor sum = fetch(out);
  host_->add_second_moment(fetch(x), sum);
  store(sum, out);
}

void CudaBackend::add_cross_moment(const Tensor& x, const Tensor& y, const Tensor& out) {
  if (x.numel() == 0) return;
  if (algebra() != nullptr) return add_product(x, y, out);
  const Tensor sum = fetch(out);
  host_->add_cross_moment(fetch(x), fetch(y), sum);
  store(sum, out);
}

void CudaBackend::add_abs_sum(const Tensor& x, const Tensor& out) {
  if (x.numel() == 0) return;
  cuda::add_abs_sum(floats(x), x.dim(0), x.dim(1), floats(out), stream());
  launched("adding absolute values");
}

double CudaBackend::dot(const Tensor& a, const Tensor& b, int64_t first) {
  if (on_host(a) && on_host(b)) return host_->dot(a, b, first);
  if (b.numel() == 0) return 0;
  const Tensor rows = room({a.dim(0)}, DType::f32);
  row_dots(floats(on_card(a)), a.dim(1), first, floats(on_card(b)), a.dim(0), b.dim(1),
           floats(rows), stream());
  launched("multiplying rows");
  const Tensor host = fetch(rows);
  const std::span<const float> sums = host.span<const float>();
  return std::accumulate(sums.begin(), sums.end(), 0.0);
}

void CudaBackend::clear(const Tensor& x) {
  check(cudaMemsetAsync(x.raw(), 0, static_cast<size_t>(x.bytes()), stream()), "clearing memory");
}

void CudaBackend::combine(float a, const Tensor& x, float b, const Tensor& out) {
  if (x.numel() == 0) return;
  const Tensor there = on_card(x);
  cuda::combine(a, floats(there), b, floats(out), x.numel(), stream());
  launched("combining values");
}

// `launch` is handed an int that it sets where a value is not finite.
template <class Launch>
bool CudaBackend::all_finite(const Launch& launch) {
  const Tensor flag = room({1}, DType::i32);
  clear(flag);
  launch(reinterpret_cast<int*>(flag.raw()));
  launched("dividing");
  return fetch(flag).span<int32_t>()[0] == 0;
}

bool CudaBackend::finish_moment(const Tensor& m, double weight) {
  if (m.numel() == 0) return true;
  return all_finite(
      [&](int* infinite) { cuda::finish_moment(floats(m), m.dim(0), weight, infinite, stream()); });
}

bool CudaBackend::divide_columns(const Tensor& m, double divisor, const Tensor& factors) {
  if (m.numel() == 0) return true;
  const Tensor there = on_card(factors);
  return all_finite([&](int* infinite) {
    cuda::divide_columns(floats(m), m.dim(0), m.dim(1), divisor,
                         factors.empty() ? nullptr : floats(there), infinite, stream());
  });
}

void CudaBackend::diagonal(const Tensor& m, const Tensor& out) {
  const Tensor there = room(out.shape(), DType::f32);
  cuda::diagonal(floats(m), m.dim(0), floats(there), stream());
  launched("taking a diagonal");
  copy(there, out);
  synchronize();
}

void CudaBackend::add_to_diagonal(const Tensor& m, double relative, double absolute) {
  cuda::add_to_diagonal(floats(m), m.dim(0), relative, absolute, stream());
  launched("adding to a diagonal");
}

void CudaBackend::reorder(const Tensor& m, std::span<const int32_t> order, const Tensor& out) {
  const Tensor there = on_card(Tensor::copy_of<int32_t>(order, {m.dim(0)}));
  cuda::reorder(floats(m), m.dim(0), reinterpret_cast<const int32_t*>(there.raw()), floats(out),
                stream());
  launched("reordering");
  synchronize();  // before the host's copy of the order goes
}

void CudaBackend::make_feedback(const Tensor& factor) {
  cuda::make_feedback(floats(factor), factor.dim(0), stream());
  launched("turning a factor");
}

void CudaBackend::scale_weight(const Tensor& weight, const Tensor& columns, const Tensor& rows,
                               const Tensor& out) {
  if (weight.numel() == 0) return;
  const Tensor stored = on_card(weight);
  const Tensor column_factors = on_card(columns);
  const Tensor row_factors = on_card(rows);
  ScaleArgs args{.weight = reinterpret_cast<const uint16_t*>(stored.raw()),
                 .column_factors = columns.empty() ? nullptr : floats(column_factors),
                 .row_factors = rows.empty() ? nullptr : floats(row_factors),
                 .rows = weight.dim(0),
                 .in = weight.dim(1),
                 .out = nullptr,
                 .rounded = nullptr};
  if (out.dtype() == DType::f32) {
    args.out = floats(out);
  } else {
    args.rounded = reinterpret_cast<uint16_t*>(out.raw());
  }
  cuda::scale_weight(args, stream());
  launched("scaling a weight");
}

bool CudaBackend::factor_cholesky(const Tensor& m, const Between& between) {
  between();
  if (algebra() != nullptr) return m.numel() == 0 || algebra()->factor(floats(m), m.dim(0));
  const Tensor host = fetch(m);
  const bool positive = host_->factor_cholesky(host, between);
  store(host, m);
  return positive;
}

void CudaBackend::solve_cholesky(const Tensor& factor, const Tensor& x, const Between& between) {
  between();
  if (x.numel() == 0) return;
  if (algebra() != nullptr) {
    return algebra()->solve(floats(factor), factor.dim(0), floats(x), x.dim(0));
  }
  const Tensor host = fetch(x);
  host_->solve_cholesky(fetch(factor), host, between);
  store(host, x);
}

void CudaBackend::quantize_weight(const Tensor& weight, const QuantizationScheme& scheme,
                                  Observer observer, const QuantizedWeight& out) {
  if (weight.numel() == 0) return;
  if (observer == Observer::mse && mse_errors_.empty()) {
    mse_errors_ =
        Tensor(allocate(kMseErrors * int64_t{sizeof(float)}), 0, DType::f32, {kMseErrors});
    copy(Tensor::copy_of<float>(mse_errors(), {kMseErrors}), mse_errors_);
    synchronize();  // before the host's copy goes
  }
  const Tensor there = on_card(weight);
  const Tensor codes = room(out.codes.shape(), DType::i8);
  const Tensor scales = room(out.scales.shape(), DType::bf16);
  const Tensor zeros = room(out.zero_points.shape(), DType::i8);
  const Tensor improved = room({1}, DType::i32);
  const auto run = [&](int steps) {
    check(cudaMemsetAsync(improved.raw(), 0, 4, stream()), "clearing a counter");
    quantize_groups(group_args(there, scheme),
                    {.steps = steps,
                     .errors = steps > 1 ? floats(mse_errors_) : nullptr,
                     .codes = reinterpret_cast<int8_t*>(codes.raw()),
                     .scales = reinterpret_cast<uint16_t*>(scales.raw()),
                     .zeros = reinterpret_cast<int8_t*>(zeros.raw()),
                     .improved = reinterpret_cast<uint32_t*>(improved.raw())},
                    stream());
    launched("rounding");
    return static_cast<uint32_t>(fetch(improved).span<int32_t>()[0]);
  };
  if (observer == Observer::minmax) {
    run(1);
  } else {
    const int steps = steps_before_patience_ends(run(kMseSteps));
    if (steps < kMseSteps) run(steps);
  }
  copy(codes, out.codes);
  copy(scales, out.scales);
  copy(zeros, out.zero_points);
  synchronize();
}

void CudaBackend::quantization_error(const Tensor& weight, const Tensor& smooth,
                                     const QuantizationScheme& scheme, const Tensor& out) {
  if (weight.numel() == 0) return;
  const Tensor there = on_card(weight);
  const Tensor factors = on_card(smooth);
  const Tensor error = on_host(out) ? room(out.shape(), DType::f32) : out;
  group_errors(group_args(there, scheme), factors.empty() ? nullptr : floats(factors),
               floats(error), stream());
  launched("taking errors");
  if (on_host(out)) {
    copy(error, out);
    synchronize();
  }
}

void CudaBackend::restored_error(const QuantizedWeight& q, const Tensor& columns,
                                 const Tensor& rows, const Tensor& weight, const Tensor& out) {
  if (weight.numel() == 0) return;
  const QuantizedWeight there{on_card(q.codes), on_card(q.scales), on_card(q.zero_points)};
  const Tensor column_factors = on_card(columns);
  const Tensor row_factors = on_card(rows);
  const Tensor stored = on_card(weight);
  restored_errors({.codes = reinterpret_cast<const int8_t*>(there.codes.raw()),
                   .scales = reinterpret_cast<const uint16_t*>(there.scales.raw()),
                   .zeros = reinterpret_cast<const int8_t*>(there.zero_points.raw()),
                   .column_factors = columns.empty() ? nullptr : floats(column_factors),
                   .row_factors = rows.empty() ? nullptr : floats(row_factors),
                   .weight = reinterpret_cast<const uint16_t*>(stored.raw()),
                   .rows = weight.dim(0),
                   .in = weight.dim(1),
                   .group_columns = weight.dim(1) / q.scales.dim(1),
                   .error = floats(out)},
                  stream());
  launched("taking errors");
  synchronize();  // before what was copied from the host goes
}

void CudaBackend::round_adaptively(const Tensor& weight, const AdaptiveRounding& how,
                                   const QuantizationScheme& scheme, const QuantizedWeight& out) {
  if (weight.numel() == 0) return;
  AdaptiveRounding there = how;
  if (algebra() == nullptr) {
    there.hessian = fetch(how.hessian);
    there.feedback = fetch(how.feedback);
    const QuantizedWeight host{fetch(out.codes), fetch(out.scales), fetch(out.zero_points)};
    host_->round_adaptively(fetch(weight), there, scheme, host);
    store(host.codes, out.codes);
    store(host.scales, out.scales);
    store(host.zero_points, out.zero_points);
    return;
  }
  there.importance = on_card(how.importance);
  there.hessian = on_card(how.hessian);
  there.feedback = on_card(how.feedback);
  round_on_card(on_card(weight), there, scheme, out, index_, *algebra(), stream());
}

}  // namespace squint::cuda
