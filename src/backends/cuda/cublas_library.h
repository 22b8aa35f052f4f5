// cublas_library.h: products of matrices by cuBLAS, which is opened when it is first wanted: half a
// gigabyte that exact mode and most machines do without.
#pragma once

#include <cublasLt.h>

#include <map>
#include <memory>
#include <string>
#include <tuple>

#include "core/tensor.h"

namespace squint::cuda {

class CublasLibrary {
 public:
  // On the card in use; nothing where there is no such library.
  static std::unique_ptr<CublasLibrary> open(int index);
  ~CublasLibrary();
  CublasLibrary(const CublasLibrary&) = delete;
  CublasLibrary& operator=(const CublasLibrary&) = delete;

  const std::string& version() const { return version_; }

  // out [rows, outs] (+)= x [rows, in] · Wᵀ + bias; x and W [outs, in] are bf16 and begin, as do
  // their rows, at 16 bytes; strides are in values.
  struct Product {
    int64_t rows;
    int64_t outs;
    int64_t in;
    const void* x;
    int64_t x_stride;
    const void* weight;
    int64_t weight_stride;
    const float* bias;  // or null
    bool add;
    void* out;  // float32, or, where `half`, bf16
    int64_t out_stride;
    bool half = false;
  };
  void multiply(const Product& product, cudaStream_t stream);

  static constexpr int64_t kWorkspaceBytes = int64_t{32} << 20;

 private:
  struct Functions;
  struct Plan;
  using Key =
      std::tuple<int64_t, int64_t, int64_t, int64_t, int64_t, int64_t, bool, bool, bool, bool>;

  CublasLibrary() = default;
  const Plan& plan_for(const Product& product);
  void check(cublasStatus_t status, const char* doing) const;

  std::unique_ptr<Functions> call_;
  cublasLtHandle_t handle_ = nullptr;
  std::string version_;
  std::shared_ptr<Storage> workspace_;
  std::map<Key, std::unique_ptr<Plan>> plans_;
};

}  // namespace squint::cuda
