// mapped_file.h: files as memory.
//
// A mapping is private and read-only: writing to it faults, and pages come from disk when first
// touched, so mapping a shard costs nothing. A file that another process truncates while it is
// mapped raises SIGBUS on access; checkpoints are replaced by rename, never rewritten in place.
//
// Error(io): missing, no permission, or the system's reason. Error(bad_input): empty, a folder or a
// device instead of a file, larger than allowed.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

#include "core/tensor.h"

namespace squint::io {

// The whole file, unmapped when the last tensor that uses it is gone.
std::shared_ptr<Storage> map_file(const std::filesystem::path& path);

// What is about to be done with a mapped tensor; nothing happens to others. Bytes never change:
// pages that were given back are read again when they are touched.
enum class PageUse : uint8_t {
  soon,  // start reading them, while something else is computed
  done,  // give their memory back before that of others is needed
};
void advise(const Tensor& tensor, PageUse use);

// The bytes of a small file, which may be empty.
std::string read_file(const std::filesystem::path& path, int64_t max_bytes);

}  // namespace squint::io
