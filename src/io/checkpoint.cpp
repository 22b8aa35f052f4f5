#include "io/checkpoint.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <numeric>
#include <set>
#include <utility>

#include "io/mapped_file.h"
#include "io/os_error.h"
#include "io/safetensors.h"
#include "squint/error.h"

namespace squint::io {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxSideFileBytes = int64_t{64} << 20;
constexpr size_t kMostNamed = 8;  // A message names the first few and counts the rest.

bool is_there(const fs::path& path) {
  std::error_code error;
  const bool found = fs::exists(path, error);
  if (error) throw_os_error("inspect", path, error.value());
  return found;
}

std::string listed(const std::vector<std::string>& names) {
  const auto shown = std::span(names).first(std::min(names.size(), kMostNamed));
  std::string text = fmt::format("\"{}\"", fmt::join(shown, "\", \""));
  if (names.size() > shown.size()) text += fmt::format(" and {} more", names.size() - shown.size());
  return text;
}

// Tensor name -> shard, with shard names that cannot lead out of the folder.
std::map<std::string, std::string> read_weight_map(const fs::path& index) {
  const std::string where = index.string();
  const Json json = parse_json(read_file(index, kMaxSideFileBytes), where);
  const Json& weight_map = member(json, "weight_map", where);
  if (!weight_map.is_object() || weight_map.empty()) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: \"weight_map\" should name the shard of every tensor, but is {} {}", where,
                    weight_map.empty() ? "an empty" : "a", weight_map.type_name()));
  }
  std::map<std::string, std::string> shards;
  for (const auto& [name, unused] : weight_map.items()) {
    std::string shard = string_member(weight_map, name, where);
    if (shard.empty() || shard == "." || shard == ".." ||
        shard.find_first_of(std::string_view("/\\\0", 3)) != std::string::npos) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: tensor \"{}\" is said to be in \"{}\"; expected the name of a "
                              "file in the same folder",
                              where, name, shard));
    }
    shards.emplace(name, std::move(shard));
  }
  return shards;
}

// Insertions, deletions and replacements that lead from a to b.
size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), size_t{0});
  for (size_t i = 0; i < a.size(); ++i) {
    size_t diagonal = std::exchange(row[0], i + 1);
    for (size_t j = 0; j < b.size(); ++j) {
      const size_t replaced = diagonal + (a[i] == b[j] ? 0 : 1);
      diagonal = std::exchange(row[j + 1], std::min({replaced, row[j] + 1, row[j + 1] + 1}));
    }
  }
  return row.back();
}

}  // namespace

Checkpoint Checkpoint::open(const fs::path& folder) {
  Checkpoint checkpoint;
  checkpoint.folder_ = folder;
  if (!is_there(folder)) {
    throw Error(ErrorCode::io, fmt::format("{}: there is no such folder", folder.string()));
  }
  if (!fs::is_directory(folder)) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: expected the folder of a checkpoint, found "
                                                  "a file",
                                                  folder.string()));
  }
  const fs::path config = folder / kConfigFileName;
  if (!is_there(config)) {
    throw Error(ErrorCode::io, fmt::format("{}: there is no {}; not a checkpoint folder, or an "
                                           "incomplete download?",
                                           folder.string(), kConfigFileName));
  }
  checkpoint.config_text_ = read_file(config, kMaxSideFileBytes);
  const Json parsed = parse_json(checkpoint.config_text_, config.string());
  if (!parsed.is_object()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: expected an object, found {}",
                                                  config.string(), parsed.type_name()));
  }
  if (is_there(folder / kSingleFileName)) {
    checkpoint.open_single_file();
  } else if (is_there(folder / kIndexFileName)) {
    checkpoint.open_shards();
  } else {
    throw Error(ErrorCode::io,
                fmt::format("{}: there is neither {} nor {}; incomplete download, or weights in "
                            "another format than safetensors?",
                            folder.string(), kSingleFileName, kIndexFileName));
  }
  return checkpoint;
}

void Checkpoint::open_single_file() {
  const SafetensorsFile file(folder_ / kSingleFileName);
  for (const auto& [name, tensor] : file.tensors()) {
    entries_.emplace(name, Entry{tensor, kSingleFileName});
  }
}

void Checkpoint::open_shards() {
  const fs::path index = folder_ / kIndexFileName;
  const std::map<std::string, std::string> weight_map = read_weight_map(index);
  std::set<std::string> shards;
  for (const auto& [name, shard] : weight_map) shards.insert(shard);

  std::vector<std::string> missing;
  std::ranges::copy_if(shards, std::back_inserter(missing),
                       [&](const std::string& shard) { return !is_there(folder_ / shard); });
  if (!missing.empty()) {
    throw Error(ErrorCode::io,
                fmt::format("{}: {} of {} shards named by {} are missing: {}; incomplete download?",
                            folder_.string(), missing.size(), shards.size(), kIndexFileName,
                            fmt::join(missing, ", ")));
  }

  std::map<std::string, SafetensorsFile> files;
  for (const std::string& shard : shards) files.emplace(shard, folder_ / shard);
  std::vector<std::string> absent;
  for (const auto& [name, shard] : weight_map) {
    if (const Tensor* tensor = files.at(shard).find(name)) {
      entries_.emplace(name, Entry{*tensor, shard});
    } else {
      absent.push_back(name);
    }
  }
  if (!absent.empty()) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: tensors are not in the shards that {} names for them: {}; shard {} "
                    "lacks the first. Files of different checkpoints in one folder?",
                    folder_.string(), kIndexFileName, listed(absent),
                    weight_map.at(absent.front())));
  }
}

const Tensor* Checkpoint::find(std::string_view name) const {
  const auto it = entries_.find(name);
  return it == entries_.end() ? nullptr : &it->second.tensor;
}

Tensor Checkpoint::get(std::string_view name) const {
  const Tensor* tensor = find(name);
  if (tensor == nullptr) report_absent(name);
  return *tensor;
}

void Checkpoint::give_back(std::string_view prefix) const {
  for (auto it = entries_.lower_bound(prefix);
       it != entries_.end() && it->first.starts_with(prefix); ++it) {
    advise(it->second.tensor, PageUse::done);
  }
}

const std::string& Checkpoint::shard_of(std::string_view name) const {
  const auto it = entries_.find(name);
  if (it == entries_.end()) report_absent(name);
  return it->second.shard;
}

std::vector<std::string> Checkpoint::names() const {
  std::vector<std::string> names;
  names.reserve(entries_.size());
  for (const auto& [name, entry] : entries_) names.push_back(name);
  return names;
}

int64_t Checkpoint::tensor_bytes() const {
  int64_t bytes = 0;
  for (const auto& [name, entry] : entries_) bytes += entry.tensor.bytes();
  return bytes;
}

Json Checkpoint::config() const {
  return parse_json(config_text_, (folder_ / kConfigFileName).string());
}

std::optional<std::string> Checkpoint::side_file(std::string_view file_name) const {
  const fs::path path = folder_ / file_name;
  if (!is_there(path)) return std::nullopt;
  return read_file(path, kMaxSideFileBytes);
}

void Checkpoint::report_absent(std::string_view name) const {
  const std::string start = fmt::format("{}: there is no tensor \"{}\"", folder_.string(), name);
  if (find(fmt::format("{}_packed", name)) != nullptr) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}, only \"{}_packed\": the layer is quantized, but {} does not say so", start,
                    name, kConfigFileName));
  }
  std::vector<std::pair<size_t, std::string>> similar;
  const size_t limit = std::max<size_t>(2, name.size() / 3);
  for (const auto& [other, entry] : entries_) {
    const size_t longer = std::max(other.size(), name.size());
    if (longer - std::min(other.size(), name.size()) > limit) continue;
    const size_t distance = edit_distance(name, other);
    if (distance <= limit) similar.emplace_back(distance, other);
  }
  std::ranges::sort(similar);
  if (similar.size() > 3) similar.resize(3);
  std::vector<std::string> names;
  names.reserve(similar.size());
  for (const auto& [distance, other] : similar) names.push_back(other);
  throw Error(ErrorCode::bad_input,
              fmt::format("{} among its {}; {}", start, entries_.size(),
                          names.empty() ? "is this another model than config.json says?"
                                        : "similar ones are " + listed(names)));
}

}  // namespace squint::io
