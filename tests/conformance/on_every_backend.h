// on_every_backend.h: a fixture that runs once per kernel table of this machine, exact and fast,
// once on its NVIDIA card if there is one, and once on the reference backend itself.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <string>
#include <vector>

#include "conformance/tolerances.h"
#include "ops/backend.h"
#include "squint/backend.h"

namespace squint::test {

// "reference", then the kernel tables of the cpu backend, best first, in fast mode as "fast-avx2",
// then "cuda" and, the card in fast mode, "cuda-fast".
std::vector<std::string> backends_here();
// The backend of that name. Fails the test when other kernels would run than those asked for.
BackendPtr open_named(const std::string& name, int threads);

class OnEveryBackend : public ::testing::TestWithParam<std::string> {
 protected:
  Backend& backend() { return *backend_; }
  Backend& reference() { return *reference_; }
  static bool on_a_card() { return GetParam().starts_with("cuda"); }
  // Whose products are of bytes.
  static bool in_bytes() { return GetParam().starts_with("fast-"); }
  static bool is_fast() { return GetParam() == "cuda-fast" || in_bytes(); }
  static Tolerance linear_tolerance() {
    return in_bytes() ? kByteLinearTolerance : is_fast() ? kFastLinearTolerance : kLinearTolerance;
  }
  static Tolerance gated_tolerance() {
    return in_bytes() ? kByteGatedTolerance : kFastGatedTolerance;
  }
  static Tolerance attention_tolerance() {
    return is_fast() ? kFastAttentionTolerance : kAttentionTolerance;
  }

 private:
  BackendPtr backend_ = open_named(GetParam(), 2);
  BackendPtr reference_ = open_named("reference", 1);
};

// `tensor` in new memory, for operators that work in place.
Tensor copy_of(const Tensor& tensor);

// For INSTANTIATE_TEST_SUITE_P over backends_here(): cuda_fast, since names have no hyphens.
inline std::string backend_name(const ::testing::TestParamInfo<std::string>& test) {
  std::string name = test.param;
  std::ranges::replace(name, '-', '_');
  return name;
}

}  // namespace squint::test
