// output.h: the quantized checkpoint as a folder, with reports on it.
#pragma once

#include <filesystem>
#include <functional>
#include <vector>

#include "io/checkpoint.h"
#include "io/safetensors.h"
#include "models/qwen3_vl/weights.h"
#include "quantize/module_schemes.h"
#include "quantize/run_watch.h"
#include "squint/quantize.h"

namespace squint::quantize {

struct OutputParts {
  const QuantizeOptions& options;
  Context& cx;
  const qwen3_vl::Weights& weights;
  const qwen3_vl::Config& config;
  const ModuleSchemes& schemes;
  const std::vector<io::NamedTensor>&
      replaced;  // of the text layers; others are copied, or packed by vocabulary.h
  // Looks at the checkpoint before it is published, in the folder where it stands complete but for
  // the reports.
  std::function<void(const std::filesystem::path& folder)> on_written = [](const auto&) {};
};

// Writes options.output, whole or not at all, and what `report` still lacks: sizes, hashes, the
// run's time and memory.
void write_output(const OutputParts& parts, RunWatch& watch, QuantizeReport& report);

}  // namespace squint::quantize
