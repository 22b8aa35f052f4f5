// fingerprint.h: SHA-256, and a short name for the contents of a checkpoint.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>

#include "io/checkpoint.h"

namespace squint::io {

// 64 hexadecimal digits.
std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);
// Of a file, read piece by piece; `on_piece` is called between them and may throw to stop.
// Error(io) where it cannot be read.
std::string sha256_of_file(
    const std::filesystem::path& file, const std::function<void()>& on_piece = [] {});

// Tells checkpoints apart without reading them whole: a hash of config.json and of every tensor's
// name, type, shape and sixteen evenly spaced samples of its bytes. Not proof against intent.
std::string fingerprint(const Checkpoint& checkpoint);

}  // namespace squint::io
