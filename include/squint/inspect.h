// inspect.h: what is in a checkpoint, and what quantizing it would change.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

namespace squint {

// Tensors whose names differ only in a layer number.
struct TensorFamily {
  std::string name;  // "model.language_model.layers.N.self_attn.q_proj.weight"
  std::string dtype;
  std::string shape;
  int64_t count = 0;
  int64_t bytes = 0;  // of all of them
  bool quantizable = false;
};

struct Component {
  std::string name;  // "vision tower", "text layers", "embedding", "head"
  int64_t parameters = 0;
  int64_t bytes = 0;
  int64_t bytes_after = 0;  // with the text layers in 4 bits, symmetric, groups of 128
};

struct Inspection {
  std::string folder;
  std::string architecture;
  std::string text;  // "6 layers of 384, 6 heads of 64, 2 key/value heads, vocabulary 1024"
  std::string vision;
  std::string quantized;  // empty, or "compressed-tensors W4A16, groups of 128, symmetric"
  bool tied_head = false;
  int64_t tensors = 0;
  int64_t shards = 0;
  std::vector<TensorFamily> families;
  std::vector<Component> components;
  std::vector<std::string> smoothing_groups;  // of one layer, as AWQ would use them
  int64_t quantizable_layers = 0;
  std::vector<std::string> problems;  // why the text layers cannot be quantized as usual

  std::string to_text(int width = 80) const;
  std::string to_json() const;
};

// Throws Error(io), Error(bad_input) or Error(unsupported). Reads headers, no weights.
Inspection inspect(const std::filesystem::path& model);

}  // namespace squint
