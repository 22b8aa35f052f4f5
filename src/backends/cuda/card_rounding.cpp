#include "backends/cuda/card_rounding.h"

#include <algorithm>

#include "backends/cuda/device_memory.h"
#include "backends/cuda/device_tensor.h"

namespace squint::cuda {
namespace {

// Of a card's memory, in stream order.
template <class T>
class Array {
 public:
  Array() = default;
  Array(int index, int64_t count, cudaStream_t stream)
      : storage_(allocate_in_order(index, count * static_cast<int64_t>(sizeof(T)), stream)),
        stream_(stream) {}

  T* data() const { return reinterpret_cast<T*>(storage_->data()); }
  void fill_from(const T* host, int64_t count) const {
    check(cudaMemcpyAsync(data(), host, static_cast<size_t>(count) * sizeof(T),
                          cudaMemcpyHostToDevice, stream_),
          "copying to the card");
  }
  void copy_to(void* to, int64_t count) const {
    check(cudaMemcpyAsync(to, data(), static_cast<size_t>(count) * sizeof(T), cudaMemcpyDefault,
                          stream_),
          "copying");
  }
  void release() { storage_.reset(); }

 private:
  std::shared_ptr<Storage> storage_;
  cudaStream_t stream_ = nullptr;
};

class CardRounding {
 public:
  CardRounding(const Tensor& weight, const AdaptiveRounding& how, const QuantizationScheme& scheme,
               int index, DenseAlgebra& algebra, cudaStream_t stream)
      : how_(how),
        index_(index),
        algebra_(algebra),
        stream_(stream),
        in_(weight.dim(1)),
        rows_(weight.dim(0)),
        groups_(scheme.groups(in_)),
        weight_(room(in_ * rows_)),
        codes_(room(in_ * rows_)),
        scales_(room(groups_ * rows_)),
        zeros_(room(groups_ * rows_)),
        args_{.rows = rows_,
              .in = in_,
              .group_columns = scheme.group_columns(in_),
              .scheme = scheme_args(scheme),
              .weight = weight_.data(),
              .codes = codes_.data(),
              .scales = scales_.data(),
              .zeros = zeros_.data()} {
    transpose(floats(weight), rows_, in_, weight_.data(), stream_);
  }

  void run() {
    find_ranges(args_, floats(how_.importance), how_.search, stream_);
    if (how_.feedback.empty()) {
      round_alone(args_, stream_);
      return;
    }
    order_ = {index_, in_, stream_};
    order_.fill_from(how_.order.data(), in_);
    round_with_feedback();
    if (how_.rounds > 0) descend();
  }

  void store(const QuantizedWeight& out) const {
    const Array<int8_t> codes(index_, in_ * rows_, stream_);
    const Array<uint16_t> scales(index_, groups_ * rows_, stream_);
    const Array<int8_t> zeros(index_, groups_ * rows_, stream_);
    store_codes(args_, codes.data(), scales.data(), zeros.data(), stream_);
    check(cudaGetLastError(), "rounding");
    codes.copy_to(out.codes.raw(), in_ * rows_);
    scales.copy_to(out.scales.raw(), groups_ * rows_);
    zeros.copy_to(out.zero_points.raw(), groups_ * rows_);
    check(cudaStreamSynchronize(stream_), "rounding");
  }

 private:
  Array<float> room(int64_t count) const { return {index_, count, stream_}; }

  // out [count, rows] (+)= sign · A [count, inner] · values [inner, rows]
  void multiply(const DenseAlgebra::Matrix& a, int64_t count, int64_t inner, const float* values,
                float sign, bool add, float* out) {
    algebra_.multiply({.rows = count,
                       .columns = rows_,
                       .inner = inner,
                       .a = a,
                       .b = {values, rows_},
                       .out = out,
                       .stride = rows_,
                       .sign = sign,
                       .add = add});
  }

  template <class Body>
  void each_block(const Body& body) const {
    for (int64_t first = 0; first < in_; first += kColumnsAtOnce) {
      body(first, std::min(kColumnsAtOnce, in_ - first));
    }
  }

  // In blocks of the order: what a block's errors mean for all later ones is one product.
  void round_with_feedback() {
    const float* feedback = floats(how_.feedback);
    const Array<float> targets = room(in_ * rows_);
    const Array<float> errors = room(kColumnsAtOnce * rows_);
    gather_rows(weight_.data(), order_.data(), in_, rows_, targets.data(), stream_);
    each_block([&](int64_t first, int64_t count) {
      round_block(args_, order_.data() + first, count, feedback + first * in_ + first,
                  targets.data() + first * rows_, errors.data(), stream_);
      const int64_t next = first + count;
      if (next == in_) return;
      multiply({feedback + next * in_ + first, in_}, in_ - next, count, errors.data(), 1, true,
               targets.data() + next * rows_);
    });
  }

  void descend() {
    const float* hessian = floats(how_.hessian);
    const Array<float> residual = room(in_ * rows_);
    const Array<float> first_scales = room(groups_ * rows_);
    check(cudaMemcpyAsync(first_scales.data(), scales_.data(),
                          static_cast<size_t>(groups_ * rows_) * sizeof(float),
                          cudaMemcpyDeviceToDevice, stream_),
          "copying scales");
    for (int round = 0; round < how_.rounds; ++round) {
      compute_residual(hessian, residual);
      refit(hessian, first_scales, residual);
      move(hessian, residual);
    }
  }

  // residual = E H, of a symmetric H.
  void compute_residual(const float* hessian, const Array<float>& residual) {
    const Array<float> errors = room(in_ * rows_);
    rounding_errors(args_, errors.data(), stream_);
    multiply({hessian, in_}, in_, in_, errors.data(), 1, false, residual.data());
  }

  void refit(const float* hessian, const Array<float>& first_scales, const Array<float>& residual) {
    const int64_t columns = args_.group_columns;
    const Array<float> products = room(columns * rows_);
    for (int64_t group = 0; group < groups_; ++group) {
      const int64_t begin = group * columns;
      multiply({hessian + begin * in_ + begin, in_}, columns, columns,
               codes_.data() + begin * rows_, 1, false, products.data());
      refit_scales(args_, group, first_scales.data(), residual.data(), products.data(), stream_);
      multiply({hessian + begin, in_}, in_, columns, products.data(), -1, true, residual.data());
    }
  }

  void move(const float* hessian, const Array<float>& residual) {
    const Array<float> changes = room(kColumnsAtOnce * rows_);
    const Array<float> rows = room(kColumnsAtOnce * in_);  // of H
    each_block([&](int64_t first, int64_t count) {
      const int32_t* order = order_.data() + first;
      move_integers(args_, order, count, hessian, residual.data(), changes.data(), stream_);
      gather_rows(hessian, order, count, in_, rows.data(), stream_);
      multiply({rows.data(), in_, true}, in_, count, changes.data(), -1, true, residual.data());
    });
  }

  const AdaptiveRounding& how_;
  int index_;
  DenseAlgebra& algebra_;
  cudaStream_t stream_;
  int64_t in_;
  int64_t rows_;
  int64_t groups_;
  Array<float> weight_;
  Array<float> codes_;
  Array<float> scales_;
  Array<float> zeros_;
  Array<int32_t> order_;
  RowsArgs args_;
};

}  // namespace

SchemeArgs scheme_args(const QuantizationScheme& scheme) {
  return {.lowest = static_cast<float>(scheme.lowest()),
          .highest = static_cast<float>(scheme.highest()),
          .symmetric = scheme.symmetric,
          .signed_scales = scheme.symmetric && scheme.signed_scales};
}

void round_on_card(const Tensor& weight, const AdaptiveRounding& how,
                   const QuantizationScheme& scheme, const QuantizedWeight& out, int index,
                   DenseAlgebra& algebra, cudaStream_t stream) {
  CardRounding rounding(weight, how, scheme, index, algebra, stream);
  rounding.run();
  rounding.store(out);
}

}  // namespace squint::cuda
