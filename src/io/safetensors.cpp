#include "io/safetensors.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>
#include <set>
#include <tuple>
#include <utility>

#include "base/check.h"
#include "base/checked_math.h"
#include "base/json.h"
#include "io/atomic_file.h"
#include "io/mapped_file.h"

namespace squint::io {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kLengthBytes = 8;
// The reference reader's limit. The largest real headers have some 10 MB.
constexpr int64_t kMaxHeaderBytes = 100'000'000;
constexpr const char* kMetadataKey = "__metadata__";

[[noreturn]] void bad_file(std::string_view where, const std::string& what) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where, what));
}

// What people have when they believe they have a safetensors file.
std::string_view likely_cause(std::span<const std::byte> file) {
  const std::string_view start(reinterpret_cast<const char*>(file.data()),
                               std::min<size_t>(file.size(), 64));
  if (start.starts_with("version https://git-lfs")) {
    return "this is a Git LFS pointer, not the file it stands for; run git lfs pull";
  }
  if (start.starts_with("<")) return "this looks like a web page, saved by a failed download";
  if (start.starts_with("PK")) return "this looks like a PyTorch or zip file, not safetensors";
  return "incomplete download, or not a safetensors file?";
}

std::string_view header_text(std::span<const std::byte> file, std::string_view where) {
  const auto file_bytes = static_cast<int64_t>(file.size());
  if (file_bytes < kLengthBytes) {
    bad_file(where, fmt::format("the file has {} bytes, too few for a safetensors header; {}",
                                file_bytes, likely_cause(file)));
  }
  uint64_t length = 0;
  for (size_t i = 0; i < kLengthBytes; ++i) length |= std::to_integer<uint64_t>(file[i]) << (8 * i);
  if (length > static_cast<uint64_t>(std::min(file_bytes - kLengthBytes, kMaxHeaderBytes))) {
    bad_file(where, fmt::format("the header is said to have {} bytes, the file has {} (and headers "
                                "may have {}); {}",
                                length, file_bytes, kMaxHeaderBytes, likely_cause(file)));
  }
  const std::string_view text(reinterpret_cast<const char*>(file.data()) + kLengthBytes, length);
  if (!text.starts_with('{')) {
    bad_file(where, fmt::format("the header does not start with '{{'; {}", likely_cause(file)));
  }
  return text;
}

// A parsed object keeps one of two equal keys, and readers differ in which: such files are refused.
// Events rather than the parser's callback, whose cost grows with the square of the entries.
class DuplicateKeys final : public nlohmann::json_sax<Json> {
 public:
  explicit DuplicateKeys(std::string_view where) : where_(where) {}

  bool start_object(size_t) override {
    open_.emplace_back();
    return true;
  }
  bool end_object() override {
    open_.pop_back();
    return true;
  }
  bool key(std::string& key) override {
    if (!open_.back().insert(key).second) {
      bad_file(where_, fmt::format("the header names \"{}\" twice", key));
    }
    return true;
  }
  bool null() override { return true; }
  bool boolean(bool) override { return true; }
  bool number_integer(int64_t) override { return true; }
  bool number_unsigned(uint64_t) override { return true; }
  bool number_float(double, const std::string&) override { return true; }
  bool string(std::string&) override { return true; }
  bool binary(Json::binary_t&) override { return true; }
  bool start_array(size_t) override { return true; }
  bool end_array() override { return true; }
  bool parse_error(size_t, const std::string&, const nlohmann::json::exception&) override {
    return false;  // parse_json has reported it.
  }

 private:
  std::string_view where_;
  std::vector<std::set<std::string>> open_;  // keys of every object around the current position
};

// In the next three, `where` names the file and the tensor.

int64_t size_value(const Json& value, std::string_view where) {
  if (!value.is_number_unsigned() || value.get<uint64_t>() > INT64_MAX) {
    bad_file(where, fmt::format("expected a size or offset, found {}",
                                value.is_number() ? value.dump() : value.type_name()));
  }
  return value.get<int64_t>();
}

Shape shape_member(const Json& info, std::string_view where) {
  const Json& shape = member(info, "shape", where);
  if (!shape.is_array()) {
    bad_file(where, fmt::format("the shape should be a list, but is {}", shape.type_name()));
  }
  if (shape.size() > Shape::kMaxRank) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: it has {} dimensions, squint holds at most {}", where,
                            shape.size(), Shape::kMaxRank));
  }
  std::array<int64_t, Shape::kMaxRank> dims{};
  std::ranges::transform(shape, dims.begin(),
                         [&](const Json& dim) { return size_value(dim, where); });
  return Shape({dims.data(), shape.size()});
}

DType dtype_member(const Json& info, std::string_view where) {
  const std::string text = string_member(info, "dtype", where);
  const std::optional<DType> dtype = dtype_from_name(text);
  if (!dtype) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: the element type is \"{}\"; squint knows U8, I8, I16, I32, I64, "
                            "F16, BF16, F32, F64",
                            where, text));
  }
  return *dtype;
}

// The data section begins at data_begin and has data_bytes.
SafetensorsEntry read_entry(const std::string& name, const Json& info, std::string_view where,
                            int64_t data_begin, int64_t data_bytes) {
  const std::string tensor = fmt::format("{}: tensor \"{}\"", where, name);
  const Json& offsets = member(info, "data_offsets", tensor);
  if (!offsets.is_array() || offsets.size() != 2) {
    bad_file(tensor, "data_offsets should be a list of two numbers");
  }
  const int64_t begin = size_value(offsets[0], tensor);
  const int64_t end = size_value(offsets[1], tensor);
  if (begin > end) bad_file(tensor, fmt::format("begins at byte {} but ends at {}", begin, end));
  if (end > data_bytes) {
    bad_file(where, fmt::format("tensor \"{}\" ends at byte {} of the data, which has {}; "
                                "incomplete download?",
                                name, end, data_bytes));
  }
  SafetensorsEntry entry{.name = name,
                         .dtype = dtype_member(info, tensor),
                         .shape = shape_member(info, tensor),
                         .begin = data_begin + begin,
                         .end = data_begin + end};
  std::optional<int64_t> bytes = byte_size(entry.dtype);
  for (const int64_t dim : entry.shape.dims()) {
    bytes = bytes ? checked_mul(*bytes, dim) : std::nullopt;
  }
  if (bytes != end - begin) {
    bad_file(tensor, fmt::format("{} {} needs {} bytes, but data_offsets give it {}",
                                 squint::name(entry.dtype), entry.shape.to_string(),
                                 bytes ? std::to_string(*bytes) : "more than 2^63", end - begin));
  }
  return entry;
}

std::map<std::string, std::string> read_metadata(const Json& json, std::string_view where) {
  if (!json.is_object()) {
    bad_file(where,
             fmt::format("{} should be an object, but is {}", kMetadataKey, json.type_name()));
  }
  std::map<std::string, std::string> metadata;
  for (const auto& [key, value] : json.items()) metadata[key] = string_member(json, key, where);
  return metadata;
}

// Entries are sorted by position. Gaps are refused too: the format forbids them, so that no file
// can hide other content.
void check_coverage(const SafetensorsHeader& header, std::string_view where, int64_t data_begin,
                    int64_t file_bytes) {
  int64_t covered = data_begin;
  const SafetensorsEntry* previous = nullptr;
  for (const SafetensorsEntry& entry : header.entries) {
    if (entry.begin < covered) {
      bad_file(where, fmt::format("tensors \"{}\" and \"{}\" overlap at byte {} of the file",
                                  previous->name, entry.name, entry.begin));
    }
    if (entry.begin > covered) {
      bad_file(where, fmt::format("bytes {} to {} of the file, before tensor \"{}\", belong to no "
                                  "tensor",
                                  covered, entry.begin, entry.name));
    }
    covered = entry.end;
    previous = &entry;
  }
  if (covered != file_bytes) {
    bad_file(where, fmt::format("the last tensor ends at byte {}, but the file is longer than its "
                                "header says: {} bytes",
                                covered, file_bytes));
  }
}

// Position of a type in the reference writer's order: larger elements first, so that every tensor
// is aligned.
int write_rank(DType dtype) {
  constexpr std::array kOrder = {DType::i64, DType::f64, DType::f32, DType::i32, DType::bf16,
                                 DType::f16, DType::i16, DType::i8,  DType::u8};
  return static_cast<int>(std::ranges::find(kOrder, dtype) - kOrder.begin());
}

std::string build_header(std::span<const StreamedTensor> tensors,
                         const std::map<std::string, std::string>& metadata) {
  std::string text = "{";
  if (!metadata.empty()) text += fmt::format("\"{}\":{}", kMetadataKey, Json(metadata).dump());
  int64_t offset = 0;
  for (const StreamedTensor& t : tensors) {
    const int64_t end = offset + t.bytes();
    text += fmt::format(R"({}{}:{{"dtype":"{}","shape":{},"data_offsets":[{},{}]}})",
                        text.size() == 1 ? "" : ",", Json(t.name).dump(), squint::name(t.dtype),
                        Json(t.shape.dims()).dump(), offset, end);
    offset = end;
  }
  text += '}';
  text.resize(static_cast<size_t>(round_up(static_cast<int64_t>(text.size()), 8)), ' ');
  return text;
}

}  // namespace

SafetensorsHeader parse_safetensors_header(std::span<const std::byte> file,
                                           std::string_view where) {
  const std::string_view text = header_text(file, where);
  const Json json = parse_json(text, fmt::format("{}: header", where));
  DuplicateKeys duplicates(where);
  SQUINT_CHECK(Json::sax_parse(text, &duplicates));
  const auto file_bytes = static_cast<int64_t>(file.size());
  const int64_t data_begin = kLengthBytes + static_cast<int64_t>(text.size());
  SafetensorsHeader header;
  for (const auto& [name, info] : json.items()) {
    if (name == kMetadataKey) {
      header.metadata = read_metadata(info, where);
    } else {
      header.entries.push_back(read_entry(name, info, where, data_begin, file_bytes - data_begin));
    }
  }
  std::ranges::sort(header.entries, {}, [](const SafetensorsEntry& e) {
    return std::tuple(e.begin, e.end, std::string_view(e.name));
  });
  check_coverage(header, where, data_begin, file_bytes);
  return header;
}

SafetensorsFile::SafetensorsFile(const fs::path& path) {
  const std::shared_ptr<Storage> storage = map_file(path);
  SafetensorsHeader header = parse_safetensors_header(
      {storage->data(), static_cast<size_t>(storage->bytes())}, path.string());
  metadata_ = std::move(header.metadata);
  for (SafetensorsEntry& entry : header.entries) {
    Tensor tensor;
    if (entry.begin % byte_size(entry.dtype) == 0) {
      tensor = Tensor(storage, entry.begin, entry.dtype, entry.shape);
    } else {
      tensor = Tensor::on_host(entry.dtype, entry.shape);
      std::copy_n(storage->data() + entry.begin, entry.end - entry.begin, tensor.raw());
    }
    tensors_.emplace(std::move(entry.name), std::move(tensor));
  }
}

const Tensor* SafetensorsFile::find(std::string_view name) const {
  const auto it = tensors_.find(name);
  return it == tensors_.end() ? nullptr : &it->second;
}

StreamedTensor streamed(NamedTensor named) {
  SQUINT_CHECK(!named.tensor.empty() && named.tensor.device().kind == DeviceKind::cpu);
  const DType dtype = named.tensor.dtype();
  const Shape shape = named.tensor.shape();
  return {.name = std::move(named.name),
          .dtype = dtype,
          .shape = shape,
          .produce = [tensor = std::move(named.tensor)](const StreamedTensor::Sink& sink) {
            advise(tensor, PageUse::soon);
            sink({tensor.raw(), static_cast<size_t>(tensor.bytes())});
            advise(tensor, PageUse::done);
          }};
}

void write_safetensors(const fs::path& path, std::vector<NamedTensor> tensors,
                       const std::map<std::string, std::string>& metadata) {
  std::vector<StreamedTensor> streams;
  std::ranges::transform(tensors, std::back_inserter(streams),
                         [](NamedTensor& t) { return streamed(std::move(t)); });
  stream_safetensors(path, std::move(streams), metadata);
}

void stream_safetensors(const fs::path& path, std::vector<StreamedTensor> tensors,
                        const std::map<std::string, std::string>& metadata) {
  std::ranges::sort(tensors, {}, [](const StreamedTensor& t) {
    return std::tuple(write_rank(t.dtype), std::string_view(t.name));
  });
  std::set<std::string_view> names;
  for (const StreamedTensor& t : tensors) {
    SQUINT_CHECK(t.name != kMetadataKey && names.insert(t.name).second);
  }
  const std::string header = build_header(tensors, metadata);
  int64_t total = kLengthBytes + static_cast<int64_t>(header.size());
  for (const StreamedTensor& t : tensors) total += t.bytes();

  std::array<std::byte, kLengthBytes> length{};
  for (size_t i = 0; i < length.size(); ++i) length[i] = std::byte(header.size() >> (8 * i) & 255);
  AtomicFile file(path, total);
  file.write(length);
  file.write(header);
  for (const StreamedTensor& t : tensors) {
    int64_t missing = t.bytes();
    t.produce([&](std::span<const std::byte> bytes) {
      missing -= static_cast<int64_t>(bytes.size());
      SQUINT_CHECK(missing >= 0);
      file.write(bytes);
    });
    SQUINT_CHECK(missing == 0);
  }
  file.commit();
}

}  // namespace squint::io
