// backend.h: what a device must be able to do. A new op is a new pure virtual: no backend compiles
// until it has an answer, and the reference backend's answer is the readable one.
//
// Arguments were checked by the functions in ops/: a backend checks nothing again. Outputs are
// allocated and never alias inputs unless the op says so. Work may still be running on return.
// Activations are f32 (exact mode). T = tokens or rows.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string_view>
#include <vector>

#include "base/thread_pool.h"
#include "core/quantization.h"
#include "core/tensor.h"
#include "ops/linear_weight.h"

namespace squint {

// Keys and values of one layer of one sequence, in a layout that only the backend knows. `length`
// positions are filled.
struct KvLayer {
  Tensor keys;
  Tensor values;
  int64_t heads = 0;
  int64_t head_dim = 0;
  int64_t capacity = 0;
  int64_t length = 0;
};

struct PreparedSize {
  int64_t kept = 0;     // bytes, for as long as the weight lives
  int64_t passing = 0;  // bytes beside them, while it is prepared
};

struct AttentionArgs {
  Tensor query;            // [T, heads, head_dim]; heads is a multiple of kv.heads
  const KvLayer* kv;       // query head j reads key/value head j / (heads / kv.heads)
  int64_t first_position;  // query i may see keys 0..first_position+i when causal
  bool causal;             // else every query sees all kv.length keys
  float scale;             // of q·k
};

// A sequence that attended causally to itself, and dLoss/d of what came out.
struct AttentionGradientArgs {
  Tensor query;                    // [T, heads, d]; heads is a multiple of kv heads
  Tensor key;                      // [T, kv heads, d]
  Tensor value;                    // [T, kv heads, d]
  float scale;                     // of q·k
  Tensor d_out;                    // [T, heads * d]
  Tensor d_query, d_key, d_value;  // written
};

// What rounding may know of a layer's inputs x; see Backend::round_adaptively.
struct AdaptiveRounding {
  Tensor importance;           // f32 [in], on the host: E[x²], the weight of a column's errors
  Tensor hessian;              // f32 [in, in]: E[x xᵀ], symmetric and positive; empty: not known
  Tensor feedback;             // f32 [in, in]: at [k, j], j < k, what the column at place k of
                               // `order` takes of the error of the one at place j
  std::vector<int32_t> order;  // the columns, as they are rounded
  bool search = true;          // among ranges; else the whole range
  int rounds = 0;              // of descent
};

// What is done again and again: operators whose tensors are where they were, of weights that are
// those they were, for one more token of each sequence. Only what lies in the tensors is another,
// and the caches.
struct RepeatedStep {
  const void* whose = nullptr;      // steps of two owners are two
  std::span<const Tensor> tensors;  // what it reads and writes of others; its own follow from that
  // Of its layers, those of one layer side by side. All of a sequence hold as many keys, and all
  // get one more.
  std::span<KvLayer* const> caches;
  int64_t sequences = 0;
};

enum class GeluKind : uint8_t { tanh, erf };

class FusedOperators;
using Between = std::function<void()>;

class Backend {
 public:
  virtual ~Backend() = default;
  virtual std::string_view name() const = 0;     // "reference", "cpu"
  virtual std::string_view kernels() const = 0;  // which kernel table runs, "avx2"
  virtual Device device() const = 0;
  virtual bool is_exact() const { return true; }  // float32 throughout
  // Rows that a step of decoding may have for hardly more than the price of one, each with the bits
  // that it would have alone; 1: they cost more, or come out otherwise.
  virtual int64_t rows_for_the_price_of_one() const { return 1; }
  // Workers for what stays on the host: image decoding, observers, statistics.
  virtual ThreadPool& host_threads() = 0;
  // What this device does better whole, or null; see fused.h.
  virtual FusedOperators* fused() { return nullptr; }

  virtual std::shared_ptr<Storage> allocate(int64_t bytes) = 0;
  virtual void copy(const Tensor& from, const Tensor& to) = 0;  // same dtype and number of elements
  virtual void synchronize() = 0;
  virtual LinearWeight prepare(const LinearWeight& weight) = 0;  // re-lay for this device, at load
  // Bytes that prepare allocates for a weight stored so.
  virtual PreparedSize prepared_size(const WeightForm& form) const = 0;
  virtual KvLayer make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                          int64_t capacity) = 0;
  virtual int64_t kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const = 0;
  // What attention keeps for itself, once there were `length` keys.
  virtual int64_t attention_bytes(int64_t head_dim, int64_t length) const = 0;

  // out = x Wᵀ + b. x [T, in], out [T, out].
  virtual void linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) = 0;
  // out = x / sqrt(mean(x²) + eps) * weight over the last axis of length weight.dim(0). out may be
  // x.
  virtual void rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) = 0;
  virtual void layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                          const Tensor& out) = 0;
  // x [T, heads, d] in place; cosine, sine [T, d/2]; element i pairs with i + d/2.
  virtual void rotate(const Tensor& cosine, const Tensor& sine, const Tensor& x) = 0;
  virtual void append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) = 0;
  virtual void attention(const AttentionArgs& args, const Tensor& out) = 0;  // out [T, heads * d]
  virtual void swiglu(const Tensor& gate, const Tensor& up,
                      const Tensor& out) = 0;                                // out may be gate
  virtual void gelu(const Tensor& x, GeluKind kind, const Tensor& out) = 0;  // out may be x
  virtual void add(const Tensor& x, const Tensor& out) = 0;                  // out += x
  // out [T, n] = x [T, n] with row t multiplied by factor[t]
  virtual void scale_rows(const Tensor& x, const Tensor& factor, const Tensor& out) = 0;
  // out i32 [T] = the place of the largest of the first `count` values of each row of x [T, n]; the
  // first of equals.
  virtual void argmax(const Tensor& x, int64_t count, const Tensor& out) = 0;

  // Gradients: d_y is dLoss/dy. Outputs are overwritten.
  // Of rms_norm. d_x may be d_out.
  virtual void rms_norm_gradient(const Tensor& x, const Tensor& weight, float eps,
                                 const Tensor& d_out, const Tensor& d_x) = 0;
  // Of swiglu. d_gate and d_up may be gate and up.
  virtual void swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& d_out,
                               const Tensor& d_gate, const Tensor& d_up) = 0;
  virtual void attention_gradient(const AttentionGradientArgs& args) = 0;

  // For calibration. Sums run over rows in order, whatever the number of threads.
  // out [n, n] += xᵀ x on and above the diagonal, x [T, n]; what is below it is left undefined.
  virtual void add_second_moment(const Tensor& x, const Tensor& out) = 0;
  // out [n, n] += xᵀ y, x and y [T, n]
  virtual void add_cross_moment(const Tensor& x, const Tensor& y, const Tensor& out) = 0;
  // out [n] += Σ_rows |x|
  virtual void add_abs_sum(const Tensor& x, const Tensor& out) = 0;
  // Σ a ⊙ b over b's columns, which stand beside those of a from `first` on; rows summed in
  // float32, totals in double.
  virtual double dot(const Tensor& a, const Tensor& b, int64_t first) = 0;
  virtual void clear(const Tensor& x) = 0;  // every byte 0
  // out = a x + b out
  virtual void combine(float a, const Tensor& x, float b, const Tensor& out) = 0;
  // m f32 [n, n], of which the diagonal and what is above it are read, is divided by `weight` there
  // and mirrored below. False where a value is not finite.
  virtual bool finish_moment(const Tensor& m, double weight) = 0;
  // Column j of m is divided by divisor * factors[j], or by `divisor` where there are no factors
  // (f32, on the host). False where a value is not finite.
  virtual bool divide_columns(const Tensor& m, double divisor, const Tensor& factors) = 0;
  // out f32 [n], on the host, = m's diagonal
  virtual void diagonal(const Tensor& m, const Tensor& out) = 0;
  // m_ii += relative m_ii + absolute
  virtual void add_to_diagonal(const Tensor& m, double relative, double absolute) = 0;
  // out_ij = m_(order[i], order[j]) for j >= i; the rest is left undefined.
  virtual void reorder(const Tensor& m, std::span<const int32_t> order, const Tensor& out) = 0;
  // What factor_cholesky made of H with its order reversed becomes AdaptiveRounding::feedback.
  virtual void make_feedback(const Tensor& factor) = 0;
  // m f32 [n, n], of which the diagonal and what is above it are read, becomes R with Rᵀ R = m
  // there; what is below is left undefined. False where m is not positive definite. `between` is
  // called every now and then, and may throw to stop.
  virtual bool factor_cholesky(const Tensor& m, const Between& between) = 0;
  // x [rows, n] becomes x (Rᵀ R)⁻¹.
  virtual void solve_cholesky(const Tensor& factor, const Tensor& x, const Between& between) = 0;
  // Integers and scales of weight (bf16 [out, in]) by spec awq-w4a16.md §2.3–2.5.
  virtual void quantize_weight(const Tensor& weight, const QuantizationScheme& scheme,
                               Observer observer, const QuantizedWeight& out) = 0;
  // out [out, in] = dequantize(quantize(round(weight ∘ smooth))) / smooth - weight, f32; smooth is
  // f32 [in] or empty for ones; min/max ranges (spec awq-w4a16.md §1.6).
  virtual void quantization_error(const Tensor& weight, const Tensor& smooth,
                                  const QuantizationScheme& scheme, const Tensor& out) = 0;
  // out [out, in], f32 or bf16, = weight (bf16) ∘ columns / rows; each may be empty for ones.
  virtual void scale_weight(const Tensor& weight, const Tensor& columns, const Tensor& rows,
                            const Tensor& out) = 0;
  // out [out, in] = ŵ / columns ∘ rows - weight, f32: how far what q stands for is from the bf16
  // `weight` before its columns were multiplied and its rows divided by these factors (f32, each
  // may be empty for ones).
  virtual void restored_error(const QuantizedWeight& q, const Tensor& columns, const Tensor& rows,
                              const Tensor& weight, const Tensor& out) = 0;
  // Integers and scales of weight (f32 [out, in]) that keep the error of the outputs
  // small: each group's range by the error weighted with `importance`; where the Hessian H is
  // known, each column takes over what the errors before it can be made up with, and then scales
  // and integers descend on tr(E H Eᵀ), E = w - ŵ. A row's result depends on that row alone.
  virtual void round_adaptively(const Tensor& weight, const AdaptiveRounding& how,
                                const QuantizationScheme& scheme, const QuantizedWeight& out) = 0;

  // What `body` does, or, where it was done before, the same without calling it.
  virtual void repeat(const RepeatedStep& /*step*/, const std::function<void()>& body) { body(); }

  // Uninitialised host memory for what is made to be copied to the device: such a copy does not
  // wait.
  virtual std::shared_ptr<Storage> allocate_staging(int64_t bytes) { return allocate_host(bytes); }
};

}  // namespace squint
