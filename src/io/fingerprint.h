// fingerprint.h: SHA-256, and a short name for the contents of a checkpoint.
#pragma once

#include <cstddef>
#include <span>
#include <string>
#include <string_view>

#include "io/checkpoint.h"

namespace squint::io {

// 64 hexadecimal digits.
std::string sha256(std::span<const std::byte> bytes);
std::string sha256(std::string_view text);

// Tells checkpoints apart without reading them whole: a hash of config.json and of every tensor's
// name, type, shape and sixteen evenly spaced samples of its bytes. Not proof against intent.
std::string fingerprint(const Checkpoint& checkpoint);

}  // namespace squint::io
