// digest.h: a file's digest as the hubs state it, taken piece by piece.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "hub/repository.h"

namespace squint::hub {

// sha256: of the bytes. git_sha1: SHA-1 of "blob SIZE\0" and the bytes, which is why the size must
// be known first. none: takes bytes, finds nothing.
class Digest {
 public:
  Digest(DigestKind kind, int64_t size);
  ~Digest();
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;

  void add(std::string_view bytes);
  std::string finish();  // hexadecimal; empty for none

 private:
  struct State;
  std::unique_ptr<State> state_;
};

// "sha256:..." or "git-sha1:...", or nothing.
std::string named_digest(const RepoFile& file);

}  // namespace squint::hub
