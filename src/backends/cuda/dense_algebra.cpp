#include "backends/cuda/dense_algebra.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "backends/cuda/device_memory.h"
#include "squint/error.h"

namespace squint::cuda {
namespace {

// Of the two that C++ sees under this name.
using GemmEx = cublasStatus_t (*)(cublasHandle_t, cublasOperation_t, cublasOperation_t, int, int,
                                  int, const void*, const void*, cudaDataType, int, const void*,
                                  cudaDataType, int, const void*, void*, cudaDataType, int,
                                  cublasComputeType_t, cublasGemmAlgo_t);

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

void* open_library(const std::string& name) { return dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL); }

[[noreturn]] void fail(const char* library, int status) {
  throw Error(ErrorCode::io, fmt::format("CUDA: {} failed with status {}", library, status));
}

}  // namespace

// Never closed: the libraries keep threads and memory of their own.
struct DenseAlgebra::Functions {
  decltype(&cublasCreate_v2) create;
  decltype(&cublasDestroy_v2) destroy;
  decltype(&cublasSetStream_v2) set_stream;
  GemmEx multiply;
  decltype(&cusolverDnCreate) create_solver;
  decltype(&cusolverDnDestroy) destroy_solver;
  decltype(&cusolverDnSetStream) set_solver_stream;
  decltype(&cusolverDnSpotrf_bufferSize) factor_floats;
  decltype(&cusolverDnSpotrf) factor;
  decltype(&cusolverDnSpotrs) solve;

  bool find_all() {
    void* blas = open_library(fmt::format("libcublas.so.{}", CUBLAS_VER_MAJOR));
    void* solver = open_library(fmt::format("libcusolver.so.{}", CUSOLVER_VER_MAJOR));
    return blas != nullptr && solver != nullptr && find(blas, "cublasCreate_v2", create) &&
           find(blas, "cublasDestroy_v2", destroy) &&
           find(blas, "cublasSetStream_v2", set_stream) && find(blas, "cublasGemmEx", multiply) &&
           find(solver, "cusolverDnCreate", create_solver) &&
           find(solver, "cusolverDnDestroy", destroy_solver) &&
           find(solver, "cusolverDnSetStream", set_solver_stream) &&
           find(solver, "cusolverDnSpotrf_bufferSize", factor_floats) &&
           find(solver, "cusolverDnSpotrf", factor) && find(solver, "cusolverDnSpotrs", solve);
  }
};

std::unique_ptr<DenseAlgebra> DenseAlgebra::open(int index, cudaStream_t stream) {
  std::unique_ptr<DenseAlgebra> made(new DenseAlgebra(index, stream));
  if (!made->call_->find_all()) return nullptr;
  made->check(made->call_->create(&made->products_));
  made->check(made->call_->set_stream(made->products_, stream));
  made->check(made->call_->create_solver(&made->solver_));
  made->check(made->call_->set_solver_stream(made->solver_, stream));
  made->info_ = allocate_on(index, sizeof(int));
  return made;
}

DenseAlgebra::DenseAlgebra(int index, cudaStream_t stream)
    : index_(index), stream_(stream), call_(std::make_unique<Functions>()) {}

DenseAlgebra::~DenseAlgebra() {
  if (products_ != nullptr) call_->destroy(products_);
  if (solver_ != nullptr) call_->destroy_solver(solver_);
}

void DenseAlgebra::check(cublasStatus_t status) const {
  if (status != CUBLAS_STATUS_SUCCESS) fail("cuBLAS", status);
}

void DenseAlgebra::check(cusolverStatus_t status) const {
  if (status != CUSOLVER_STATUS_SUCCESS) fail("cuSOLVER", status);
}

// The libraries count by columns: our out is their transposed one, B their left factor.
void DenseAlgebra::multiply(const Product& p) {
  const auto form = [](const Matrix& m) { return m.transposed ? CUBLAS_OP_T : CUBLAS_OP_N; };
  const float beta = p.add ? 1 : 0;
  check(call_->multiply(
      products_, form(p.b), form(p.a), static_cast<int>(p.columns), static_cast<int>(p.rows),
      static_cast<int>(p.inner), &p.sign, p.b.values, CUDA_R_32F, static_cast<int>(p.b.stride),
      p.a.values, CUDA_R_32F, static_cast<int>(p.a.stride), &beta, p.out, CUDA_R_32F,
      static_cast<int>(p.stride), p.exact ? CUBLAS_COMPUTE_32F : CUBLAS_COMPUTE_32F_FAST_TF32,
      CUBLAS_GEMM_DEFAULT));
}

bool DenseAlgebra::found() {
  int info = 0;
  cuda::check(cudaMemcpyAsync(&info, info_->data(), sizeof info, cudaMemcpyDeviceToHost, stream_),
              "copying");
  cuda::check(cudaStreamSynchronize(stream_), "waiting for the card");
  return info == 0;
}

bool DenseAlgebra::factor(float* m, int64_t n) {
  const int size = static_cast<int>(n);
  int floats = 0;
  check(call_->factor_floats(solver_, CUBLAS_FILL_MODE_LOWER, size, m, size, &floats));
  const std::shared_ptr<Storage> work = allocate_on(index_, int64_t{floats} * 4);
  check(call_->factor(solver_, CUBLAS_FILL_MODE_LOWER, size, m, size,
                      reinterpret_cast<float*>(work->data()), floats,
                      reinterpret_cast<int*>(info_->data())));
  return found();
}

void DenseAlgebra::solve(const float* factor, int64_t n, float* x, int64_t rows) {
  const int size = static_cast<int>(n);
  check(call_->solve(solver_, CUBLAS_FILL_MODE_LOWER, size, static_cast<int>(rows), factor, size, x,
                     size, reinterpret_cast<int*>(info_->data())));
  if (!found()) fail("cuSOLVER", -1);
}

}  // namespace squint::cuda
