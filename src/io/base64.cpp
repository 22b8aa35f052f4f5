#include "io/base64.h"

#include <fmt/format.h>
#include <openssl/evp.h>

#include <algorithm>
#include <memory>

#include "squint/error.h"

namespace squint::io {
namespace {

constexpr size_t kPart = size_t{1} << 20;  // OpenSSL counts in int

struct FreeContext {
  void operator()(EVP_ENCODE_CTX* context) const { EVP_ENCODE_CTX_free(context); }
};

}  // namespace

std::string encode_base64(std::string_view bytes) {
  static_assert(kPart % 3 == 1);  // parts must be of whole groups
  constexpr size_t kGroups = kPart - 1;
  std::string out((bytes.size() + 2) / 3 * 4 + 1, '\0');  // OpenSSL writes a zero behind its text
  size_t filled = 0;
  for (size_t first = 0; first < bytes.size(); first += kGroups) {
    const std::string_view part = bytes.substr(first, kGroups);
    filled += static_cast<size_t>(EVP_EncodeBlock(
        reinterpret_cast<unsigned char*>(out.data() + filled),
        reinterpret_cast<const unsigned char*>(part.data()), static_cast<int>(part.size())));
  }
  out.resize(filled);
  return out;
}

std::string decode_base64(std::string_view text, std::string_view where) {
  const std::unique_ptr<EVP_ENCODE_CTX, FreeContext> context(EVP_ENCODE_CTX_new());
  if (context == nullptr) throw Error(ErrorCode::out_of_memory, "no memory to decode base64");
  EVP_DecodeInit(context.get());
  std::string out(text.size() / 4 * 3 + 3, '\0');
  size_t filled = 0;
  const auto at = [&] { return reinterpret_cast<unsigned char*>(out.data() + filled); };
  bool valid = true;
  for (size_t first = 0; valid && first < text.size(); first += kPart) {
    const std::string_view part = text.substr(first, kPart);
    int count = 0;
    valid = EVP_DecodeUpdate(context.get(), at(), &count,
                             reinterpret_cast<const unsigned char*>(part.data()),
                             static_cast<int>(part.size())) >= 0;
    filled += static_cast<size_t>(count);
  }
  int count = 0;
  valid = valid && EVP_DecodeFinal(context.get(), at(), &count) >= 0;
  // OpenSSL stops at the padding; what follows would be passed over.
  const size_t padding = text.find('=');
  valid = valid && (padding == text.npos || text.find_first_not_of("=\r\n", padding) == text.npos);
  if (!valid) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected base64, found \"{}\"", where,
                            text.substr(0, std::min<size_t>(32, text.size()))));
  }
  out.resize(filled + static_cast<size_t>(count));
  return out;
}

}  // namespace squint::io
