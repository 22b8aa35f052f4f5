#include "io/mapped_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "io/descriptor.h"
#include "io/os_error.h"
#include "squint/error.h"

namespace squint::io {
namespace fs = std::filesystem;
namespace {

class MappedStorage final : public Storage {
 public:
  MappedStorage(void* data, int64_t bytes) : Storage(data, bytes, Device{}) {}
  ~MappedStorage() override { munmap(data(), static_cast<size_t>(bytes())); }
};

// O_NONBLOCK: opening a named pipe must not wait for somebody to write to it.
int open_to_read(const fs::path& path) {
  const int descriptor = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
  if (descriptor < 0) throw_os_error("open", path, errno);
  return descriptor;
}

int64_t regular_file_size(const Descriptor& file, const fs::path& path) {
  struct stat info {};
  if (fstat(file.value(), &info) != 0) throw_os_error("inspect", path, errno);
  if (!S_ISREG(info.st_mode)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected a file, found {}", path.string(),
                            S_ISDIR(info.st_mode) ? "a folder" : "a device, pipe or socket"));
  }
  return info.st_size;
}

}  // namespace

std::shared_ptr<Storage> map_file(const fs::path& path) {
  const Descriptor file(open_to_read(path));
  const int64_t bytes = regular_file_size(file, path);
  if (bytes == 0) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the file is empty; interrupted copy or download?", path.string()));
  }
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ, MAP_PRIVATE, file.value(), 0);
  if (data == MAP_FAILED) throw_os_error("map", path, errno);
  return std::make_shared<MappedStorage>(data, bytes);
}

void advise(const Tensor& tensor, PageUse use) {
  if (dynamic_cast<const MappedStorage*>(tensor.storage().get()) == nullptr) return;
  const auto page = static_cast<uintptr_t>(::sysconf(_SC_PAGESIZE));
  auto begin = reinterpret_cast<uintptr_t>(tensor.raw());
  auto end = begin + static_cast<uintptr_t>(tensor.bytes());
  if (use == PageUse::soon) {
    begin = begin / page * page;
  } else {
    // The first and the last page may hold parts of other tensors.
    begin = (begin + page - 1) / page * page;
    end = end / page * page;
  }
  if (begin >= end) return;
  // Only a hint: where the system refuses it, the work is slower.
  ::madvise(reinterpret_cast<void*>(begin), end - begin,
            use == PageUse::soon ? MADV_WILLNEED : MADV_DONTNEED);
}

std::string read_file(const fs::path& path, int64_t max_bytes) {
  const Descriptor file(open_to_read(path));
  const int64_t expected = regular_file_size(file, path);
  if (expected > max_bytes) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the file has {} bytes, more than the {} that make sense for it",
                            path.string(), expected, max_bytes));
  }
  std::string text(static_cast<size_t>(expected), '\0');
  size_t filled = 0;
  while (filled < text.size()) {
    const ssize_t got = ::read(file.value(), text.data() + filled, text.size() - filled);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) throw_os_error("read", path, errno);
    if (got == 0) break;  // Somebody made the file shorter: what is there is all there is.
    filled += static_cast<size_t>(got);
  }
  text.resize(filled);
  return text;
}

}  // namespace squint::io
