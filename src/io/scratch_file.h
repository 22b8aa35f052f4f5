// scratch_file.h: memory that stands in a file without a name. The kernel may write its pages out
// and drop them whenever memory is needed; they come back when they are touched.
//
// The disk space is reserved before anything is mapped: a disk that is full shows as Error(io)
// here, never as a signal on access. The file is gone when the last storage is, also after a crash.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>

#include "core/tensor.h"

namespace squint::io {

class ScratchFile {
 public:
  // Error(io): no room for so many bytes, or no files can be made in `folder`.
  ScratchFile(const std::filesystem::path& folder, int64_t bytes);

  // The next so many bytes of it, 64-byte aligned, zero at first. There must be that many: see
  // needed_for.
  std::shared_ptr<Storage> allocate(int64_t bytes);

  // What an allocation takes of the file.
  static int64_t needed_for(int64_t bytes);

 private:
  std::shared_ptr<Storage> whole_;
  int64_t used_ = 0;
};

}  // namespace squint::io
