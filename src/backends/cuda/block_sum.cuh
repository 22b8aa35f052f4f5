// block_sum.cuh: one number of a whole block, in an order that only the block's size decides.
#pragma once

namespace squint::cuda {

__device__ __forceinline__ float warp_sum(float x) {
  for (int step = 16; step > 0; step /= 2) x += __shfl_xor_sync(~0u, x, step);
  return x;
}

__device__ __forceinline__ float warp_max(float x) {
  for (int step = 16; step > 0; step /= 2) x = fmaxf(x, __shfl_xor_sync(~0u, x, step));
  return x;
}

// Every thread takes part and gets the result. `parts` is shared memory for 32 floats.
template <class Warp>
__device__ __forceinline__ float join_warps(float x, float nothing, float* parts, Warp warp) {
  const int warps = static_cast<int>(blockDim.x) / 32;
  x = warp(x);
  if (warps == 1) return x;
  __syncthreads();  // an earlier result has been read
  if (threadIdx.x % 32 == 0) parts[threadIdx.x / 32] = x;
  __syncthreads();
  const int lane = static_cast<int>(threadIdx.x) % 32;
  return warp(lane < warps ? parts[lane] : nothing);
}

__device__ __forceinline__ float block_sum(float x, float* parts) {
  return join_warps(x, 0.0f, parts, [](float y) { return warp_sum(y); });
}

__device__ __forceinline__ float block_max(float x, float* parts) {
  return join_warps(x, -INFINITY, parts, [](float y) { return warp_max(y); });
}

}  // namespace squint::cuda
