// dense_algebra.h: products, factors and solves in float32 by cuBLAS and cuSOLVER, which are opened
// when the quantizer first wants them.
#pragma once

#include <cublas_v2.h>
#include <cusolverDn.h>

#include <cstdint>
#include <memory>

#include "core/tensor.h"

namespace squint::cuda {

class DenseAlgebra {
 public:
  // On the card in use; nothing where a library is missing.
  static std::unique_ptr<DenseAlgebra> open(int index, cudaStream_t stream);
  ~DenseAlgebra();
  DenseAlgebra(const DenseAlgebra&) = delete;
  DenseAlgebra& operator=(const DenseAlgebra&) = delete;

  struct Matrix {
    const float* values;
    int64_t stride;  // of rows
    bool transposed = false;
  };
  // out [rows, columns] += sign · A · B, over `inner`; or = where `add` is false. Rows are
  // contiguous. TF32 where `exact` is false.
  struct Product {
    int64_t rows;
    int64_t columns;
    int64_t inner;
    Matrix a;
    Matrix b;
    float* out;
    int64_t stride;
    float sign = 1;
    bool add = false;
    bool exact = true;
  };
  void multiply(const Product& product);

  // As Backend::factor_cholesky and solve_cholesky. Waits.
  bool factor(float* m, int64_t n);
  void solve(const float* factor, int64_t n, float* x, int64_t rows);

 private:
  struct Functions;
  DenseAlgebra(int index, cudaStream_t stream);
  void check(cublasStatus_t status) const;
  void check(cusolverStatus_t status) const;
  bool found();  // of the factor or solve that went before: no error

  int index_;
  cudaStream_t stream_;
  std::unique_ptr<Functions> call_;
  cublasHandle_t products_ = nullptr;
  cusolverDnHandle_t solver_ = nullptr;
  std::shared_ptr<Storage> info_;  // an int
};

}  // namespace squint::cuda
