#include "hub/session.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <ctime>
#include <nlohmann/json.hpp>
#include <system_error>
#include <thread>

#include "hub/url.h"
#include "squint/error.h"

namespace squint::hub {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kStep{50};  // between two looks at the stop token
// The longest window that the hubs describe has five minutes: who asks for more means "no".
constexpr std::chrono::seconds kLongestAsked{900};

std::optional<int64_t> number(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end == text.data() || value < 0) return std::nullopt;
  return value;
}

// "Wed, 21 Oct 2026 07:28:00 GMT"
std::optional<std::chrono::seconds> until_date(const std::string& text) {
  std::tm time{};
  if (strptime(text.c_str(), "%a, %d %b %Y %H:%M:%S", &time) == nullptr) return std::nullopt;
  return std::chrono::seconds(std::max<int64_t>(timegm(&time) - std::time(nullptr), 0));
}

// `"resolvers";r=0;t=55`: how many requests are left, and for how many seconds.
std::optional<std::chrono::seconds> until_next_window(const std::string& limit) {
  const size_t left = limit.find(";r=");
  const size_t time = limit.find(";t=");
  if (left == std::string::npos || time == std::string::npos) return std::nullopt;
  const auto requests = number(std::string_view(limit).substr(left + 3));
  const auto seconds = number(std::string_view(limit).substr(time + 3));
  if (!requests || !seconds || *requests > 0) return std::nullopt;
  return std::chrono::seconds(*seconds + 1);
}

// The hub's own words: {"error": "..."}, {"Message": "..."} or a header.
std::string words_of(const HttpResponse& response) {
  if (const std::string* header = response.header("X-Error-Message")) return quotable(*header);
  const nlohmann::json body = nlohmann::json::parse(response.body, nullptr, false);
  for (const char* key : {"error", "Message"}) {
    if (!body.is_object()) break;
    const auto found = body.find(key);
    if (found != body.end() && found->is_string()) return quotable(found->get<std::string>());
  }
  return "";
}

std::string reason_of(const HttpResponse& response, const std::string& hub, bool with_token) {
  const std::string* code = response.header("X-Error-Code");
  const std::string kind = code == nullptr ? "" : *code;
  const char* sent = with_token ? "a token was sent" : "no token was sent";
  if (kind == "GatedRepo") {
    return fmt::format(
        "its licence has to be accepted on the web site of {} first, with the account that the "
        "token belongs to ({})",
        hub, sent);
  }
  if (kind == "RepoNotFound") {
    return fmt::format(
        "no such repository, or no access ({}): is the name right, and is it a "
        "model or a data set?",
        sent);
  }
  if (kind == "RevisionNotFound") return "no such branch, tag or commit";
  if (kind == "EntryNotFound") return "no such file in this revision";
  if (response.status == 401) {
    return fmt::format("it does not exist, is private, or its licence was not accepted ({}){}",
                       sent, with_token ? "; is the token still valid?" : "");
  }
  if (response.status == 403) return fmt::format("access is denied ({})", sent);
  if (response.status == 404) {
    return fmt::format("it is not there, or not for everybody ({})", sent);
  }
  return "";
}

}  // namespace

std::string quotable(std::string words) {
  constexpr size_t kMost = 300;
  std::erase_if(words, [](unsigned char c) { return c < ' ' || c == 0x7F; });
  return words.substr(0, kMost);
}

Verdict judge(const HttpResult& result) {
  if (!result.failure.empty()) return result.hopeless ? Verdict::wrong : Verdict::again;
  switch (result.response.status) {
    case 200:
    case 206:
      return Verdict::done;
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
      return Verdict::redirect;
    case 408:
    case 429:
    case 500:
    case 502:
    case 503:
    case 504:
      return Verdict::again;
    default:
      return Verdict::wrong;
  }
}

std::string why(const HttpResult& result) {
  if (!result.failure.empty()) return result.failure;
  return fmt::format("status {}", result.response.status);
}

std::optional<std::chrono::seconds> asked_wait(const HttpResponse& response) {
  if (const std::string* after = response.header("Retry-After")) {
    if (const auto seconds = number(*after)) {
      return std::chrono::seconds(std::min<int64_t>(*seconds, 1'000'000));
    }
    if (const auto seconds = until_date(*after)) return seconds;
  }
  if (const std::string* limit = response.header("RateLimit")) return until_next_window(*limit);
  return std::nullopt;
}

Session::Session(HttpClient& client, Access access, const PullOptions& options)
    : client_(client), access_(std::move(access)), options_(options) {}

bool Session::is_own(const std::string& url) const {
  const auto origin = origin_of(url);
  return origin.has_value() && origin == origin_of(access_.endpoint);
}

std::vector<std::string> Session::headers_for(const std::string& url) const {
  if (access_.token.empty() || !is_own(url)) return {};
  std::vector<std::string> headers = {"Authorization: Bearer " + access_.token};
  if (!access_.token_cookie.empty()) {
    headers.push_back("Cookie: " + access_.token_cookie + "=" + access_.token);
  }
  return headers;
}

std::string Session::on_this_mirror(std::string url) const {
  const std::string& usual = access_.usual;
  if (!usual.empty() && url.starts_with(usual + "/")) url.replace(0, usual.size(), endpoint());
  return url;
}

std::string Session::redirect_target(const std::string& from, const HttpResponse& response) const {
  const std::string* location = response.header("Location");
  const std::string target = location == nullptr ? "" : on_this_mirror(resolve(from, *location));
  const auto origin = origin_of(target);
  if (!origin) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: status {} without an address to go to",
                                                  shown(from), response.status));
  }
  if (origin->starts_with("http:") && !origin_of(from)->starts_with("http:")) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: redirects from https to {}, which anybody on the way could "
                            "change; not followed",
                            shown(from), shown(target)));
  }
  return target;
}

milliseconds Session::wait_before_retry(int failures, const HttpResult& result) {
  if (const auto asked = asked_wait(result.response);
      asked && judge(result) == Verdict::again && *asked <= kLongestAsked) {
    return options_.patience.asked_second * asked->count();
  }
  const PullPatience& p = options_.patience;
  const milliseconds doubled = p.first_wait * (int64_t{1} << std::clamp(failures - 1, 0, 20));
  const milliseconds longest = std::min(doubled, p.longest_wait);
  // Between half of it and all of it: clients that failed together come back one by one.
  std::uniform_int_distribution<int64_t> part(longest.count() / 2, longest.count());
  return milliseconds(part(chance_));
}

void Session::notice(const std::string& text) const {
  if (options_.on_notice) options_.on_notice(text);
}

void Session::check_stop() const {
  if (options_.stop.stop_requested())
    throw Error(ErrorCode::interrupted, "interrupted; the same command continues");
}

void Session::wait(milliseconds duration) {
  const auto end = std::chrono::steady_clock::now() + duration;
  while (std::chrono::steady_clock::now() < end) {
    check_stop();
    std::this_thread::sleep_for(std::min(duration, kStep));
  }
}

HttpResult Session::exchange(const std::string& url) {
  const HttpClient::Id id = client_.start({.url = url, .headers = headers_for(url)});
  for (;;) {
    if (options_.stop.stop_requested()) client_.cancel(id);
    check_stop();
    for (HttpClient::Finished& finished : client_.step(kStep)) {
      if (finished.id == id) return std::move(finished.result);
    }
  }
}

HttpResponse Session::get(const std::string& url, const std::string& what) {
  std::string at = url;
  int redirects = 0;
  for (int failures = 0;;) {
    HttpResult result = exchange(at);
    switch (judge(result)) {
      case Verdict::done:
        return std::move(result.response);
      case Verdict::redirect:
        if (++redirects > kMaxRedirects) {
          throw Error(ErrorCode::bad_input,
                      fmt::format("{}: more than {} redirects, the last to {}; a loop?", shown(url),
                                  kMaxRedirects, shown(at)));
        }
        at = redirect_target(at, result.response);
        break;
      case Verdict::again: {
        if (++failures > options_.patience.retries) refuse(at, what, result);
        const milliseconds pause = wait_before_retry(failures, result);
        notice(fmt::format("{}: {}; again in {:.0f} s", what, why(result),
                           std::chrono::duration<double>(pause).count()));
        wait(pause);
        at = url;
        redirects = 0;
        break;
      }
      case Verdict::wrong:
        refuse(at, what, result);
    }
  }
}

void Session::refuse(const std::string& url, const std::string& what,
                     const HttpResult& result) const {
  const HttpResponse& response = result.response;
  if (!result.failure.empty()) {
    throw Error(ErrorCode::io,
                fmt::format("{}: {} from {}; {}", what, result.failure, shown(url),
                            result.hopeless
                                ? "is a proxy in between whose certificate is not known here?"
                                : "is the network up, and does it need a proxy (HTTPS_PROXY)?"));
  }
  const bool with_token = !headers_for(url).empty();
  std::string message = fmt::format("{}: status {} from {}", what, response.status, shown(url));
  for (const std::string& part :
       {reason_of(response, access_.name, with_token), words_of(response)}) {
    if (!part.empty()) message += "; " + part;
  }
  if (const std::string* request = response.header("X-Request-Id")) {
    message += fmt::format(" (request {})", *request);
  }
  throw Error(judge(result) == Verdict::again ? ErrorCode::io : ErrorCode::bad_input, message);
}

std::string json_text(const HttpResponse& response, const std::string& what) {
  const size_t first = response.body.find_first_not_of(" \t\r\n");
  if (first != std::string::npos && response.body[first] == '<') {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: a web page instead of JSON; is there a login page in between, or "
                            "is the endpoint no hub?",
                            what));
  }
  return response.body;
}

}  // namespace squint::hub
