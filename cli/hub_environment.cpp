#include "hub_environment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <fstream>
#include <initializer_list>
#include <string>
#include <system_error>

#include "squint/error.h"

namespace squint::cli {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxTokenBytes = 64 << 10;

// The first that is set and not empty.
std::string variable(std::initializer_list<const char*> names) {
  for (const char* name : names) {
    const char* value = std::getenv(name);
    if (value != nullptr && *value != '\0') return value;
  }
  return "";
}

bool is_true(const char* name) {
  std::string value = variable({name});
  std::ranges::transform(value, value.begin(),
                         [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return value == "1" || value == "ON" || value == "YES" || value == "TRUE";
}

std::string trimmed(const std::string& text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

fs::path user_cache() {
  const std::string given = variable({"XDG_CACHE_HOME"});
  if (!given.empty()) return given;
  const std::string home = variable({"HOME"});
  return home.empty() ? fs::path() : fs::path(home) / ".cache";
}

// An absent file is no token; one that is there and cannot be read is an error.
std::string read_token(const fs::path& file) {
  std::error_code error;
  if (file.empty() || !fs::exists(file, error)) return "";
  std::ifstream in(file, std::ios::binary);
  std::string text(kMaxTokenBytes, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  if (in.bad() || (in.gcount() == 0 && !in.eof())) {
    throw Error(ErrorCode::io, fmt::format("{}: the token in it cannot be read", file.string()));
  }
  text.resize(static_cast<size_t>(in.gcount()));
  return trimmed(text);
}

void apply_hugging_face(PullOptions& options) {
  for (const char* name : {"HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE"}) {
    if (is_true(name)) {
      throw Error(ErrorCode::usage,
                  fmt::format("{} is set, which forbids the network: unset it to download", name));
    }
  }
  const fs::path cache = user_cache();
  fs::path home = variable({"HF_HOME"});
  if (home.empty() && !cache.empty()) home = cache / "huggingface";
  options.endpoint = variable({"HF_ENDPOINT"});
  options.cache = variable({"HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE"});
  if (options.cache.empty() && !home.empty()) options.cache = home / "hub";
  if (is_true("HF_HUB_DISABLE_IMPLICIT_TOKEN")) return;
  options.token = trimmed(variable({"HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"}));
  if (!options.token.empty()) return;
  const fs::path file = variable({"HF_TOKEN_PATH"});
  options.token = read_token(file.empty() && !home.empty() ? home / "token" : file);
}

void apply_modelscope(PullOptions& options) {
  const std::string domain = variable({"MODELSCOPE_DOMAIN"});
  options.endpoint = variable({"MODELSCOPE_ENDPOINT"});
  if (options.endpoint.empty() && !domain.empty()) {
    options.endpoint = domain.find("://") == std::string::npos ? "https://" + domain : domain;
  }
  options.token = trimmed(variable({"MODELSCOPE_API_TOKEN"}));
  options.cache = variable({"MODELSCOPE_CACHE"});
  const std::string home = variable({"HOME"});
  if (options.cache.empty() && !home.empty()) {
    options.cache = fs::path(home) / ".cache" / "modelscope";
  }
}

}  // namespace

void apply_environment(PullOptions& options) {
  if (options.hub == HubKind::hugging_face) {
    apply_hugging_face(options);
  } else {
    apply_modelscope(options);
  }
  options.certificates = variable({"CURL_CA_BUNDLE", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE"});
}

}  // namespace squint::cli
