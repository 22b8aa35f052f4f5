// session.h: requests to one hub: who gets the token, which redirects are followed, when to try
// again, and what an answer that is no success means.
#pragma once

#include <chrono>
#include <functional>
#include <optional>
#include <random>
#include <stop_token>
#include <string>
#include <vector>

#include "hub/http_client.h"
#include "squint/pull.h"

namespace squint::hub {

inline constexpr int kMaxRedirects = 5;

// What an exchange asks of whoever started it.
enum class Verdict : uint8_t {
  done,      // status 200 or 206, and all of it came
  redirect,  // to the Location
  again,     // network, 408, 429, 5xx
  wrong,     // the hub says no
};
Verdict judge(const HttpResult& result);
// In words, for what is not done.
std::string why(const HttpResult& result);

// How long the hub asks to wait: Retry-After in seconds or as a date, or a RateLimit that has
// nothing left.
std::optional<std::chrono::seconds> asked_wait(const HttpResponse& response);

// What a hub says, bounded and without control characters.
std::string quotable(std::string words);

// The JSON text of an answer. Error(bad_input) where it is a web page.
std::string json_text(const HttpResponse& response, const std::string& what);

struct Access {
  std::string endpoint;  // without a slash at its end
  std::string usual;     // what a mirror's answers may still name instead of it; may be empty
  std::string token;
  std::string token_cookie;  // a cookie that holds the token too; may be empty
  std::string name;          // of the hub, for messages
};

class Session {
 public:
  Session(HttpClient& client, Access access, const PullOptions& options);

  const std::string& endpoint() const { return access_.endpoint; }
  HttpClient& client() { return client_; }
  const PullPatience& patience() const { return options_.patience; }

  // The token where the address is the endpoint's own server, and nothing elsewhere.
  std::vector<std::string> headers_for(const std::string& url) const;
  bool is_own(const std::string& url) const;
  // Where an answer from `from` sends us. Error(bad_input) for no address, Error(unsupported) for
  // a way from https to http.
  std::string redirect_target(const std::string& from, const HttpResponse& response) const;
  // An address in an answer, moved from the usual hub to this mirror of it.
  std::string on_this_mirror(std::string url) const;

  // How long to wait before try number `failures` + 1.
  std::chrono::milliseconds wait_before_retry(int failures, const HttpResult& result);

  // The body of a small answer, with redirects and retries. `what` is it, for messages.
  HttpResponse get(const std::string& url, const std::string& what);
  void notice(const std::string& text) const;
  void check_stop() const;

  // Error for an answer that is no success, or an exchange that failed too often.
  [[noreturn]] void refuse(const std::string& url, const std::string& what,
                           const HttpResult& result) const;

 private:
  HttpResult exchange(const std::string& url);
  void wait(std::chrono::milliseconds duration);

  HttpClient& client_;
  Access access_;
  const PullOptions& options_;
  std::minstd_rand chance_;
};

}  // namespace squint::hub
