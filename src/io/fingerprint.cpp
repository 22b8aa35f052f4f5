#include "io/fingerprint.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <array>

#include "base/check.h"

namespace squint::io {

std::string sha256(std::span<const std::byte> bytes) {
  std::array<unsigned char, EVP_MAX_MD_SIZE> digest{};
  unsigned int size = 0;
  SQUINT_CHECK(
      EVP_Digest(bytes.data(), bytes.size(), digest.data(), &size, EVP_sha256(), nullptr) == 1);
  std::string hex;
  for (unsigned int i = 0; i < size; ++i) hex += fmt::format("{:02x}", digest[i]);
  return hex;
}

std::string sha256(std::string_view text) { return sha256(std::as_bytes(std::span(text))); }

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
