// journal.h: finished layers on disk, so that a run that was cut short continues after them.
//
// A folder beside the output: journal.json says which run it belongs to; layer-00007.safetensors
// holds a finished layer, its report in the metadata. Each file appears whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>

#include "quantize/block_quantizer.h"

namespace squint::quantize {

class Journal {
 public:
  // Opens OUTPUT.journal, or begins it. `identity` describes model, options and calibration data: a
  // journal of another run is cleared.
  Journal(const std::filesystem::path& output, const std::string& identity);

  // A finished layer, its tensors mapped; nothing where it has not been finished.
  std::optional<QuantizedBlock> find(int64_t layer) const;
  void write(int64_t layer, const QuantizedBlock& block) const;
  int64_t finished(int64_t layers) const;  // how many, counted from the first

  // When everything has been published.
  void remove() const;

  const std::filesystem::path& folder() const { return folder_; }

 private:
  std::filesystem::path file_of(int64_t layer) const;

  std::filesystem::path folder_;
};

}  // namespace squint::quantize
