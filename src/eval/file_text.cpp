#include "eval/file_text.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "squint/error.h"

namespace squint::eval {
namespace {

[[noreturn]] void cannot_read(const std::filesystem::path& path) {
  throw Error(ErrorCode::io,
              fmt::format("{}: cannot be read: {}", path.string(), std::strerror(errno)));
}

}  // namespace

std::string read_file_text(const std::filesystem::path& path, int64_t max_bytes) {
  struct Descriptor {
    int fd;
    ~Descriptor() {
      if (fd >= 0) ::close(fd);
    }
  };
  const Descriptor file{::open(path.c_str(), O_RDONLY | O_CLOEXEC)};
  if (file.fd < 0) cannot_read(path);
  std::string text;
  std::array<char, 1 << 16> block;
  while (true) {  // Reads to the end rather than to a size: pipes have none.
    const ssize_t got = ::read(file.fd, block.data(), block.size());
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) cannot_read(path);
    if (got == 0) return text;
    text.append(block.data(), static_cast<size_t>(got));
    if (static_cast<int64_t>(text.size()) > max_bytes) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: larger than {} bytes; not a file of this kind?", path.string(),
                              max_bytes));
    }
  }
}

}  // namespace squint::eval
