#include "hub/http_client.h"

#include <curl/curl.h>
#include <fmt/format.h>
#include <strings.h>

#include <algorithm>
#include <exception>
#include <map>

#include "base/check.h"
#include "hub/url.h"
#include "squint/version.h"

namespace squint::hub {
namespace {

using Clock = std::chrono::steady_clock;

constexpr size_t kMaxHeaderBytes = 64 << 10;
constexpr long kBufferBytes = 256 << 10;

struct FreeEasy {
  void operator()(CURL* easy) const { curl_easy_cleanup(easy); }
};
struct FreeList {
  void operator()(curl_slist* list) const { curl_slist_free_all(list); }
};

// One exchange on its way. Callbacks get its address, so it never moves.
struct Transfer {
  HttpClient::Id id = 0;
  HttpRequest request;
  HttpResult result;
  std::unique_ptr<CURL, FreeEasy> easy;
  std::unique_ptr<curl_slist, FreeList> headers;
  size_t header_bytes = 0;
  std::exception_ptr thrown;
  Clock::time_point window_start = Clock::now();
  int64_t window_bytes = 0;
  char reason[CURL_ERROR_SIZE] = {};
};

std::string_view trimmed(std::string_view text) {
  const size_t first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

size_t take_header(char* data, size_t, size_t bytes, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  const std::string_view line(data, bytes);
  HttpResponse& response = transfer.result.response;
  transfer.header_bytes += bytes;
  if (transfer.header_bytes > kMaxHeaderBytes) {
    transfer.result.failure = fmt::format("more than {} bytes of headers", kMaxHeaderBytes);
    return 0;
  }
  if (line.starts_with("HTTP/")) {  // Also after "100 Continue".
    response.headers.clear();
    return bytes;
  }
  const size_t colon = line.find(':');
  if (colon != std::string_view::npos) {
    std::string value(trimmed(line.substr(colon + 1)));
    // Messages quote headers: they must not control a terminal.
    std::erase_if(value, [](unsigned char c) { return c < ' ' || c == 0x7F; });
    response.headers.emplace_back(trimmed(line.substr(0, colon)), std::move(value));
  }
  return bytes;
}

bool keep(Transfer& transfer, std::string_view piece) {
  std::string& body = transfer.result.response.body;
  if (static_cast<int64_t>(body.size() + piece.size()) > transfer.request.max_kept_bytes) {
    transfer.result.failure =
        fmt::format("an answer of more than {} bytes", transfer.request.max_kept_bytes);
    return false;
  }
  body += piece;
  return true;
}

bool is_compressed(const HttpResponse& response) {
  const std::string* encoding = response.header("Content-Encoding");
  return encoding != nullptr && !encoding->empty() && *encoding != "identity";
}

bool take(Transfer& transfer, std::string_view piece) {
  HttpResponse& response = transfer.result.response;
  long status = 0;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
  response.status = static_cast<int>(status);
  transfer.window_bytes += static_cast<int64_t>(piece.size());
  const bool wanted = status == 200 || status == 206;
  if (wanted && is_compressed(response)) {
    transfer.result.failure = "a compressed answer, though none was asked for";
    return false;
  }
  if (!wanted || !transfer.request.on_body) return keep(transfer, piece);
  transfer.result.refused = !transfer.request.on_body(response, piece);
  return !transfer.result.refused;
}

// Nothing may be thrown through curl: it waits here for step().
size_t take_body(char* data, size_t, size_t bytes, void* user) {
  auto& transfer = *static_cast<Transfer*>(user);
  try {
    return take(transfer, {data, bytes}) ? bytes : CURL_WRITEFUNC_ERROR;
  } catch (...) {
    transfer.thrown = std::current_exception();
    return CURL_WRITEFUNC_ERROR;
  }
}

bool is_hopeless(CURLcode code) {
  return code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_UNSUPPORTED_PROTOCOL ||
         code == CURLE_URL_MALFORMAT || code == CURLE_SSL_CACERT_BADFILE;
}

void start_curl() {
  static const CURLcode code = curl_global_init(CURL_GLOBAL_DEFAULT);
  SQUINT_CHECK(code == CURLE_OK);
}

}  // namespace

const std::string* HttpResponse::header(std::string_view name) const {
  for (const auto& [key, value] : headers) {
    if (key.size() == name.size() && strncasecmp(key.data(), name.data(), name.size()) == 0) {
      return &value;
    }
  }
  return nullptr;
}

struct HttpClient::Transfers {
  PullPatience patience;
  std::string certificates;
  CURLM* multi = nullptr;
  std::map<Id, std::unique_ptr<Transfer>> running;
  std::vector<Finished> ended;  // not by curl
  Id last = 0;

  static void set_up(Transfer& transfer, const PullPatience& patience,
                     const std::string& certificates);
  void end(Id id);
  void end_stalled();
  Finished finish(Id id, CURLcode code);
};

void HttpClient::Transfers::set_up(Transfer& transfer, const PullPatience& patience,
                                   const std::string& certificates) {
  CURL* easy = transfer.easy.get();
  curl_slist* list = nullptr;
  transfer.request.headers.push_back("Accept-Encoding: identity");
  for (const std::string& header : transfer.request.headers) {
    curl_slist* longer = curl_slist_append(list, header.c_str());
    SQUINT_CHECK(longer != nullptr);
    list = longer;
  }
  transfer.headers.reset(list);
  curl_easy_setopt(easy, CURLOPT_URL, transfer.request.url.c_str());
  curl_easy_setopt(easy, CURLOPT_HTTPHEADER, list);
  curl_easy_setopt(easy, CURLOPT_USERAGENT, fmt::format("squint/{}", kVersion).c_str());
  curl_easy_setopt(easy, CURLOPT_PROTOCOLS_STR, "http,https");
  curl_easy_setopt(easy, CURLOPT_FOLLOWLOCATION, 0L);
  // Streams of one HTTP/2 connection share its congestion window: slower than several connections.
  curl_easy_setopt(easy, CURLOPT_HTTP_VERSION, static_cast<long>(CURL_HTTP_VERSION_1_1));
  curl_easy_setopt(easy, CURLOPT_CONNECTTIMEOUT_MS, static_cast<long>(patience.connect.count()));
  curl_easy_setopt(easy, CURLOPT_NOSIGNAL, 1L);
  curl_easy_setopt(easy, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
  curl_easy_setopt(easy, CURLOPT_BUFFERSIZE, kBufferBytes);
  curl_easy_setopt(easy, CURLOPT_ERRORBUFFER, transfer.reason);
  curl_easy_setopt(easy, CURLOPT_PRIVATE, &transfer);
  curl_easy_setopt(easy, CURLOPT_HEADERFUNCTION, take_header);
  curl_easy_setopt(easy, CURLOPT_HEADERDATA, &transfer);
  curl_easy_setopt(easy, CURLOPT_WRITEFUNCTION, take_body);
  curl_easy_setopt(easy, CURLOPT_WRITEDATA, &transfer);
  if (!certificates.empty()) curl_easy_setopt(easy, CURLOPT_CAINFO, certificates.c_str());
  if (transfer.request.range) {
    const ByteRange& r = *transfer.request.range;
    curl_easy_setopt(easy, CURLOPT_RANGE, fmt::format("{}-{}", r.begin, r.end - 1).c_str());
  }
}

void HttpClient::Transfers::end(Id id) {
  const auto found = running.find(id);
  if (found == running.end()) return;
  curl_multi_remove_handle(multi, found->second->easy.get());
  running.erase(found);
}

HttpClient::Finished HttpClient::Transfers::finish(Id id, CURLcode code) {
  Transfer& transfer = *running.at(id);
  HttpResult& result = transfer.result;
  long status = 0;
  curl_easy_getinfo(transfer.easy.get(), CURLINFO_RESPONSE_CODE, &status);
  result.response.status = static_cast<int>(status);
  if (code != CURLE_OK && result.failure.empty() && !result.refused) {
    result.failure = transfer.reason[0] != '\0' ? transfer.reason : curl_easy_strerror(code);
  }
  result.hopeless = is_hopeless(code);
  const std::exception_ptr thrown = transfer.thrown;
  Finished finished{.id = id, .result = std::move(result)};
  end(id);
  if (thrown) std::rethrow_exception(thrown);
  return finished;
}

// curl's own limit counts in whole seconds and averages; this one also sees a drip of bytes.
void HttpClient::Transfers::end_stalled() {
  const Clock::time_point now = Clock::now();
  std::vector<Id> stalled;
  for (auto& [id, transfer] : running) {
    if (now - transfer->window_start < patience.stall) continue;
    if (transfer->window_bytes < patience.slow_bytes) stalled.push_back(id);
    transfer->window_start = now;
    transfer->window_bytes = 0;
  }
  for (const Id id : stalled) {
    HttpResult& result = running.at(id)->result;
    result.failure = fmt::format("hardly a byte in {:.0f} s",
                                 std::chrono::duration<double>(patience.stall).count());
    ended.push_back({.id = id, .result = std::move(result)});
    end(id);
  }
}

HttpClient::HttpClient(const PullPatience& patience, const std::filesystem::path& certificates)
    : transfers_(std::make_unique<Transfers>()) {
  start_curl();
  transfers_->patience = patience;
  transfers_->certificates = certificates.string();
  transfers_->multi = curl_multi_init();
  SQUINT_CHECK(transfers_->multi != nullptr);
}

HttpClient::~HttpClient() {
  while (!transfers_->running.empty()) transfers_->end(transfers_->running.begin()->first);
  curl_multi_cleanup(transfers_->multi);
}

HttpClient::Id HttpClient::start(HttpRequest request) {
  const Id id = ++transfers_->last;
  auto transfer = std::make_unique<Transfer>();
  transfer->id = id;
  transfer->request = std::move(request);
  transfer->easy.reset(curl_easy_init());
  SQUINT_CHECK(transfer->easy != nullptr);
  Transfers::set_up(*transfer, transfers_->patience, transfers_->certificates);
  SQUINT_CHECK(curl_multi_add_handle(transfers_->multi, transfer->easy.get()) == CURLM_OK);
  transfers_->running.emplace(id, std::move(transfer));
  return id;
}

void HttpClient::cancel(Id id) { transfers_->end(id); }

std::vector<HttpClient::Finished> HttpClient::step(std::chrono::milliseconds wait) {
  int running = 0;
  SQUINT_CHECK(curl_multi_perform(transfers_->multi, &running) == CURLM_OK);
  int messages = 0;
  std::vector<std::pair<Id, CURLcode>> done;
  while (const CURLMsg* message = curl_multi_info_read(transfers_->multi, &messages)) {
    if (message->msg != CURLMSG_DONE) continue;
    Transfer* transfer = nullptr;
    curl_easy_getinfo(message->easy_handle, CURLINFO_PRIVATE, &transfer);
    done.emplace_back(transfer->id, message->data.result);
  }
  std::vector<Finished> finished;
  for (const auto& [id, code] : done) finished.push_back(transfers_->finish(id, code));
  transfers_->end_stalled();
  for (Finished& stalled : transfers_->ended) finished.push_back(std::move(stalled));
  transfers_->ended.clear();
  if (finished.empty() && wait.count() > 0) {
    curl_multi_poll(transfers_->multi, nullptr, 0, static_cast<int>(wait.count()), nullptr);
  }
  return finished;
}

}  // namespace squint::hub
