// tiny_disk.h: a file system that is soon full.
#pragma once

#include <sys/mount.h>

#include <filesystem>

namespace squint::test {

// Mounted over `folder` until the end of the scope; ok() is false where mounting is not permitted.
class TinyDisk {
 public:
  explicit TinyDisk(const std::filesystem::path& folder)
      : folder_(folder),
        ok_(mount("tmpfs", folder.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, "size=64k") == 0) {}
  ~TinyDisk() {
    if (ok_) umount2(folder_.c_str(), MNT_DETACH);
  }
  TinyDisk(const TinyDisk&) = delete;
  TinyDisk& operator=(const TinyDisk&) = delete;
  bool ok() const { return ok_; }

 private:
  std::filesystem::path folder_;
  bool ok_;
};

inline constexpr const char* kNoMount = "skipped: mounting is not permitted here";

}  // namespace squint::test
