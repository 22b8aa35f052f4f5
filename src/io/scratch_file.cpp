#include "io/scratch_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <string>
#include <system_error>

#include "base/check.h"
#include "base/checked_math.h"
#include "io/atomic_file.h"
#include "io/descriptor.h"
#include "io/os_error.h"
#include "squint/error.h"

namespace squint::io {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kAlignment = 64;

class MappedScratch final : public Storage {
 public:
  MappedScratch(void* data, int64_t bytes) : Storage(data, bytes, Device{}) {}
  ~MappedScratch() override { munmap(data(), static_cast<size_t>(bytes())); }
};

// A part that keeps the whole mapped.
class Part final : public Storage {
 public:
  Part(std::shared_ptr<Storage> whole, int64_t offset, int64_t bytes)
      : Storage(whole->data() + offset, bytes, Device{}), whole_(std::move(whole)) {}

 private:
  std::shared_ptr<Storage> whole_;
};

int open_without_name(const fs::path& folder) {
  int descriptor = ::open(folder.c_str(), O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (descriptor >= 0) return descriptor;
  // Not every file system has files without names; there it loses its name at once.
  std::string name = (folder / ".squint-scratch-XXXXXX").string();
  descriptor = ::mkostemp(name.data(), O_CLOEXEC);
  if (descriptor < 0) throw_os_error("create a scratch file in", folder, errno);
  ::unlink(name.c_str());
  return descriptor;
}

void reserve(const Descriptor& file, const fs::path& folder, int64_t bytes) {
  int error = 0;
  do {
    error = ::posix_fallocate(file.value(), 0, bytes);
  } while (error == EINTR);
  if (error == 0) return;
  throw Error(ErrorCode::io,
              fmt::format("{}: cannot reserve {} bytes for a scratch file: {}; {} "
                          "are available; make room, or allow more memory",
                          folder.string(), bytes, std::generic_category().message(error),
                          available_bytes(folder)));
}

}  // namespace

ScratchFile::ScratchFile(const fs::path& folder, int64_t bytes) {
  SQUINT_CHECK(bytes > 0);
  const Descriptor file(open_without_name(folder));
  reserve(file, folder, bytes);
  void* data = mmap(nullptr, static_cast<size_t>(bytes), PROT_READ | PROT_WRITE, MAP_SHARED,
                    file.value(), 0);
  if (data == MAP_FAILED) throw_os_error("map a scratch file in", folder, errno);
  whole_ = std::make_shared<MappedScratch>(data, bytes);
}

int64_t ScratchFile::needed_for(int64_t bytes) { return round_up(bytes, kAlignment); }

std::shared_ptr<Storage> ScratchFile::allocate(int64_t bytes) {
  const int64_t offset = used_;
  SQUINT_CHECK(bytes >= 0 && needed_for(bytes) <= whole_->bytes() - offset);
  used_ += needed_for(bytes);
  return std::make_shared<Part>(whole_, offset, bytes);
}

}  // namespace squint::io
