#include "backends/cuda/cublas_library.h"

#include <dlfcn.h>
#include <fmt/format.h>

#include "backends/cuda/device_memory.h"
#include "squint/error.h"

namespace squint::cuda {
namespace {

// Lengths of prompts are many; a plan is a kilobyte and some tens of microseconds.
constexpr size_t kMostPlans = 1024;

// Ours, then the neighbour's: what is called has not changed between them.
void* open_any() {
  for (const int major : {CUBLAS_VER_MAJOR, 13, 12}) {
    const std::string name = fmt::format("libcublasLt.so.{}", major);
    if (void* library = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL)) return library;
  }
  return nullptr;
}

}  // namespace

// Never closed: cuBLAS keeps threads and memory of its own.
struct CublasLibrary::Functions {
  decltype(&cublasLtCreate) create;
  decltype(&cublasLtDestroy) destroy;
  decltype(&cublasLtGetVersion) version;
  decltype(&cublasLtGetStatusString) status;
  decltype(&cublasLtMatmul) multiply;
  decltype(&cublasLtMatmulAlgoGetHeuristic) choose;
  decltype(&cublasLtMatmulDescCreate) create_product;
  decltype(&cublasLtMatmulDescDestroy) destroy_product;
  decltype(&cublasLtMatmulDescSetAttribute) set_product;
  decltype(&cublasLtMatrixLayoutCreate) create_layout;
  decltype(&cublasLtMatrixLayoutDestroy) destroy_layout;
  decltype(&cublasLtMatmulPreferenceCreate) create_preference;
  decltype(&cublasLtMatmulPreferenceDestroy) destroy_preference;
  decltype(&cublasLtMatmulPreferenceSetAttribute) set_preference;

  bool find(void* library) {
    const auto find_one = [&](auto& function, const char* name) {
      function =
          reinterpret_cast<std::remove_reference_t<decltype(function)>>(dlsym(library, name));
      return function != nullptr;
    };
    return find_one(create, "cublasLtCreate") && find_one(destroy, "cublasLtDestroy") &&
           find_one(version, "cublasLtGetVersion") && find_one(status, "cublasLtGetStatusString") &&
           find_one(multiply, "cublasLtMatmul") &&
           find_one(choose, "cublasLtMatmulAlgoGetHeuristic") &&
           find_one(create_product, "cublasLtMatmulDescCreate") &&
           find_one(destroy_product, "cublasLtMatmulDescDestroy") &&
           find_one(set_product, "cublasLtMatmulDescSetAttribute") &&
           find_one(create_layout, "cublasLtMatrixLayoutCreate") &&
           find_one(destroy_layout, "cublasLtMatrixLayoutDestroy") &&
           find_one(create_preference, "cublasLtMatmulPreferenceCreate") &&
           find_one(destroy_preference, "cublasLtMatmulPreferenceDestroy") &&
           find_one(set_preference, "cublasLtMatmulPreferenceSetAttribute");
  }
};

// cuBLAS counts by columns: our out [rows, outs] is its [outs, rows], the weight its left factor.
struct CublasLibrary::Plan {
  const Functions& call;
  cublasLtMatmulDesc_t product = nullptr;
  cublasLtMatrixLayout_t weight = nullptr;
  cublasLtMatrixLayout_t x = nullptr;
  cublasLtMatrixLayout_t out = nullptr;
  cublasLtMatmulAlgo_t algorithm{};

  explicit Plan(const Functions& functions) : call(functions) {}
  Plan(const Plan&) = delete;
  Plan& operator=(const Plan&) = delete;
  ~Plan() {
    if (product != nullptr) call.destroy_product(product);
    for (cublasLtMatrixLayout_t layout : {weight, x, out}) {
      if (layout != nullptr) call.destroy_layout(layout);
    }
  }
};

std::unique_ptr<CublasLibrary> CublasLibrary::open(int index) {
  void* library = open_any();
  if (library == nullptr) return nullptr;
  std::unique_ptr<CublasLibrary> made(new CublasLibrary);
  made->call_ = std::make_unique<Functions>();
  if (!made->call_->find(library)) return nullptr;
  if (made->call_->create(&made->handle_) != CUBLAS_STATUS_SUCCESS) return nullptr;
  const size_t number = made->call_->version();
  // 120304 and 130100: the first two digits were hundreds of thousands already.
  made->version_ = fmt::format("{}.{}", number / 10000, number % 10000 / 100);
  made->workspace_ = allocate_on(index, kWorkspaceBytes);
  return made;
}

CublasLibrary::~CublasLibrary() {
  plans_.clear();
  if (handle_ != nullptr) call_->destroy(handle_);
}

void CublasLibrary::check(cublasStatus_t status, const char* doing) const {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw Error(ErrorCode::io,
              fmt::format("cuBLAS {}: {} while {}", version_, call_->status(status), doing));
}

const CublasLibrary::Plan& CublasLibrary::plan_for(const Product& p) {
  const bool aligned = reinterpret_cast<uintptr_t>(p.out) % 16 == 0;
  const Key key{p.rows,          p.outs,       p.in,  p.x_stride,
                p.weight_stride, p.out_stride, p.add, p.bias != nullptr,
                aligned,         p.half};
  const auto found = plans_.find(key);
  if (found != plans_.end()) return *found->second;
  if (plans_.size() >= kMostPlans) plans_.clear();
  auto plan = std::make_unique<Plan>(*call_);
  const auto number = [](int64_t n) { return static_cast<uint64_t>(n); };
  check(call_->create_product(&plan->product, CUBLAS_COMPUTE_32F, CUDA_R_32F), "planning");
  const cublasOperation_t transposed = CUBLAS_OP_T;
  check(call_->set_product(plan->product, CUBLASLT_MATMUL_DESC_TRANSA, &transposed,
                           sizeof transposed),
        "planning");
  if (p.bias != nullptr) {
    const cublasLtEpilogue_t epilogue = CUBLASLT_EPILOGUE_BIAS;
    const cudaDataType_t type = CUDA_R_32F;
    check(call_->set_product(plan->product, CUBLASLT_MATMUL_DESC_EPILOGUE, &epilogue,
                             sizeof epilogue),
          "planning");
    check(
        call_->set_product(plan->product, CUBLASLT_MATMUL_DESC_BIAS_DATA_TYPE, &type, sizeof type),
        "planning");
  }
  check(call_->create_layout(&plan->weight, CUDA_R_16BF, number(p.in), number(p.outs),
                             p.weight_stride),
        "planning");
  check(call_->create_layout(&plan->x, CUDA_R_16BF, number(p.in), number(p.rows), p.x_stride),
        "planning");
  check(call_->create_layout(&plan->out, p.half ? CUDA_R_16BF : CUDA_R_32F, number(p.outs),
                             number(p.rows), p.out_stride),
        "planning");
  cublasLtMatmulPreference_t preference = nullptr;
  check(call_->create_preference(&preference), "planning");
  const std::unique_ptr<std::remove_pointer_t<cublasLtMatmulPreference_t>,
                        decltype(call_->destroy_preference)>
      owner(preference, call_->destroy_preference);
  const auto room = static_cast<size_t>(kWorkspaceBytes);
  check(call_->set_preference(preference, CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, &room,
                              sizeof room),
        "planning");
  const auto alignment = [&](cublasLtMatmulPreferenceAttributes_t which, uint32_t bytes) {
    check(call_->set_preference(preference, which, &bytes, sizeof bytes), "planning");
  };
  alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, 16);
  alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, 16);
  alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, aligned ? 16 : 4);
  alignment(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, aligned ? 16 : 4);
  cublasLtMatmulHeuristicResult_t best{};
  int count = 0;
  check(call_->choose(handle_, plan->product, plan->weight, plan->x, plan->out, plan->out,
                      preference, 1, &best, &count),
        "choosing a kernel");
  check(count > 0 ? CUBLAS_STATUS_SUCCESS : CUBLAS_STATUS_NOT_SUPPORTED, "choosing a kernel");
  plan->algorithm = best.algo;
  return *(plans_[key] = std::move(plan));
}

void CublasLibrary::multiply(const Product& p, cudaStream_t stream) {
  const Plan& plan = plan_for(p);
  if (p.bias != nullptr) {
    check(
        call_->set_product(plan.product, CUBLASLT_MATMUL_DESC_BIAS_POINTER, &p.bias, sizeof p.bias),
        "multiplying");
  }
  const float one = 1;
  const float beta = p.add ? 1 : 0;
  check(call_->multiply(handle_, plan.product, &one, p.weight, plan.weight, p.x, plan.x, &beta,
                        p.out, plan.out, p.out, plan.out, &plan.algorithm, workspace_->data(),
                        static_cast<size_t>(workspace_->bytes()), stream),
        "multiplying");
}

}  // namespace squint::cuda
