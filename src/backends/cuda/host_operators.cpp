// Gradients, which the quantizer asks for once: computed on the host by the CPU backend. Every
// operand that lies on the card is copied there, every result back.
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

}  // namespace squint::cuda
