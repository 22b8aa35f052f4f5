// safetensors.h: one file of named tensors (spec qwen3-vl.md §1.1, awq-w4a16.md §4.4).
//
//     8 bytes  length n of the header, little-endian
//     n bytes  {"__metadata__": {}, name: {"dtype": "BF16", "shape": [..], "data_offsets": [a, b]}}
//     then     tensor data; offsets count from here
//
// Every fact in a header is checked before a tensor is handed out. As the format demands, the data
// is covered exactly: a gap, an overlap, a missing or a surplus byte is Error(bad_input). Element
// types that squint cannot hold are Error(unsupported).
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <map>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "core/tensor.h"

namespace squint::io {

struct SafetensorsEntry {
  std::string name;
  DType dtype = DType::u8;
  Shape shape;
  int64_t begin = 0;  // bytes from the start of the file
  int64_t end = 0;
};

struct SafetensorsHeader {
  std::vector<SafetensorsEntry> entries;  // by position in the file
  std::map<std::string, std::string> metadata;
};

// Parses the header of a whole file that lies in memory; `where` names it in messages.
SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file, std::string_view where);

// A mapped file. Tensors share the mapping; only those whose data does not sit at a multiple of
// their element size (files of other writers) are copied to aligned memory when the file is opened.
class SafetensorsFile {
 public:
  explicit SafetensorsFile(const std::filesystem::path& path);

  const Tensor* find(std::string_view name) const;
  const std::map<std::string, Tensor, std::less<>>& tensors() const { return tensors_; }
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  std::map<std::string, Tensor, std::less<>> tensors_;
  std::map<std::string, std::string> metadata_;
};

struct NamedTensor {
  std::string name;
  Tensor tensor;  // in host memory
};

// A tensor whose bytes are made while they are written, and which never lies in memory whole.
struct StreamedTensor {
  using Sink = std::function<void(std::span<const std::byte>)>;

  std::string name;
  DType dtype = DType::u8;
  Shape shape;
  std::function<void(const Sink& sink)> produce;  // hands all its bytes to the sink, in order

  int64_t bytes() const { return shape.numel() * byte_size(dtype); }
};
StreamedTensor streamed(NamedTensor tensor);

// Writes atomically, without copying tensors, and byte for byte what the reference writer would:
// tensors by descending element type, then by name; header padded with spaces to a multiple of 8.
// Names must differ. Metadata is written in the order of its keys.
void write_safetensors(const std::filesystem::path& path, std::vector<NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata = {{"format", "pt"}});
void stream_safetensors(const std::filesystem::path& path, std::vector<StreamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata = {{"format", "pt"}});

}  // namespace squint::io
