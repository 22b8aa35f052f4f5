#include "io/fingerprint.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <fstream>
#include <memory>
#include <vector>

#include "base/check.h"
#include "io/os_error.h"

namespace squint::io {
namespace {

class Sha256 {
 public:
  Sha256() { SQUINT_CHECK(EVP_DigestInit_ex(context_.get(), EVP_sha256(), nullptr) == 1); }

  void add(std::span<const std::byte> bytes) {
    SQUINT_CHECK(EVP_DigestUpdate(context_.get(), bytes.data(), bytes.size()) == 1);
  }

  std::string finish() {
    std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
    unsigned int size = 0;
    SQUINT_CHECK(EVP_DigestFinal_ex(context_.get(), digest.data(), &size) == 1);
    std::string hex;
    for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
    return hex;
  }

 private:
  struct Free {
    void operator()(EVP_MD_CTX* context) const { EVP_MD_CTX_free(context); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context_{EVP_MD_CTX_new()};
};

}  // namespace

std::string sha256(std::span<const std::byte> bytes) {
  Sha256 hash;
  hash.add(bytes);
  return hash.finish();
}

std::string sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

// Read, not mapped: a shard of gigabytes would count as resident memory.
std::string sha256_of_file(const std::filesystem::path& file,
                           const std::function<void()>& on_piece) {
  constexpr size_t kPieceBytes = 4 << 20;
  std::ifstream in(file, std::ios::binary);
  if (!in) throw_os_error("open", file, errno);
  Sha256 hash;
  std::vector<char> piece(kPieceBytes);
  while (in) {
    in.read(piece.data(), static_cast<std::streamsize>(piece.size()));
    hash.add(std::as_bytes(std::span(piece).first(static_cast<size_t>(in.gcount()))));
    on_piece();
  }
  if (in.bad()) throw_os_error("read", file, errno);
  return hash.finish();
}

std::string fingerprint(const Checkpoint& checkpoint) {
  constexpr int64_t kSamples = 16;
  constexpr int64_t kSampleBytes = 64;
  std::string facts = checkpoint.config_text();
  for (const std::string& name : checkpoint.names()) {
    const Tensor& tensor = *checkpoint.find(name);
    facts +=
        fmt::format("\n{} {} {} ", name, squint::name(tensor.dtype()), tensor.shape().to_string());
    const int64_t size = tensor.bytes();
    const int64_t length = std::min(size, kSampleBytes);
    for (int64_t i = 0; i < kSamples; ++i) {
      const int64_t at = (size - length) * i / (kSamples - 1);
      facts.append(reinterpret_cast<const char*>(tensor.raw() + at), static_cast<size_t>(length));
    }
  }
  return sha256(facts);
}

}  // namespace squint::io
