// guarded_tensor.h: a tensor between guard bytes, for kernels that may write or read too far.
//
// All bytes start as 0xff: NaN in every floating type. An element that nobody wrote stays NaN, a
// read past the end poisons the result, a write past the end changes the guard. The elements begin
// four bytes after a multiple of 64, so that no kernel may count on alignment.
#pragma once

#include <gtest/gtest.h>

#include <span>

#include "conformance/tolerances.h"
#include "core/tensor.h"

namespace squint::test {

class GuardedTensor {
 public:
  GuardedTensor(DType dtype, const Shape& shape);
  template <class T>
  GuardedTensor(std::span<const T> values, const Shape& shape)
      : GuardedTensor(internal::dtype_of<T>(), shape) {
    std::copy(values.begin(), values.end(), tensor_.span<T>().begin());
  }
  GuardedTensor(const std::vector<float>& values, const Shape& shape)
      : GuardedTensor(std::span<const float>(values), shape) {}

  const Tensor& operator*() const { return tensor_; }
  const Tensor* operator->() const { return &tensor_; }
  ::testing::AssertionResult guards_hold() const;

 private:
  Tensor tensor_;
};

// The first element that is further from `expected` than the tolerance allows, or NaN in one only.
::testing::AssertionResult near(const Tensor& found, const Tensor& expected,
                                const Tolerance& tolerance);
// The same bytes.
::testing::AssertionResult same_bits(const Tensor& found, const Tensor& expected);

}  // namespace squint::test
