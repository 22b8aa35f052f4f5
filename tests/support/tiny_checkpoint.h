// tiny_checkpoint.h: a whole Qwen3-VL checkpoint in memory, small enough to break and write anew in
// every test: 2 text layers of 32, 1 vision block of 32, random weights in bf16, vocabulary,
// tokenizer and preprocessing of models/reader.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <string_view>

#include "core/tensor.h"

namespace squint::test {

struct TinyCheckpoint {
  std::map<std::string, std::string> files;  // config.json, tokenizer.json, ...
  std::map<std::string, Tensor> tensors;     // written to one model.safetensors

  // JSON merge patch (RFC 7396) on one of the files: null removes a key.
  void patch(const std::string& file, std::string_view merge_patch);
  // Into a folder that exists, over what an earlier call wrote.
  void write(const std::filesystem::path& folder) const;
};

TinyCheckpoint tiny_checkpoint(uint64_t seed);

}  // namespace squint::test
