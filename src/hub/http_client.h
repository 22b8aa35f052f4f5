// http_client.h: HTTP requests, several at a time, on the thread that calls step().
//
// One request is one exchange: redirects are answers like others, so that whoever sends credentials
// decides about every address anew. Certificates are verified, only http and https are spoken,
// proxies are curl's (http_proxy, HTTPS_PROXY, ALL_PROXY, NO_PROXY). Bodies are taken as they are:
// no compression is asked for, a compressed one is a failure.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "squint/pull.h"

namespace squint::hub {

struct ByteRange {
  int64_t begin = 0;
  int64_t end = 0;  // one past the last
  int64_t size() const { return end - begin; }
  bool operator==(const ByteRange&) const = default;
};

struct HttpResponse {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;
  std::string body;  // where nobody took it

  // Of the first header of that name, in any case; nullptr where there is none.
  const std::string* header(std::string_view name) const;
};

struct HttpRequest {
  std::string url;
  std::vector<std::string> headers;  // "Name: value"
  std::optional<ByteRange> range;
  // Takes pieces of the body of answers with status 200 and 206; false ends the exchange as
  // refused. Other bodies, or all where this is empty, are kept in the response up to
  // max_kept_bytes.
  std::function<bool(const HttpResponse& head, std::string_view piece)> on_body;
  int64_t max_kept_bytes = 256 << 20;
};

struct HttpResult {
  HttpResponse response;
  std::string failure;  // why the exchange did not end as it should; empty where it did
  bool refused = false;
  bool hopeless = false;  // another try would fail too: a certificate, an address
};

class HttpClient {
 public:
  using Id = uint64_t;
  struct Finished {
    Id id = 0;
    HttpResult result;
  };

  explicit HttpClient(const PullPatience& patience, const std::filesystem::path& certificates = {});
  ~HttpClient();
  HttpClient(const HttpClient&) = delete;
  HttpClient& operator=(const HttpClient&) = delete;

  Id start(HttpRequest request);
  void cancel(Id id);
  // Moves bytes, waiting at most that long for some; returns the exchanges that ended. Throws what
  // an on_body threw.
  std::vector<Finished> step(std::chrono::milliseconds wait);

 private:
  struct Transfers;
  std::unique_ptr<Transfers> transfers_;
};

}  // namespace squint::hub
