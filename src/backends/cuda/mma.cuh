// mma.cuh: what fast kernels are built of: products of 16 by 8 values on tensor cores, copies into
// shared memory that nobody waits for yet, and launches that begin before their predecessor ends.
//
// Fragments of mma.m16n8k16, for lane = 4 g + c:
//
//     A [16, 16]  a[0] (g, 2c) (g, 2c+1)      a[1] (g+8, 2c) (g+8, 2c+1)
//                 a[2] (g, 2c+8) (g, 2c+9)    a[3] (g+8, 2c+8) (g+8, 2c+9)
//     B [16, 8]   b[0] (2c, g) (2c+1, g)      b[1] (2c+8, g) (2c+9, g)
//     C [16, 8]   c[0] (g, 2c)  c[1] (g, 2c+1)  c[2] (g+8, 2c)  c[3] (g+8, 2c+1)
//
// A sum over k may run in any order: kernels here let lane c own neighbouring columns, in both
// factors, so that it loads them sixteen bytes at a time.
#pragma once

#include <cuda_bf16.h>

#include <cstdint>
#include <unordered_map>

namespace squint::cuda {

__device__ __forceinline__ void multiply_add(float (&c)[4], const uint32_t (&a)[4], uint32_t b0,
                                             uint32_t b1) {
  asm volatile(
      "mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0,%1,%2,%3}, {%4,%5,%6,%7}, "
      "{%8,%9}, {%0,%1,%2,%3};\n"
      : "+f"(c[0]), "+f"(c[1]), "+f"(c[2]), "+f"(c[3])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

// low in the lower half.
__device__ __forceinline__ uint32_t bf16_pair(float low, float high) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
  return *reinterpret_cast<const uint32_t*>(&pair);
}

__device__ __forceinline__ float low_float(uint32_t pair) { return __uint_as_float(pair << 16); }
__device__ __forceinline__ float high_float(uint32_t pair) {
  return __uint_as_float(pair & 0xffff0000u);
}

constexpr float kLog2OfE = 1.4426950408889634f;
__device__ __forceinline__ float two_to(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;\n" : "=f"(y) : "f"(x));
  return y;
}

__device__ __forceinline__ uint32_t shared_address(const void* p) {
  return static_cast<uint32_t>(__cvta_generic_to_shared(p));
}

// Four 8 by 8 matrices of two-byte values, lane i naming a row of one: rows 8 m .. of matrix m.
__device__ __forceinline__ void load_matrices(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

__device__ __forceinline__ void load_matrices_transposed(uint32_t (&r)[4], const void* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0,%1,%2,%3}, [%4];\n"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3])
               : "r"(shared_address(row)));
}

// Sixteen bytes into shared memory; zeros where there is nothing to read.
__device__ __forceinline__ void copy_async(void* to, const void* from, bool inside = true) {
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;\n" ::"r"(shared_address(to)),
               "l"(from), "r"(inside ? 16 : 0)
               : "memory");
}

__device__ __forceinline__ void close_copies() {
  asm volatile("cp.async.commit_group;\n" ::: "memory");
}

// Until at most kOpen of the groups that were closed are on their way.
template <int kOpen>
__device__ __forceinline__ void wait_for_copies() {
  asm volatile("cp.async.wait_group %0;\n" ::"n"(kOpen) : "memory");
}

// A kernel launched by launch_overlapped may begin before the one in front of it has ended, or has
// room left for it. It may read weights; before it touches what other kernels write or read, every
// thread of it waits. A kernel lets its successor begin where it leaves every multiprocessor the
// same room: products do. Among the small blocks of attention the successor's large ones find room
// here and there, and two of them on one multiprocessor while another has none.
__device__ __forceinline__ void wait_for_predecessor() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.wait;\n" ::: "memory");
#endif
}

__device__ __forceinline__ void let_successor_begin() {
#if __CUDA_ARCH__ >= 900
  asm volatile("griddepcontrol.launch_dependents;\n" ::: "memory");
#endif
}

// What a kernel may ask for, said once for a card: such a call costs what a launch does.
template <class Args>
void prepare_kernel(void (*kernel)(Args), size_t shared_bytes) {
  struct Prepared {
    int device = -1;
    size_t shared_bytes = 0;
  };
  static thread_local std::unordered_map<const void*, Prepared> all;
  int device = 0;
  cudaGetDevice(&device);
  Prepared& known = all[reinterpret_cast<const void*>(kernel)];
  if (known.device == device && known.shared_bytes >= shared_bytes) return;
  // Kernels that want different divisions of a multiprocessor's memory cannot share it.
  cudaFuncSetAttribute(kernel, cudaFuncAttributePreferredSharedMemoryCarveout,
                       cudaSharedmemCarveoutMaxShared);
  cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize,
                       static_cast<int>(shared_bytes));
  known = {device, shared_bytes};
}

// Launches kernel(args), which calls wait_for_predecessor.
template <class Args>
void launch_overlapped(void (*kernel)(Args), const Args& args, dim3 blocks, int threads,
                       size_t shared_bytes, cudaStream_t stream) {
  prepare_kernel(kernel, shared_bytes);
  cudaLaunchAttribute overlap{};
  overlap.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  overlap.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = blocks;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = shared_bytes;
  config.stream = stream;
  config.attrs = &overlap;
  config.numAttrs = 1;
  // Its error is also what cudaGetLastError says, which whoever launches asks.
  cudaLaunchKernelEx(&config, kernel, args);
}

}  // namespace squint::cuda
