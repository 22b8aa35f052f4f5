// What only the quantizer asks for, computed on the host by the CPU backend: every operand that
// lies on the card is copied there, every result back. Kernels will take their place one by one.
#include "backends/cuda/cuda_backend.h"

namespace squint::cuda {

Tensor CudaBackend::fetch(const Tensor& tensor) {
  if (tensor.empty() || tensor.device().kind == DeviceKind::cpu) return tensor;
  Tensor host = Tensor::on_host(tensor.dtype(), tensor.shape());
  copy(tensor, host);
  synchronize();
  return host;
}

void CudaBackend::store(const Tensor& host, const Tensor& tensor) {
  if (tensor.device().kind == DeviceKind::cpu) return;
  copy(host, tensor);
  synchronize();  // before the host's copy goes
}

void CudaBackend::rms_norm_gradient(const Tensor& x, const Tensor& weight, float eps,
                                    const Tensor& d_out, const Tensor& d_x) {
  const Tensor gradient = fetch(d_x);
  host_->rms_norm_gradient(fetch(x), fetch(weight), eps, fetch(d_out), gradient);
  store(gradient, d_x);
}

void CudaBackend::swiglu_gradient(const Tensor& gate, const Tensor& up, const Tensor& d_out,
                                  const Tensor& d_gate, const Tensor& d_up) {
  const Tensor gate_gradient = fetch(d_gate);
  const Tensor up_gradient = fetch(d_up);
  host_->swiglu_gradient(fetch(gate), fetch(up), fetch(d_out), gate_gradient, up_gradient);
  store(gate_gradient, d_gate);
  store(up_gradient, d_up);
}

void CudaBackend::attention_gradient(const AttentionGradientArgs& args) {
  const AttentionGradientArgs host{.query = fetch(args.query),
                                   .key = fetch(args.key),
                                   .value = fetch(args.value),
                                   .scale = args.scale,
                                   .d_out = fetch(args.d_out),
                                   .d_query = fetch(args.d_query),
                                   .d_key = fetch(args.d_key),
                                   .d_value = fetch(args.d_value)};
  host_->attention_gradient(host);
  store(host.d_query, args.d_query);
  store(host.d_key, args.d_key);
  store(host.d_value, args.d_value);
}

void CudaBackend::add_second_moment(const Tensor& x, const Tensor& out) {
  const Tensor sum = fetch(out);
  host_->add_second_moment(fetch(x), sum);
  store(sum, out);
}

void CudaBackend::add_cross_moment(const Tensor& x, const Tensor& y, const Tensor& out) {
  const Tensor sum = fetch(out);
  host_->add_cross_moment(fetch(x), fetch(y), sum);
  store(sum, out);
}

void CudaBackend::add_abs_sum(const Tensor& x, const Tensor& out) {
  const Tensor sum = fetch(out);
  host_->add_abs_sum(fetch(x), sum);
  store(sum, out);
}

double CudaBackend::dot(const Tensor& a, const Tensor& b, int64_t first) {
  return host_->dot(fetch(a), fetch(b), first);
}

bool CudaBackend::factor_cholesky(const Tensor& m, const Between& between) {
  const Tensor host = fetch(m);
  const bool positive = host_->factor_cholesky(host, between);
  store(host, m);
  return positive;
}

void CudaBackend::solve_cholesky(const Tensor& factor, const Tensor& x, const Between& between) {
  const Tensor host = fetch(x);
  host_->solve_cholesky(fetch(factor), host, between);
  store(host, x);
}

void CudaBackend::quantize_weight(const Tensor& weight, const QuantizationScheme& scheme,
                                  Observer observer, const QuantizedWeight& out) {
  const QuantizedWeight host{fetch(out.codes), fetch(out.scales), fetch(out.zero_points)};
  host_->quantize_weight(fetch(weight), scheme, observer, host);
  store(host.codes, out.codes);
  store(host.scales, out.scales);
  store(host.zero_points, out.zero_points);
}

void CudaBackend::quantization_error(const Tensor& weight, const Tensor& smooth,
                                     const QuantizationScheme& scheme, const Tensor& out) {
  const Tensor error = fetch(out);
  host_->quantization_error(fetch(weight), fetch(smooth), scheme, error);
  store(error, out);
}

// On the host by its contract.
void CudaBackend::round_adaptively(const Tensor& weight, const AdaptiveRounding& how,
                                   const QuantizationScheme& scheme, const QuantizedWeight& out) {
  host_->round_adaptively(weight, how, scheme, out);
}

}  // namespace squint::cuda
