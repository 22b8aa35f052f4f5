// checkpoint.h: a folder with config.json and the weights in model.safetensors, or in shards that
// model.safetensors.index.json lists (spec qwen3-vl.md §1.1).
//
// Everything is mapped and every header checked when the folder is opened; tensor data is read when
// it is touched. Tensors are found by name, never by shard; tensors that a shard holds but the
// index does not name are not part of the checkpoint. Copies share the mappings.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "core/tensor.h"

namespace squint::io {

inline constexpr const char* kSingleFileName = "model.safetensors";
inline constexpr const char* kIndexFileName = "model.safetensors.index.json";
inline constexpr const char* kConfigFileName = "config.json";

class Checkpoint {
 public:
  // Error(io): no such folder, neither weights nor index, shards missing (all of them are listed),
  // no config.json. Error(bad_input): config.json or the index is not what it should be, a shard is
  // damaged or lacks a tensor that the index expects there.
  static Checkpoint open(const std::filesystem::path& folder);

  const Tensor* find(std::string_view name) const;  // nullptr when absent
  // Error(bad_input) when absent, naming similar tensors.
  Tensor get(std::string_view name) const;
  std::vector<std::string> names() const;  // sorted
  // Of the tensors whose names begin so: their pages are not needed for now (io::advise).
  void give_back(std::string_view prefix) const;
  // The file that holds a tensor. Error(bad_input) when absent.
  const std::string& shard_of(std::string_view name) const;
  int64_t tensor_bytes() const;

  const std::filesystem::path& folder() const { return folder_; }
  const std::string& config_text() const { return config_text_; }
  Json config() const;  // an object
  // Another file of the folder ("generation_config.json"), at most 64 MiB; nothing when absent.
  std::optional<std::string> side_file(std::string_view file_name) const;

 private:
  struct Entry {
    Tensor tensor;
    std::string shard;
  };

  Checkpoint() = default;
  void open_single_file();
  void open_shards();
  [[noreturn]] void report_absent(std::string_view name) const;

  std::filesystem::path folder_;
  std::string config_text_;
  std::map<std::string, Entry, std::less<>> entries_;
};

}  // namespace squint::io
