// Arbitrary bytes as a safetensors file, and the text of a header as quantization_config.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <span>
#include <string_view>

#include "base/check.h"
#include "base/json.h"
#include "io/packed_layers.h"
#include "io/quantization_config.h"
#include "io/safetensors.h"
#include "squint/error.h"

namespace {

void read_tensors(std::span<const std::byte> file) {
  const squint::io::SafetensorsHeader header =
      squint::io::parse_safetensors_header(file, "fuzz.safetensors");
  // What the parser accepts must be safe to read, and the data covered exactly.
  int64_t covered = 0;
  unsigned sum = 0;
  for (const squint::io::SafetensorsEntry& entry : header.entries) {
    SQUINT_CHECK(entry.begin >= 8 && entry.end <= static_cast<int64_t>(file.size()));
    SQUINT_CHECK(entry.shape.numel() * squint::byte_size(entry.dtype) == entry.end - entry.begin);
    for (int64_t i = entry.begin; i < entry.end; ++i) sum += std::to_integer<unsigned>(file[i]);
    covered += entry.end - entry.begin;
  }
  SQUINT_CHECK(covered < static_cast<int64_t>(file.size()) && sum < ~0u);
}

void read_config(std::string_view text) {
  const squint::Json json = squint::parse_json(text, "fuzz.json");
  const auto config = squint::io::find_quantization_config(json, "fuzz.json");
  if (!config) return;
  static_cast<void>(config->ignores("model.visual.merger.linear_fc1"));
  static_cast<void>(config->group_of("model.language_model.layers.0.mlp.down_proj"));
  // What was read is written in a form that reads the same.
  const squint::Json again = {
      {"quantization_config", squint::Json::parse(quantization_config_json(*config))}};
  const auto second = squint::io::find_quantization_config(again, "fuzz.json");
  SQUINT_CHECK(second && second->groups.size() == config->groups.size());
  for (size_t i = 0; i < config->groups.size(); ++i) {
    SQUINT_CHECK(second->groups[i].scheme == config->groups[i].scheme);
  }
}

void read_packing(std::string_view text) {
  const squint::io::Packing packing =
      squint::io::parse_packing(squint::parse_json(text, "fuzz.json"), "fuzz.json");
  static_cast<void>(packing.expects("model.language_model.layers.0.mlp.down_proj"));
  SQUINT_CHECK(!packing.description().empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    read_tensors(std::as_bytes(std::span(data, size)));
  } catch (const squint::Error&) {
  }
  try {
    read_config({reinterpret_cast<const char*>(data), size});
  } catch (const squint::Error&) {
  }
  try {
    read_packing({reinterpret_cast<const char*>(data), size});
  } catch (const squint::Error&) {
  }
  return 0;
}
