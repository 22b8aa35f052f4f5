// model_golden.h: runs a prompt through a model and compares every named value with what the
// reference computed for it.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "squint/backend.h"

namespace squint::test {

struct GoldenCase {
  std::filesystem::path model;
  std::filesystem::path tensors;  // NAME.safetensors
  std::string prompt;             // rendered
  std::vector<std::filesystem::path> images;
};

struct GoldenResult {
  int compared = 0;
  double worst = 0;  // ‖ours − golden‖ / ‖golden‖
  std::string worst_name;
  std::vector<std::string> failures;  // empty when everything agrees
};

inline constexpr double kGoldenTolerance = 2e-5;

// Float tensors within kGoldenTolerance; ids, positions and generated tokens identical.
GoldenResult run_golden(const GoldenCase& golden, Backend& backend);

}  // namespace squint::test
