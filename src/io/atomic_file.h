// atomic_file.h: files that appear whole or not at all.
//
// Bytes go to a hidden temporary file beside the target; commit() flushes it to disk and renames it
// over the target. Without commit the target is untouched and the destructor removes the temporary
// file. All failures are Error(io); for a full disk the message says how many bytes were needed and
// how many the disk has left.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <span>
#include <string_view>

namespace squint::io {

class AtomicFile {
 public:
  // expected_bytes, where known, is reserved on disk at once: a full disk shows before the work.
  explicit AtomicFile(std::filesystem::path target, int64_t expected_bytes = 0);
  ~AtomicFile();
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;

  void write(std::span<const std::byte> bytes);
  void write(std::string_view text) { write(std::as_bytes(std::span(text))); }
  void commit();

 private:
  void reserve(int64_t bytes);
  [[noreturn]] void fail(std::string_view action, int error, int64_t needed_bytes) const;

  std::filesystem::path target_;
  std::filesystem::path temporary_;
  int descriptor_ = -1;
  int64_t written_ = 0;
  int64_t flushing_ = 0;  // of them, on their way to the disk
};

void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

// Bytes an unprivileged process can still write to the file system that holds `folder`.
int64_t available_bytes(const std::filesystem::path& folder);

// That folder or the nearest one above it that is there.
std::filesystem::path nearest_folder(std::filesystem::path folder);

// Makes a rename inside `folder` survive a power cut.
void sync_folder(const std::filesystem::path& folder);

}  // namespace squint::io
