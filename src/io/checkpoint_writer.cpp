#include "io/checkpoint_writer.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/json.h"
#include "io/atomic_file.h"
#include "io/checkpoint.h"
#include "io/mapped_file.h"
#include "io/os_error.h"

namespace squint::io {
namespace fs = std::filesystem;
namespace {

// The working folder of a writer that cannot work beside its final folder.
constexpr const char* kInnerFolderName = ".partial";

[[noreturn]] void refuse_folder(const fs::path& folder) {
  throw Error(
      ErrorCode::bad_input,
      fmt::format("{} exists and is not empty; name another folder or remove it", folder.string()));
}

// Volumes of containers, mostly; their parent folder often is not even writable.
bool is_mount_point(const fs::path& folder) {
  struct statx info {};
  return ::statx(AT_FDCWD, folder.c_str(), 0, STATX_BASIC_STATS, &info) == 0 &&
         (info.stx_attributes & STATX_ATTR_MOUNT_ROOT) != 0;
}

void make_working_folder(const fs::path& working) {
  std::error_code error;
  const fs::path parent = working.parent_path();
  fs::create_directories(parent, error);
  if (error) throw_os_error("create folder", parent, error.value());
  fs::create_directory(working, error);
  if (error) throw_os_error("create folder", working, error.value());
}

void empty_folder(const fs::path& folder) {
  std::error_code error;
  for (fs::directory_iterator it(folder, error), end; !error && it != end; it.increment(error)) {
    fs::remove_all(it->path(), error);
    if (error) break;
  }
  if (error) throw_os_error("empty folder", folder, error.value());
}

bool is_side_file(const fs::path& file) {
  constexpr std::array<std::string_view, 11> kWeights = {
      ".safetensors", ".bin", ".pt",      ".pth", ".ckpt",      ".gguf",
      ".onnx",        ".h5",  ".msgpack", ".npz", ".index.json"};
  const std::string name = file.filename().string();
  return !name.starts_with('.') && std::ranges::none_of(kWeights, [&](std::string_view ending) {
    return name.ends_with(ending);
  });
}

int64_t total_bytes(std::span<const StreamedTensor> tensors) {
  int64_t bytes = 0;
  for (const StreamedTensor& t : tensors) bytes += t.bytes();
  return bytes;
}

std::vector<std::vector<StreamedTensor>> cut_into_shards(std::span<const StreamedTensor> tensors,
                                                         int64_t max_bytes) {
  std::vector<std::vector<StreamedTensor>> shards(1);
  int64_t bytes = 0;
  for (const StreamedTensor& t : tensors) {
    if (!shards.back().empty() && bytes + t.bytes() > max_bytes) {
      shards.emplace_back();
      bytes = 0;
    }
    shards.back().push_back(t);
    bytes += t.bytes();
  }
  return shards;
}

}  // namespace

bool is_vacant(const fs::path& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (!fs::exists(status)) {
    if (status.type() == fs::file_type::none) throw_os_error("inspect", folder, error.value());
    return true;
  }
  if (!fs::is_directory(status)) return false;
  bool vacant = true;
  fs::directory_iterator it(folder, error);
  for (const fs::directory_iterator end; !error && vacant && it != end; it.increment(error)) {
    vacant = it->path().filename() == kInnerFolderName;
  }
  if (error) throw_os_error("list", folder, error.value());
  return vacant;
}

// Held by the one writer of a folder; the system releases it when the process ends, however it
// ends.
class CheckpointWriter::FolderLock {
 public:
  explicit FolderLock(const fs::path& folder)
      : descriptor_(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) {
    if (descriptor_ < 0) throw_os_error("open", folder, errno);
    const bool locked = ::flock(descriptor_, LOCK_EX | LOCK_NB) == 0;
    const int error = errno;
    // A writer that ended just now has removed or renamed the folder that was opened.
    if (locked && is_at(folder)) return;
    ::close(descriptor_);
    if (!locked && error != EWOULDBLOCK) throw_os_error("lock", folder, error);
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: another writer is filling it; wait for it or name another folder",
                            folder.string()));
  }
  ~FolderLock() { ::close(descriptor_); }
  FolderLock(const FolderLock&) = delete;
  FolderLock& operator=(const FolderLock&) = delete;

 private:
  bool is_at(const fs::path& folder) const {
    struct stat opened {};
    struct stat found {};
    return ::fstat(descriptor_, &opened) == 0 && ::lstat(folder.c_str(), &found) == 0 &&
           opened.st_dev == found.st_dev && opened.st_ino == found.st_ino;
  }

  int descriptor_;
};

CheckpointWriter::CheckpointWriter(const fs::path& final_folder, int64_t max_shard_bytes)
    : max_shard_bytes_(max_shard_bytes) {
  SQUINT_CHECK(max_shard_bytes > 0);
  std::error_code error;
  // Resolves "out/", ".." and links, so that the rename works on the folder itself.
  final_folder_ = fs::weakly_canonical(fs::absolute(final_folder), error);
  if (error) throw_os_error("inspect", final_folder, error.value());
  if (!final_folder_.has_filename()) final_folder_ = final_folder_.parent_path();
  if (!is_vacant(final_folder_)) refuse_folder(final_folder_);
  // What was a mount point when its writer was killed may be a plain folder now.
  const fs::path inside = final_folder_ / kInnerFolderName;
  fills_in_place_ = is_mount_point(final_folder_) || fs::exists(inside, error);
  working_folder_ = fills_in_place_ ? inside : fs::path(final_folder_.string() + ".partial");
  make_working_folder(working_folder_);
  lock_ = std::make_unique<const FolderLock>(working_folder_);
  empty_folder(working_folder_);
}

CheckpointWriter::~CheckpointWriter() {
  if (published_) return;
  std::error_code ignored;
  fs::remove_all(working_folder_, ignored);
}

void CheckpointWriter::add(StreamedTensor tensor) { tensors_.push_back(std::move(tensor)); }

void CheckpointWriter::copy_side_files(const fs::path& source_folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator it(source_folder, error), end; !error && it != end;
       it.increment(error)) {
    // Hubs keep checkpoints as links to files elsewhere: links to files count as files.
    std::error_code broken_link;
    if (it->is_regular_file(broken_link) && is_side_file(it->path())) files.push_back(it->path());
  }
  if (error) throw_os_error("list", source_folder, error.value());
  for (const fs::path& file : files) {
    const std::string name = file.filename().string();
    if (side_files_.contains(name)) continue;
    if (fs::file_size(file, error) == 0 && !error) {
      write_side_file(name, "");
      continue;
    }
    const std::shared_ptr<Storage> bytes = map_file(file);
    write_side_file(
        name, {reinterpret_cast<const char*>(bytes->data()), static_cast<size_t>(bytes->bytes())});
  }
}

void CheckpointWriter::write_side_file(const std::string& file_name, std::string_view text) {
  SQUINT_CHECK(!published_);
  write_file_atomically(working_folder_ / file_name, text);
  side_files_.insert(file_name);
}

void CheckpointWriter::write_weights(int64_t total_parameters) {
  SQUINT_CHECK(!weights_written_ && !tensors_.empty());
  // Shards are reserved one by one; that the last does not fit should show before the first.
  const int64_t needed = total_bytes(tensors_);
  const int64_t available = available_bytes(working_folder_);
  if (needed > available) {
    throw Error(ErrorCode::io,
                fmt::format("cannot write {}: the disk is full; {} bytes are needed, {} are "
                            "available",
                            final_folder_.string(), needed, available));
  }
  weights_written_ = true;
  std::ranges::sort(tensors_, {}, &StreamedTensor::name);
  const auto same = std::ranges::adjacent_find(tensors_, {}, &StreamedTensor::name);
  SQUINT_CHECK(same == tensors_.end());
  const std::vector<std::vector<StreamedTensor>> shards =
      cut_into_shards(tensors_, max_shard_bytes_);
  if (shards.size() == 1) {
    stream_safetensors(working_folder_ / kSingleFileName, shards.front());
    return;
  }
  Json weight_map = Json::object();
  for (size_t i = 0; i < shards.size(); ++i) {
    const std::string name = fmt::format("model-{:05}-of-{:05}.safetensors", i + 1, shards.size());
    for (const StreamedTensor& t : shards[i]) weight_map[t.name] = name;
    stream_safetensors(working_folder_ / name, shards[i]);
  }
  const Json index = {
      {"metadata", {{"total_parameters", total_parameters}, {"total_size", total_bytes(tensors_)}}},
      {"weight_map", weight_map}};
  write_file_atomically(working_folder_ / kIndexFileName, index.dump(2) + "\n");
}

void CheckpointWriter::publish(int64_t total_parameters) {
  SQUINT_CHECK(!published_);
  if (!weights_written_) write_weights(total_parameters);
  fills_in_place_ ? move_files() : rename_folder();
  published_ = true;
  lock_.reset();
}

void CheckpointWriter::rename_folder() {
  if (::rename(working_folder_.c_str(), final_folder_.c_str()) != 0) {
    // Somebody else has filled the folder meanwhile.
    if (errno == ENOTEMPTY || errno == EEXIST || errno == ENOTDIR) refuse_folder(final_folder_);
    throw_os_error("create folder", final_folder_, errno);
  }
  sync_folder(final_folder_.parent_path());
}

void CheckpointWriter::move_files() {
  std::vector<fs::path> names;
  for (const fs::directory_entry& entry : fs::directory_iterator(working_folder_)) {
    names.push_back(entry.path().filename());
  }
  std::partition(names.begin(), names.end(),
                 [](const fs::path& name) { return name != kConfigFileName; });
  for (const fs::path& name : names) {
    const fs::path target = final_folder_ / name;
    if (::rename((working_folder_ / name).c_str(), target.c_str()) != 0) {
      throw_os_error("create", target, errno);
    }
  }
  sync_folder(final_folder_);
  std::error_code ignored;
  fs::remove(working_folder_, ignored);
}

}  // namespace squint::io
