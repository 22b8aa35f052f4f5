// journal.h: finished layers on disk, so that a run that was cut short continues after them.
//
// A folder beside the output: journal.json says which run it belongs to; layer-00007.safetensors
// holds a finished layer, its report in the metadata. Each file appears whole or not at all.
#pragma once

#include <cstdint>
#include <filesystem>
#include <future>
#include <optional>
#include <string>

#include "quantize/block_quantizer.h"

namespace squint::quantize {

class Journal {
 public:
  // Opens OUTPUT.journal, or begins it. `identity` describes model, options and calibration data: a
  // journal of another run is cleared. Throws Error(bad_input) where something of that name is no
  // journal, or holds what no journal does: it is left alone.
  Journal(const std::filesystem::path& output, const std::string& identity);
  // The same where it has been begun; writes nothing.
  static std::optional<Journal> existing(const std::filesystem::path& output,
                                         const std::string& identity);

  // A finished layer, its tensors mapped; nothing where it has not been finished.
  std::optional<QuantizedBlock> find(int64_t layer) const;
  void write(int64_t layer, const QuantizedBlock& block) const;
  int64_t finished(int64_t layers) const;  // how many can be found, counted from the first

  // What the units of all layers lose, where it has been measured.
  std::optional<std::vector<SensitivityReport>> find_sensitivity() const;
  void write_sensitivity(const std::vector<SensitivityReport>& units) const;

  // When everything has been published. What is not the journal's stays.
  void remove() const;

 private:
  Journal() = default;
  // Whether journal.json is there and says `head`.
  bool begins_with(const std::string& head) const;
  std::filesystem::path file_of(int64_t layer) const;

  std::filesystem::path folder_;
};

// Writes one layer while the next is computed.
class LayerWriter {
 public:
  explicit LayerWriter(const Journal& journal) : journal_(journal) {}

  // Waits for the one before. Throws what that failed with.
  void begin(int64_t layer, const QuantizedBlock& block);
  void wait();

 private:
  const Journal& journal_;
  std::future<void> last_;  // waits when it ends
};

}  // namespace squint::quantize
