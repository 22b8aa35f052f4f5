// verify.h: whether a quantized checkpoint of any writer is what its base model should have become.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace squint {

struct VerifyOptions {
  std::filesystem::path checkpoint;  // compressed-tensors (pack-quantized), AutoAWQ (gemm) or GPTQ
  std::filesystem::path base;        // what it was made from
  int threads = 0;                   // 0: every core this process may use
  std::function<void(int64_t done, int64_t total, const std::string& module)> on_progress;
  std::stop_token stop;
};

// A linear layer of the text model, or another one that is packed.
struct VerifiedLinear {
  std::string module;
  bool packed = false;
  double bits = 0;    // stored, per weight: integers, scales, zero points
  double error = 0;   // ‖ŵ - w‖ / ‖w‖ of the weights, smoothing undone
  double excess = 0;  // the error over that of rounding to the nearest with the same scales; GPTQ
                      // goes above 1 on purpose
  int64_t denormal_scales = 0;  // which some kernels take for 0
  std::vector<std::string> problems;
};

struct Verification {
  std::string checkpoint;
  std::string base;
  std::string format;  // "AutoAWQ, W4A16, groups of 128, asymmetric"
  int64_t packed_layers = 0;
  double bits = 0;  // stored, per weight of the packed layers
  std::vector<VerifiedLinear> linears;
  std::vector<std::string> problems;  // of other tensors

  int64_t problem_count() const;
  std::string to_text() const;
  std::string to_json() const;
};

// Throws Error(io), Error(bad_input) or Error(unsupported) for what cannot be compared: a
// checkpoint that is not quantized or not readable, a base model of other sizes. What can be
// compared and is wrong is a problem in the result.
Verification verify_checkpoint(const VerifyOptions& options);

}  // namespace squint
