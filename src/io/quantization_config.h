// quantization_config.h: what config.json says about quantized weights (spec awq-w4a16.md §4.2,
// §4.3, Appendix A).
//
// Read and written is compressed-tensors `pack-quantized`: integers of 4 or 8 bits, one scale per
// group of columns or per row, weights only. Everything else that compressed-tensors can express is
// Error(unsupported), naming what is supported.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "core/quantization.h"

namespace squint::io {

// An entry of `targets` or `ignore`: a module's full name, a class name ("Linear", "Embedding"), or
// "re:" and a regular expression that must match from the start of the name.
class ModulePattern {
 public:
  // Error(unsupported) for an expression that is not understood, or whose matching could cost too
  // much: too long, counted repeats, more than two lookaheads.
  explicit ModulePattern(std::string text);

  enum class Kind : uint8_t { name, expression, class_name };
  Kind kind() const;
  const std::string& text() const { return text_; }
  // `module` is the name of a linear layer, so "Linear" matches it, or that of the token
  // embeddings.
  bool matches(std::string_view module) const;

 private:
  struct Expression;
  std::string text_;
  std::shared_ptr<const Expression> expression_;
};

// Modules that share a scheme.
struct QuantizationGroup {
  QuantizationScheme scheme;
  std::vector<ModulePattern> targets = {ModulePattern("Linear")};
  std::string observer = "memoryless_minmax";  // for the record: loaders ignore it
};

struct QuantizationConfig {
  std::vector<QuantizationGroup> groups;
  std::vector<ModulePattern> ignore;

  bool ignores(std::string_view module) const;
  // The group a module belongs to, as if it were not ignored; nullptr where no target matches.
  // A module name wins over a regular expression, that over a class name; then the first wins.
  const QuantizationGroup* group_of(std::string_view module) const;
};

// Reads `quantization_config` of a parsed config.json; nothing where there is none.
// Error(unsupported) for other methods (awq, gptq, ..) and formats; Error(bad_input) for a damaged
// description.
std::optional<QuantizationConfig> find_quantization_config(const Json& config,
                                                           std::string_view where);

// The value of `quantization_config`: sorted keys, 2-space indent, only keys that every release of
// the format accepts.
std::string quantization_config_json(const QuantizationConfig& config);

// The text of config.json with `quantization_config` added as the last key (or replaced in place);
// all other keys keep their order and value. 2-space indent, newline at the end.
std::string insert_quantization_config(std::string_view config_text,
                                       const QuantizationConfig& config);

}  // namespace squint::io
