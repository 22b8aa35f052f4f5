// Plain rounding and its observers, sixteen lanes a group; bit for bit what core/quantization.h
// defines for one value (spec awq-w4a16.md §2.3-2.5). Nothing here may be fused: each operation
// rounds, as it does there.
#include <cfloat>

#include "backends/cuda/group_scale.cuh"
#include "backends/cuda/quantizer_kernels.h"

namespace squint::cuda {
namespace {

constexpr int kLanes = 16;  // as many sums as the reference keeps
constexpr int kThreads = 256;
constexpr int kGroups = kThreads / kLanes;

__device__ float lanes_min(float x) {
  for (int offset = kLanes / 2; offset > 0; offset /= 2) {
    x = fminf(x, __shfl_xor_sync(0xffffffff, x, offset, kLanes));
  }
  return x;
}

__device__ float lanes_max(float x) { return -lanes_min(-x); }

// Lane i adds what lane i + width has, from the widest on: the reference's order.
__device__ float lanes_sum(float x) {
  for (int width = kLanes / 2; width > 0; width /= 2) {
    x = __fadd_rn(x, __shfl_down_sync(0xffffffff, x, width, kLanes));
  }
  return __shfl_sync(0xffffffff, x, 0, kLanes);
}

__device__ float code_of(float w, const GroupScale& g, const SchemeArgs& scheme) {
  const float t = to_bf16(__fadd_rn(to_bf16(__fdiv_rn(w, g.scale)), g.zero));
  return rintf(fminf(fmaxf(t, scheme.lowest), scheme.highest));
}

// One group, as its sixteen lanes see it.
class Group {
 public:
  __device__ Group(const GroupRoundingArgs& args, const float* smooth, int64_t group)
      : args_(args),
        lane_(threadIdx.x % kLanes),
        begin_(group * args.group_columns),
        smooth_(smooth == nullptr ? nullptr : smooth + begin_ % args.in) {
    low = 0;
    high = 0;
    for (int64_t i = lane_; i < args.group_columns; i += kLanes) {
      low = fminf(low, weight(i));
      high = fmaxf(high, weight(i));
    }
    low = lanes_min(low);
    high = lanes_max(high);
  }

  __device__ int lane() const { return lane_; }
  __device__ int64_t begin() const { return begin_; }
  __device__ float stored(int64_t i) const { return from_bf16(args_.weight[begin_ + i]); }
  __device__ float factor(int64_t i) const { return smooth_ == nullptr ? 1.0f : smooth_[i]; }
  __device__ float weight(int64_t i) const {
    return smooth_ == nullptr ? stored(i) : to_bf16(__fmul_rn(stored(i), smooth_[i]));
  }

  // Σ |error|^2.4
  __device__ float error_with(const GroupScale& g, const float* errors) const {
    float sum = 0;
    for (int64_t i = lane_; i < args_.group_columns; i += kLanes) {
      const float w = weight(i);
      const float code = __fadd_rn(code_of(w, g, args_.scheme), -g.zero);
      const float restored = to_bf16(__fmul_rn(code, g.scale));
      const float error = fabsf(to_bf16(__fadd_rn(restored, -w)));
      sum = __fadd_rn(sum, errors[__float_as_uint(error) >> 16]);
    }
    return to_bf16(lanes_sum(sum));
  }

  float low;
  float high;

 private:
  const GroupRoundingArgs& args_;
  int lane_;
  int64_t begin_;
  const float* smooth_;
};

__global__ void quantize_kernel(GroupRoundingArgs args, ObserverArgs how, int64_t groups) {
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kLanes;
  // Lanes of a warp go on together: those past the end repeat the last group.
  const int64_t at = mine < groups ? mine : groups - 1;
  const Group group(args, nullptr, at);
  GroupScale best = scale_of(args.scheme, group.low, group.high);
  float least = FLT_MAX;
  uint32_t improved = 0;
  for (int step = 0; how.steps > 1 && step < how.steps; ++step) {
    const auto p = static_cast<float>(1.0 - step / 100.0);
    const GroupScale tried =
        scale_of(args.scheme, to_bf16(__fmul_rn(group.low, p)), to_bf16(__fmul_rn(group.high, p)));
    const float error = group.error_with(tried, how.errors);
    if (error < least) {
      least = error;
      best = tried;
      improved |= 1u << step;
    }
  }
  if (mine >= groups) return;
  if (group.lane() == 0) {
    how.scales[at] = static_cast<uint16_t>(__float_as_uint(best.scale) >> 16);
    how.zeros[at] = static_cast<int8_t>(best.zero);
    if (improved != 0) atomicOr(how.improved, improved);
  }
  for (int64_t i = group.lane(); i < args.group_columns; i += kLanes) {
    how.codes[group.begin() + i] = static_cast<int8_t>(code_of(group.weight(i), best, args.scheme));
  }
}

__global__ void error_kernel(GroupRoundingArgs args, const float* smooth, float* error,
                             int64_t groups) {
  const int64_t mine = static_cast<int64_t>(blockIdx.x) * kGroups + threadIdx.x / kLanes;
  const int64_t at = mine < groups ? mine : groups - 1;
  const Group group(args, smooth, at);
  const GroupScale g = scale_of(args.scheme, group.low, group.high);
  if (mine >= groups) return;
  for (int64_t i = group.lane(); i < args.group_columns; i += kLanes) {
    const float code = __fadd_rn(code_of(group.weight(i), g, args.scheme), -g.zero);
    float restored = __fmul_rn(code, g.scale);
    if (smooth != nullptr) restored = __fdiv_rn(restored, group.factor(i));
    error[group.begin() + i] = __fadd_rn(restored, -group.stored(i));
  }
}

__global__ void abs_sum_kernel(const float* x, int64_t rows, int64_t n, float* out) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= n) return;
  float sum = out[i];
  for (int64_t row = 0; row < rows; ++row) sum = __fadd_rn(sum, fabsf(x[row * n + i]));
  out[i] = sum;
}

// A block a row; sums in an order that n alone decides.
__global__ void row_dots_kernel(const float* a, int64_t stride, int64_t first, const float* b,
                                int64_t n, float* out) {
  __shared__ float warps[kThreads / 32];
  const float* x = a + blockIdx.x * stride + first;
  const float* y = b + blockIdx.x * n;
  float sum = 0;
  for (int64_t i = threadIdx.x; i < n; i += kThreads) sum = fmaf(x[i], y[i], sum);
  for (int offset = 16; offset > 0; offset /= 2) sum += __shfl_down_sync(0xffffffff, sum, offset);
  if (threadIdx.x % 32 == 0) warps[threadIdx.x / 32] = sum;
  __syncthreads();
  if (threadIdx.x != 0) return;
  for (int i = 1; i < kThreads / 32; ++i) sum += warps[i];
  out[blockIdx.x] = sum;
}

unsigned blocks_for(int64_t count, int64_t each) {
  return static_cast<unsigned>((count + each - 1) / each);
}

int64_t groups_of(const GroupRoundingArgs& args) {
  return args.rows * (args.in / args.group_columns);
}

}  // namespace

void quantize_groups(const GroupRoundingArgs& args, const ObserverArgs& how, cudaStream_t stream) {
  const int64_t groups = groups_of(args);
  quantize_kernel<<<blocks_for(groups, kGroups), kThreads, 0, stream>>>(args, how, groups);
}

void group_errors(const GroupRoundingArgs& args, const float* smooth, float* error,
                  cudaStream_t stream) {
  const int64_t groups = groups_of(args);
  error_kernel<<<blocks_for(groups, kGroups), kThreads, 0, stream>>>(args, smooth, error, groups);
}

void add_abs_sum(const float* x, int64_t rows, int64_t n, float* out, cudaStream_t stream) {
  abs_sum_kernel<<<blocks_for(n, kThreads), kThreads, 0, stream>>>(x, rows, n, out);
}

void row_dots(const float* a, int64_t stride, int64_t first, const float* b, int64_t rows,
              int64_t n, float* out, cudaStream_t stream) {
  row_dots_kernel<<<static_cast<unsigned>(rows), kThreads, 0, stream>>>(a, stride, first, b, n,
                                                                        out);
}

}  // namespace squint::cuda
