#include "conformance/host_side.h"

#include <map>
#include <vector>

#include "base/check.h"

namespace squint::test {
namespace {

// Storages on the device for one call. Tensors that share one on the host share one there: an
// output may be an input.
class Passage {
 public:
  explicit Passage(Backend& device) : device_(device) {}

  Tensor there(const Tensor& host) {
    if (host.empty()) return host;
    const std::shared_ptr<Storage>& from = host.storage();
    std::shared_ptr<Storage>& to = storages_[from];
    if (to == nullptr) {
      to = device_.allocate(from->bytes());
      device_.copy(all_of(from), all_of(to, from->bytes()));
    }
    return Tensor(to, host.raw() - from->data(), host.dtype(), host.shape());
  }

  void back() {
    for (const auto& [host, device] : storages_) {
      device_.copy(all_of(device, host->bytes()), all_of(host));
    }
    device_.synchronize();
  }

 private:
  static Tensor all_of(const std::shared_ptr<Storage>& storage) {
    return all_of(storage, storage->bytes());
  }
  static Tensor all_of(const std::shared_ptr<Storage>& storage, int64_t bytes) {
    return Tensor(storage, 0, DType::u8, {bytes});
  }

  Backend& device_;
  std::map<std::shared_ptr<Storage>, std::shared_ptr<Storage>> storages_;
};

LinearWeight there(Passage& passage, const LinearWeight& weight) {
  LinearWeight moved = weight;
  moved.bias = passage.there(weight.bias);
  return moved;
}

HeadsArgs there(Passage& passage, const HeadsArgs& args) {
  return {.query = passage.there(args.query),
          .key = passage.there(args.key),
          .value = passage.there(args.value),
          .query_norm = passage.there(args.query_norm),
          .key_norm = passage.there(args.key_norm),
          .eps = args.eps,
          .cosine = passage.there(args.cosine),
          .sine = passage.there(args.sine)};
}

QuantizedWeight there(Passage& passage, const QuantizedWeight& w) {
  return {passage.there(w.codes), passage.there(w.scales), passage.there(w.zero_points)};
}

}  // namespace

void HostSide::copy(const Tensor& from, const Tensor& to) {
  SQUINT_CHECK(from.bytes() == to.bytes());
  Tensor between(device_->allocate(from.bytes()), 0, from.dtype(), from.shape());
  device_->copy(from, between);
  device_->copy(between, to);
}

LinearWeight HostSide::prepare(const LinearWeight& weight) {
  LinearWeight ready = device_->prepare(weight);
  ready.bias = weight.bias;  // travels with each call, like the other operands
  return ready;
}

KvLayer HostSide::make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                          int64_t capacity) {
  const Shape bytes{kv_bytes(heads, head_dim, capacity)};
  const Tensor device(device_->allocate(bytes.numel()), 0, DType::u8, bytes);
  device_->copy(Tensor(std::move(storage), 0, DType::u8, bytes), device);
  return device_->make_kv(device.storage(), heads, head_dim, capacity);
}

void HostSide::linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  Passage passage(*device_);
  device_->linear(passage.there(x), test::there(passage, weight), passage.there(out));
  passage.back();
}

void HostSide::rms_norm(const Tensor& x, const Tensor& weight, float eps, const Tensor& out) {
  Passage passage(*device_);
  device_->rms_norm(passage.there(x), passage.there(weight), eps, passage.there(out));
  passage.back();
}

void HostSide::layer_norm(const Tensor& x, const Tensor& weight, const Tensor& bias, float eps,
                          const Tensor& out) {
  Passage passage(*device_);
  device_->layer_norm(passage.there(x), passage.there(weight), passage.there(bias), eps,
                      passage.there(out));
  passage.back();
}

void HostSide::rotate(const Tensor& cosine, const Tensor& sine, const Tensor& x) {
  Passage passage(*device_);
  device_->rotate(passage.there(cosine), passage.there(sine), passage.there(x));
  passage.back();
}

void HostSide::append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) {
  Passage passage(*device_);
  device_->append_kv(passage.there(keys), passage.there(values), kv);
  passage.back();
}

void HostSide::attention(const AttentionArgs& args, const Tensor& out) {
  Passage passage(*device_);
  AttentionArgs moved = args;
  moved.query = passage.there(args.query);
  device_->attention(moved, passage.there(out));
  passage.back();
}

void HostSide::swiglu(const Tensor& gate, const Tensor& up, const Tensor& out) {
  Passage passage(*device_);
  device_->swiglu(passage.there(gate), passage.there(up), passage.there(out));
  passage.back();
}

void HostSide::gelu(const Tensor& x, GeluKind kind, const Tensor& out) {
  Passage passage(*device_);
  device_->gelu(passage.there(x), kind, passage.there(out));
  passage.back();
}

void HostSide::add(const Tensor& x, const Tensor& out) {
  Passage passage(*device_);
  device_->add(passage.there(x), passage.there(out));
  passage.back();
}

void HostSide::scale_rows(const Tensor& x, const Tensor& factor, const Tensor& out) {
  Passage passage(*device_);
  device_->scale_rows(passage.there(x), passage.there(factor), passage.there(out));
  passage.back();
}

void HostSide::rms_norm_gradient(const Tensor& x, const Tensor& weight, float eps,
                                 const Tensor& d_out, const Tensor& d_x) {
  Passage passage(*device_);
  device_->rms_norm_gradient(passage.there(x), passage.there(weight), eps, passage.there(d_out),
                             passage.there(d_x));
  passage.back();
}

void HostSide::swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& d_out,
                               const Tensor& d_gate, const Tensor& d_up) {
  Passage passage(*device_);
  device_->swiglu_gradient(passage.there(gate), passage.there(up), passage.there(d_out),
                           passage.there(d_gate), passage.there(d_up));
  passage.back();
}

void HostSide::attention_gradient(const AttentionGradientArgs& args) {
  Passage passage(*device_);
  device_->attention_gradient({.query = passage.there(args.query),
                               .key = passage.there(args.key),
                               .value = passage.there(args.value),
                               .scale = args.scale,
                               .d_out = passage.there(args.d_out),
                               .d_query = passage.there(args.d_query),
                               .d_key = passage.there(args.d_key),
                               .d_value = passage.there(args.d_value)});
  passage.back();
}

void HostSide::add_second_moment(const Tensor& x, const Tensor& out) {
  Passage passage(*device_);
  device_->add_second_moment(passage.there(x), passage.there(out));
  passage.back();
}

void HostSide::add_cross_moment(const Tensor& x, const Tensor& y, const Tensor& out) {
  Passage passage(*device_);
  device_->add_cross_moment(passage.there(x), passage.there(y), passage.there(out));
  passage.back();
}

void HostSide::add_abs_sum(const Tensor& x, const Tensor& out) {
  Passage passage(*device_);
  device_->add_abs_sum(passage.there(x), passage.there(out));
  passage.back();
}

void HostSide::argmax(const Tensor& x, int64_t count, const Tensor& out) {
  Passage passage(*device_);
  device_->argmax(passage.there(x), count, passage.there(out));
  passage.back();
}

void HostSide::clear(const Tensor& x) {
  Passage passage(*device_);
  device_->clear(passage.there(x));
  passage.back();
}

void HostSide::combine(float a, const Tensor& x, float b, const Tensor& out) {
  Passage passage(*device_);
  device_->combine(a, passage.there(x), b, passage.there(out));
  passage.back();
}

bool HostSide::finish_moment(const Tensor& m, double weight) {
  Passage passage(*device_);
  const bool finite = device_->finish_moment(passage.there(m), weight);
  passage.back();
  return finite;
}

bool HostSide::divide_columns(const Tensor& m, double divisor, const Tensor& factors) {
  Passage passage(*device_);
  const bool finite = device_->divide_columns(passage.there(m), divisor, factors);
  passage.back();
  return finite;
}

void HostSide::diagonal(const Tensor& m, const Tensor& out) {
  Passage passage(*device_);
  device_->diagonal(passage.there(m), out);
}

void HostSide::add_to_diagonal(const Tensor& m, double relative, double absolute) {
  Passage passage(*device_);
  device_->add_to_diagonal(passage.there(m), relative, absolute);
  passage.back();
}

void HostSide::reorder(const Tensor& m, std::span<const int32_t> order, const Tensor& out) {
  Passage passage(*device_);
  device_->reorder(passage.there(m), order, passage.there(out));
  passage.back();
}

void HostSide::make_feedback(const Tensor& factor) {
  Passage passage(*device_);
  device_->make_feedback(passage.there(factor));
  passage.back();
}

void HostSide::scale_weight(const Tensor& weight, const Tensor& columns, const Tensor& rows,
                            const Tensor& out) {
  Passage passage(*device_);
  device_->scale_weight(passage.there(weight), passage.there(columns), passage.there(rows),
                        passage.there(out));
  passage.back();
}

bool HostSide::factor_cholesky(const Tensor& m, const Between& between) {
  Passage passage(*device_);
  const bool positive = device_->factor_cholesky(passage.there(m), between);
  passage.back();
  return positive;
}

void HostSide::solve_cholesky(const Tensor& factor, const Tensor& x, const Between& between) {
  Passage passage(*device_);
  device_->solve_cholesky(passage.there(factor), passage.there(x), between);
  passage.back();
}

double HostSide::dot(const Tensor& a, const Tensor& b, int64_t first) {
  Passage passage(*device_);
  return device_->dot(passage.there(a), passage.there(b), first);
}

void HostSide::quantize_weight(const Tensor& weight, const QuantizationScheme& scheme,
                               Observer observer, const QuantizedWeight& out) {
  Passage passage(*device_);
  device_->quantize_weight(passage.there(weight), scheme, observer, test::there(passage, out));
  passage.back();
}

void HostSide::quantization_error(const Tensor& weight, const Tensor& smooth,
                                  const QuantizationScheme& scheme, const Tensor& out) {
  Passage passage(*device_);
  device_->quantization_error(passage.there(weight), passage.there(smooth), scheme,
                              passage.there(out));
  passage.back();
}

// Its operands are on the host by its contract.
void HostSide::restored_error(const QuantizedWeight& q, const Tensor& columns, const Tensor& rows,
                              const Tensor& weight, const Tensor& out) {
  Passage passage(*device_);
  device_->restored_error(there(passage, q), passage.there(columns), passage.there(rows),
                          passage.there(weight), passage.there(out));
  passage.back();
}

void HostSide::round_adaptively(const Tensor& weight, const AdaptiveRounding& how,
                                const QuantizationScheme& scheme, const QuantizedWeight& out) {
  device_->round_adaptively(weight, how, scheme, out);
}

void HostSide::norm_linears(const Tensor& x, const Tensor& norm, float eps,
                            std::span<const LinearWeight* const> weights,
                            std::span<const Tensor> outs) {
  Passage passage(*device_);
  std::vector<LinearWeight> moved;
  std::vector<Tensor> results;
  for (const LinearWeight* weight : weights) moved.push_back(test::there(passage, *weight));
  for (const Tensor& out : outs) results.push_back(passage.there(out));
  std::vector<const LinearWeight*> pointers;
  for (const LinearWeight& weight : moved) pointers.push_back(&weight);
  device_->fused()->norm_linears(passage.there(x), passage.there(norm), eps, pointers, results);
  passage.back();
}

void HostSide::layer_norm_linears(const Tensor& x, const Tensor& norm, const Tensor& norm_bias,
                                  float eps, std::span<const LinearWeight* const> weights,
                                  std::span<const Tensor> outs) {
  Passage passage(*device_);
  std::vector<LinearWeight> moved;
  std::vector<Tensor> results;
  for (const LinearWeight* weight : weights) moved.push_back(test::there(passage, *weight));
  for (const Tensor& out : outs) results.push_back(passage.there(out));
  std::vector<const LinearWeight*> pointers;
  for (const LinearWeight& weight : moved) pointers.push_back(&weight);
  device_->fused()->layer_norm_linears(passage.there(x), passage.there(norm),
                                       passage.there(norm_bias), eps, pointers, results);
  passage.back();
}

void HostSide::gelu_linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  Passage passage(*device_);
  device_->fused()->gelu_linear_add(passage.there(x), test::there(passage, weight),
                                    passage.there(out));
  passage.back();
}

void HostSide::norm_gated(const Tensor& x, const Tensor& norm, float eps, const LinearWeight& gate,
                          const LinearWeight& up, const Tensor& out) {
  Passage passage(*device_);
  device_->fused()->norm_gated(passage.there(x), passage.there(norm), eps,
                               test::there(passage, gate), test::there(passage, up),
                               passage.there(out));
  passage.back();
}

void HostSide::linear_add(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  Passage passage(*device_);
  device_->fused()->linear_add(passage.there(x), test::there(passage, weight), passage.there(out));
  passage.back();
}

void HostSide::norm_gated_add(const Tensor& x, const Tensor& norm, float eps,
                              const LinearWeight& gate, const LinearWeight& up,
                              const LinearWeight& down, const Tensor& inner, const Tensor& out) {
  Passage passage(*device_);
  device_->fused()->norm_gated_add(passage.there(x), passage.there(norm), eps, there(passage, gate),
                                   there(passage, up), there(passage, down), passage.there(inner),
                                   passage.there(out));
  passage.back();
}

void HostSide::norm_rotate_append(const HeadsArgs& args, std::span<const KvSlice> slices) {
  Passage passage(*device_);
  device_->fused()->norm_rotate_append(there(passage, args), slices);
  passage.back();
}

void HostSide::attend_heads(const HeadsArgs& args, std::span<const KvSlice> slices, float scale,
                            const Tensor& out) {
  Passage passage(*device_);
  device_->fused()->attend_heads(there(passage, args), slices, scale, passage.there(out));
  passage.back();
}

void HostSide::attend(const Tensor& query, std::span<const KvSlice> slices, float scale,
                      const Tensor& out) {
  Passage passage(*device_);
  device_->fused()->attend(passage.there(query), slices, scale, passage.there(out));
  passage.back();
}

}  // namespace squint::test
