#include "hub/digest.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <array>

#include "base/check.h"

namespace squint::hub {

struct Digest::State {
  struct Free {
    void operator()(EVP_MD_CTX* digest) const { EVP_MD_CTX_free(digest); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};
};

Digest::Digest(DigestKind kind, int64_t size) {
  if (kind == DigestKind::none) return;
  state_ = std::make_unique<State>();
  const EVP_MD* algorithm = kind == DigestKind::sha256 ? EVP_sha256() : EVP_sha1();
  SQUINT_CHECK(EVP_DigestInit_ex(state_->context.get(), algorithm, nullptr) == 1);
  if (kind == DigestKind::git_sha1) add(fmt::format("blob {}", size) + '\0');
}

Digest::~Digest() = default;
Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;

void Digest::add(std::string_view bytes) {
  if (!state_) return;
  SQUINT_CHECK(EVP_DigestUpdate(state_->context.get(), bytes.data(), bytes.size()) == 1);
}

std::string Digest::finish() {
  if (!state_) return "";
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  SQUINT_CHECK(EVP_DigestFinal_ex(state_->context.get(), digest.data(), &size) == 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

std::string named_digest(const RepoFile& file) {
  switch (file.kind) {
    case DigestKind::sha256:
      return "sha256:" + file.digest;
    case DigestKind::git_sha1:
      return "git-sha1:" + file.digest;
    case DigestKind::none:
      break;
  }
  return "";
}

}  // namespace squint::hub
