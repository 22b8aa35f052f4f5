#include "io/atomic_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <system_error>
#include <utility>

#include "io/os_error.h"
#include "squint/error.h"

namespace squint::io {
namespace fs = std::filesystem;
namespace {

fs::path folder_of(const fs::path& file) {
  return file.has_parent_path() ? file.parent_path() : fs::path(".");
}

// Unique among the threads and processes of this machine. Another machine writing to the same
// network folder, or a file left by a crash, is what O_EXCL is for.
fs::path temporary_name(const fs::path& target) {
  static std::atomic<uint64_t> counter{0};
  return folder_of(target) / fmt::format(".{}.partial-{}-{}", target.filename().string(),
                                         ::getpid(), counter.fetch_add(1));
}

bool is_full(int error) { return error == ENOSPC || error == EDQUOT; }

}  // namespace

AtomicFile::AtomicFile(fs::path target, int64_t expected_bytes) : target_(std::move(target)) {
  do {
    temporary_ = temporary_name(target_);
    descriptor_ = ::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
  } while (descriptor_ < 0 && errno == EEXIST);
  if (descriptor_ < 0) fail("create", errno, expected_bytes);
  try {
    reserve(expected_bytes);
  } catch (...) {
    // The destructor does not run for an object whose constructor throws.
    ::close(descriptor_);
    ::unlink(temporary_.c_str());
    throw;
  }
}

AtomicFile::~AtomicFile() {
  if (descriptor_ < 0) return;
  ::close(descriptor_);
  ::unlink(temporary_.c_str());
}

void AtomicFile::reserve(int64_t bytes) {
  if (bytes <= 0) return;
  // FALLOC_FL_KEEP_SIZE: a file that turns out shorter than promised must not end in zeros.
  while (::fallocate(descriptor_, FALLOC_FL_KEEP_SIZE, 0, bytes) != 0) {
    if (errno == EINTR) continue;
    // Not every file system can reserve; there a full disk shows when it is full.
    if (is_full(errno)) fail("write", errno, bytes);
    return;
  }
}

void AtomicFile::write(std::span<const std::byte> bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(descriptor_, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) fail("write", errno, static_cast<int64_t>(bytes.size()));
    bytes = bytes.subspan(static_cast<size_t>(written));
    written_ += written;
  }
  // On their way to the disk while the next ones are made, so that commit() has little to wait for.
  // A hint: where it fails, commit() will say why.
  constexpr int64_t kPiece = int64_t{64} << 20;
  if (written_ - flushing_ < kPiece) return;
  ::sync_file_range(descriptor_, flushing_, written_ - flushing_, SYNC_FILE_RANGE_WRITE);
  flushing_ = written_;
}

void AtomicFile::commit() {
  // Before the rename: otherwise a power cut could leave the new name on an empty file.
  if (::fsync(descriptor_) != 0) fail("write", errno, 0);
  if (::rename(temporary_.c_str(), target_.c_str()) != 0) fail("write", errno, 0);
  ::close(std::exchange(descriptor_, -1));
  sync_folder(folder_of(target_));
}

void AtomicFile::fail(std::string_view action, int error, int64_t needed_bytes) const {
  if (!is_full(error)) throw_os_error(action, target_, error);
  throw Error(ErrorCode::io,
              fmt::format("cannot {} {}: {}; {} more bytes are needed, {} are available", action,
                          target_.string(), std::generic_category().message(error), needed_bytes,
                          available_bytes(folder_of(target_))));
}

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  AtomicFile file(path, static_cast<int64_t>(bytes.size()));
  file.write(bytes);
  file.commit();
}

fs::path nearest_folder(fs::path folder) {
  std::error_code error;
  folder = fs::absolute(folder, error);
  while (!fs::is_directory(folder, error) && folder != folder.root_path()) {
    folder = folder.parent_path();
  }
  return folder;
}

int64_t available_bytes(const fs::path& folder) {
  struct statvfs info {};
  if (::statvfs(folder.c_str(), &info) != 0) throw_os_error("inspect", folder, errno);
  return static_cast<int64_t>(info.f_bavail) * static_cast<int64_t>(info.f_frsize);
}

void sync_folder(const fs::path& folder) {
  const int descriptor = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (descriptor < 0) throw_os_error("open", folder, errno);
  const int result = ::fsync(descriptor);
  const int error = errno;
  ::close(descriptor);
  // EINVAL: a file system that has nothing to flush for folders.
  if (result != 0 && error != EINVAL) throw_os_error("flush", folder, error);
}

}  // namespace squint::io
