#include "backends/cuda/cuda_backend.h"

#include <fmt/format.h>

#include <cstring>

#include "backends/cuda/device_memory.h"
#include "backends/cuda/device_tensor.h"
#include "backends/cuda/device_weight.h"
#include "base/check.h"
#include "base/checked_math.h"
#include "squint/error.h"

namespace squint::cuda {
namespace {

// Rows of the cache begin at 16 bytes.
int64_t kv_stride(int64_t head_dim) { return round_up(head_dim, 4); }

CacheView view(const KvLayer& kv) {
  return {.keys = floats(kv.keys),
          .values = floats(kv.values),
          .heads = kv.heads,
          .head_dim = kv.head_dim,
          .stride = kv_stride(kv.head_dim),
          .capacity = kv.capacity,
          .length = kv.length};
}

}  // namespace

CudaBackend::CudaBackend(int index, BackendPtr host) : index_(index), host_(std::move(host)) {
  check(cudaSetDevice(index_), "choosing the card");
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index_), "asking for the card's properties");
  kernels_ = fmt::format("sm_{}{}", properties.major, properties.minor);
  keep_ordered_memory(index_);
  cudaStream_t stream = nullptr;
  check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
  // What is under way when it goes is finished first.
  stream_ = {stream, [](cudaStream_t ended) { cudaStreamDestroy(ended); }};
  staging_ = std::make_unique<StagingMemory>(stream_);
  workspace_ = allocate_on(index_, kWorkspaceBytes);
}

cudaStream_t CudaBackend::stream() const {
  check(cudaSetDevice(index_), "choosing the card");
  return stream_.get();
}

void CudaBackend::launched(std::string_view what) const { check(cudaGetLastError(), what); }

// Everything runs on one stream. Caches and features come and go with each request: cudaMalloc
// takes its time, and cudaFree waits for the card.
std::shared_ptr<Storage> CudaBackend::allocate(int64_t bytes) {
  return allocate_in_order(index_, bytes, stream_);
}

std::shared_ptr<Storage> CudaBackend::allocate_staging(int64_t bytes) {
  return staging_->allocate(bytes);
}

void CudaBackend::copy(const Tensor& from, const Tensor& to) {
  SQUINT_CHECK(from.bytes() == to.bytes());
  const auto bytes = static_cast<size_t>(from.bytes());
  if (on_host(from) && on_host(to)) {
    std::memmove(to.raw(), from.raw(), bytes);
    return;
  }
  // From pageable memory this returns when the bytes have left it, to it when they have arrived.
  check(cudaMemcpyAsync(to.raw(), from.raw(), bytes, cudaMemcpyDefault, stream()), "copying");
}

void CudaBackend::synchronize() { check(cudaStreamSynchronize(stream()), "waiting for the card"); }

LinearWeight CudaBackend::prepare(const LinearWeight& weight) {
  return prepare_as(weight, WeightLayout::rows);
}

LinearWeight CudaBackend::prepare_as(const LinearWeight& weight, WeightLayout layout) {
  LinearWeight ready{.out_features = weight.out_features, .in_features = weight.in_features};
  ready.weight = std::static_pointer_cast<const PreparedWeight>(
      DeviceWeight::make(weight, layout, index_, stream()));
  if (!weight.bias.empty()) {
    ready.bias = Tensor(allocate(weight.bias.bytes()), 0, DType::f32, weight.bias.shape());
    copy(weight.bias, ready.bias);
  }
  return ready;
}

PreparedSize CudaBackend::prepared_size(const WeightForm& form) const {
  return DeviceWeight::size_of(form, WeightLayout::rows);
}

int64_t CudaBackend::kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const {
  return 2 * heads * capacity * kv_stride(head_dim) * byte_size(DType::f32);
}

int64_t CudaBackend::attention_bytes(int64_t, int64_t) const { return kWorkspaceBytes; }

KvLayer CudaBackend::make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                             int64_t capacity) {
  return make_kv_of(std::move(storage), {2, heads, capacity, kv_stride(head_dim)}, DType::f32,
                    head_dim);
}

KvLayer CudaBackend::make_kv_of(std::shared_ptr<Storage> storage, const Shape& both, DType dtype,
                                int64_t head_dim) {
  if (head_dim > kMaxHeadDim) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("cuda: heads of {} values, at most {} are known", head_dim, kMaxHeadDim));
  }
  const Tensor all(std::move(storage), 0, dtype, both);
  if (all.dim(3) != head_dim) {  // what pads a row is read
    check(cudaMemsetAsync(all.raw(), 0, static_cast<size_t>(all.bytes()), stream()),
          "clearing a cache");
  }
  return {.keys = all.rows(0, 1),
          .values = all.rows(1, 1),
          .heads = all.dim(1),
          .head_dim = head_dim,
          .capacity = all.dim(2)};
}

void CudaBackend::linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  const LinearArgs args{.x = floats(x),
                        .rows = x.dim(0),
                        .weight = DeviceWeight::of(weight).matrix(),
                        .bias = weight.bias.empty() ? nullptr : floats(weight.bias),
                        .out = floats(out)};
  if (out.numel() == 0) return;
  if (few_rows_apply(args)) {
    linear_few_rows(args, stream());
  } else {
    linear_many_rows(args, stream());
  }
  launched("multiplying by a weight");
}

void CudaBackend::rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  if (out.numel() == 0) return;
  cuda::rms_norm({.x = floats(x),
                  .weight = floats(weight),
                  .bias = nullptr,
                  .eps = eps,
                  .rows = x.numel() / weight.numel(),
                  .n = weight.numel(),
                  .out = floats(out)},
                 stream());
  launched("normalising");
}

void CudaBackend::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                             const Tensor& out) {
  if (out.numel() == 0) return;
  cuda::layer_norm({.x = floats(x),
                    .weight = floats(weight),
                    .bias = floats(bias),
                    .eps = eps,
                    .rows = x.numel() / weight.numel(),
                    .n = weight.numel(),
                    .out = floats(out)},
                   stream());
  launched("normalising");
}

void CudaBackend::rotate(const Tensor& cosine, const Tensor& sine, const Tensor& x) {
  if (x.numel() == 0) return;
  cuda::rotate({.cosine = floats(cosine),
                .sine = floats(sine),
                .tokens = x.dim(0),
                .heads = x.dim(1),
                .half = x.dim(2) / 2,
                .x = floats(x)},
               stream());
  launched("rotating");
}

void CudaBackend::append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) {
  if (keys.numel() == 0) return;
  cuda::append_kv(floats(keys), floats(values), keys.dim(0), view(kv), stream());
  launched("filling a cache");
  kv.length += keys.dim(0);
}

void CudaBackend::attention(const AttentionArgs& args, const Tensor& out) {
  if (out.numel() == 0) return;
  const AttentionLaunch launch{.query = floats(args.query),
                               .tokens = args.query.dim(0),
                               .heads = args.query.dim(1),
                               .cache = view(*args.kv),
                               .first_position = args.first_position,
                               .causal = args.causal,
                               .scale = args.scale,
                               .out = floats(out)};
  if (launch.tokens <= kDecodeTokens) {
    attention_decode(launch, reinterpret_cast<float*>(workspace_->data()), workspace_->bytes(),
                     stream());
  } else {
    attention_prefill(launch, stream());
  }
  launched("attending");
}

void CudaBackend::run_pointwise(Pointwise op, const Tensor& a, const Tensor& b, const Tensor& out) {
  if (out.numel() == 0) return;
  pointwise(op, floats(a), b.empty() ? nullptr : floats(b), floats(out), out.numel(), stream());
  launched("computing values");
}

void CudaBackend::swiglu(const Tensor& gate, const Tensor& up, const Tensor& out) {
  run_pointwise(Pointwise::swiglu, gate, up, out);
}

void CudaBackend::gelu(const Tensor& x, GeluKind kind, const Tensor& out) {
  run_pointwise(kind == GeluKind::tanh ? Pointwise::gelu_tanh : Pointwise::gelu_erf, x, {}, out);
}

void CudaBackend::add(const Tensor& x, const Tensor& out) {
  run_pointwise(Pointwise::add, x, {}, out);
}

void CudaBackend::argmax(const Tensor& x, int64_t count, const Tensor& out) {
  if (out.numel() == 0) return;
  const int64_t bytes = x.dim(0) * kArgmaxParts * static_cast<int64_t>(sizeof(ArgmaxPlace));
  const std::shared_ptr<Storage> places = allocate(bytes);
  cuda::argmax({.x = floats(x),
                .rows = x.dim(0),
                .n = x.dim(1),
                .count = count,
                .places = reinterpret_cast<ArgmaxPlace*>(places->data()),
                .out = reinterpret_cast<int32_t*>(out.raw())},
               stream());
  launched("finding the largest");
}

void CudaBackend::scale_rows(const Tensor& x, const Tensor& factor, const Tensor& out) {
  if (out.numel() == 0) return;
  cuda::scale_rows(floats(x), floats(factor), x.dim(0), x.dim(1), floats(out), stream());
  launched("scaling rows");
}

}  // namespace squint::cuda
