#include "hub/download.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "hub/digest.h"
#include "hub/url.h"
#include "squint/error.h"

namespace squint::hub {
namespace {

using std::chrono::milliseconds;

constexpr milliseconds kLongestStep{50};  // between two looks at the stop token
constexpr milliseconds kSaveEvery{2000};  // what a killed process may have to fetch again
constexpr milliseconds kReportEvery{100};
constexpr int64_t kHashBytes = 1 << 20;
constexpr int kMostBadAnswers = 2;
constexpr const char* kEmptySha256 =
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

std::string without_quotes(std::string_view etag) {
  if (etag.starts_with("W/")) etag.remove_prefix(2);
  if (etag.size() >= 2 && etag.front() == '"' && etag.back() == '"') {
    etag = etag.substr(1, etag.size() - 2);
  }
  return std::string(etag);
}

// What the hub says on its way to the content must be what its list said.
void check_identity(const DownloadItem& item, const std::string& commit,
                    const HttpResponse& response) {
  const std::string* now = response.header("X-Repo-Commit");
  if (now != nullptr && !commit.empty() && *now != commit) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the hub answers with commit {} instead of {}; was the repository "
                            "changed just now? try again",
                            item.file.path, now->substr(0, 40), commit));
  }
  const std::string* etag = response.header("X-Linked-Etag");
  const std::string digest = etag == nullptr ? "" : without_quotes(*etag);
  if (digest.size() == item.file.digest.size() && digest != item.file.digest) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the hub would send a content with digest {}, its list says {}; "
                            "was the repository changed just now? try again",
                            item.file.path, digest, item.file.digest));
  }
}

bool is_web_page(const DownloadItem& item, const HttpResponse& head) {
  const std::string* type = head.header("Content-Type");
  const std::string& path = item.file.path;
  return type != nullptr && type->starts_with("text/html") && !path.ends_with(".html") &&
         !path.ends_with(".htm");
}

}  // namespace

struct Downloads::OpenFile {
  explicit OpenFile(const DownloadItem& what)
      : item(what), partial(what.place.partial, what.file, what.url), digest(fresh_digest()) {}

  Digest fresh_digest() const { return {item.file.kind, item.file.size}; }

  const DownloadItem& item;
  PartialFile partial;
  std::string location;  // where the hub sent us for it; empty: ask the hub
  bool whole = false;    // its server has no ranges
  int parts = 0;
  int bad_answers = 0;
  int mismatches = 0;
  Digest digest;
  int64_t hashed = 0;
};

struct Downloads::Part {
  OpenFile& file;
  ByteRange range;
  int64_t at = 0;  // the next byte
  std::string url{};
  int redirects = 0;
  int failures = 0;
  Clock::time_point not_before{};
  std::optional<HttpClient::Id> id{};
  bool accepted = false;  // the answer's headers are right
  bool no_ranges = false;
  bool changed = false;
  std::string complaint{};  // what was wrong with the answer

  // The whole file from its start is asked for as such: every server can do that.
  bool wants_range() const { return !file.whole && (at > 0 || range.end < file.item.file.size); }
};

Downloads::Downloads(Session& session, const PullOptions& options, std::string commit,
                     std::vector<DownloadItem> items, DownloadEvents events)
    : session_(session),
      options_(options),
      commit_(std::move(commit)),
      items_(std::move(items)),
      events_(std::move(events)) {}

Downloads::~Downloads() = default;

void Downloads::run() {
  try {
    loop();
  } catch (...) {
    for (const auto& part : parts_) {
      if (part->id) session_.client().cancel(*part->id);
    }
    parts_.clear();
    try {
      save_all();
    } catch (const Error&) {
      // What stopped the run says more.
    }
    throw;
  }
}

void Downloads::loop() {
  for (;;) {
    session_.check_stop();
    schedule();
    if (files_.empty()) break;
    start_waiting();
    for (const HttpClient::Finished& finished : session_.client().step(time_to_wait())) {
      // A part that was removed meanwhile has no say any more.
      if (Part* part = find(finished.id)) ended(*part, finished.result);
    }
    verify_some();
    if (Clock::now() - last_save_ > kSaveEvery) save_all();
    if (!files_.empty()) report(false);
  }
  report(true);
}

void Downloads::schedule() {
  while (parts_.size() < static_cast<size_t>(options_.connections)) {
    if (add_part()) continue;
    // Complete files wait to be hashed: not too many are open at once.
    const bool full = files_.size() >= 2 * static_cast<size_t>(options_.connections);
    if (full || next_item_ == items_.size()) return;
    files_.push_back(std::make_unique<OpenFile>(items_[next_item_++]));
  }
}

// Of the first file that has bytes nobody fetches: files come one after the other, their ranges
// roughly in order.
bool Downloads::add_part() {
  for (const auto& file : files_) {
    if (file->whole && file->parts > 0) continue;
    const int64_t most = file->whole ? file->item.file.size : options_.segment_bytes;
    if (const auto range = file->partial.claim(most)) {
      ++file->parts;
      parts_.push_back(
          std::make_unique<Part>(Part{.file = *file, .range = *range, .at = range->begin}));
      return true;
    }
  }
  return false;
}

void Downloads::start_waiting() {
  const Clock::time_point now = Clock::now();
  if (now < paused_until_) return;
  for (const auto& part : parts_) {
    if (!part->id && now >= part->not_before) start(*part);
  }
}

void Downloads::start(Part& part) {
  if (part.url.empty()) {
    part.url = part.file.location.empty() ? part.file.item.url : part.file.location;
  }
  part.accepted = part.no_ranges = part.changed = false;
  part.complaint.clear();
  HttpRequest request{.url = part.url, .headers = session_.headers_for(part.url)};
  if (part.wants_range()) request.range = ByteRange{.begin = part.at, .end = part.range.end};
  request.on_body = [this, &part](const HttpResponse& head, std::string_view piece) {
    return take(part, head, piece);
  };
  request.max_kept_bytes = 1 << 20;
  part.id = session_.client().start(std::move(request));
}

// Sets what is wrong with the headers of an answer, if anything.
void Downloads::examine(Part& part, const HttpResponse& head) {
  OpenFile& file = part.file;
  const int64_t size = file.item.file.size;
  const auto header = [&](const char* name) {
    const std::string* value = head.header(name);
    return value == nullptr ? "" : value->substr(0, 200);
  };
  const std::string length = header("Content-Length");
  const std::string range = header("Content-Range");
  const std::string expected = fmt::format("bytes {}-{}/", part.at, part.range.end - 1);
  if (is_web_page(file.item, head)) {
    part.complaint = "a web page instead of the file; is there a login page in between?";
  } else if (head.status == 200 && part.wants_range()) {
    part.no_ranges = true;
  } else if (head.status == 206 && range != expected + std::to_string(size) &&
             range != expected + "*") {
    part.complaint =
        fmt::format("\"{}\" arrives where \"{}{}\" was asked for", range, expected, size);
  } else if (head.status == 200 && !length.empty() && length != std::to_string(size)) {
    part.complaint = fmt::format("{} bytes arrive, the list says {}", length, size);
  } else if (!file.partial.agrees_with_etag(header("ETag"))) {
    part.changed = true;
    part.complaint = "it has changed since its first bytes came";
  }
  part.accepted = !part.no_ranges && part.complaint.empty();
}

// Called while bytes move: it may look and write, but start or end nothing.
bool Downloads::take(Part& part, const HttpResponse& head, std::string_view piece) {
  if (!part.accepted) examine(part, head);
  if (!part.accepted) return false;
  const auto bytes = static_cast<int64_t>(piece.size());
  if (bytes > part.range.end - part.at) {
    part.complaint = "more bytes arrive than were asked for";
    return false;
  }
  part.file.partial.write(part.at, piece);
  part.at += bytes;
  fetched_bytes_ += bytes;
  // A file without ranges starts at zero again: its bytes are no progress.
  if (!part.file.whole) part.failures = 0;
  return true;
}

void Downloads::ended(Part& part, const HttpResult& result) {
  part.id.reset();
  if (result.refused) return complained(part, result);
  switch (judge(result)) {
    case Verdict::done: {
      if (part.at == part.range.end) return remove(part);
      HttpResult cut = result;
      cut.failure = fmt::format("the answer ended after {} of {} bytes", part.at - part.range.begin,
                                part.range.size());
      return failed(part, std::move(cut));
    }
    case Verdict::redirect:
      return redirected(part, result);
    case Verdict::again:
      return failed(part, result);
    case Verdict::wrong:
      return denied(part, result);
  }
}

void Downloads::complained(Part& part, const HttpResult& result) {
  OpenFile& file = part.file;
  if (part.no_ranges) {
    file.whole = true;
    return restart(file);
  }
  count_bad_answer(file, part.complaint);
  if (part.changed) return restart(file);
  HttpResult bad = result;
  bad.failure = part.complaint;
  failed(part, std::move(bad));
}

void Downloads::redirected(Part& part, const HttpResult& result) {
  if (session_.is_own(part.url)) check_identity(part.file.item, commit_, result.response);
  if (++part.redirects > kMaxRedirects) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: more than {} redirects, the last to {}; a loop?",
                            part.file.item.file.path, kMaxRedirects, shown(part.url)));
  }
  part.url = session_.redirect_target(part.url, result.response);
  part.file.location = part.url;
}

void Downloads::denied(Part& part, const HttpResult& result) {
  const DownloadItem& item = part.file.item;
  const int status = result.response.status;
  if (status == 416) {
    count_bad_answer(part.file, "the server has fewer bytes than its list says");
    return restart(part.file);
  }
  // The address of a content server is signed and lives for an hour: the hub gives a new one.
  const bool expired = status == 401 || status == 403 || status == 404 || status == 410;
  if (!expired || part.url == item.url || part.failures >= options_.patience.retries) {
    session_.refuse(part.url, item.file.path, result);
  }
  ++part.failures;
  part.file.location.clear();
  part.url.clear();
  part.redirects = 0;
}

void Downloads::failed(Part& part, HttpResult result) {
  const DownloadItem& item = part.file.item;
  if (++part.failures > options_.patience.retries) {
    session_.refuse(part.url, item.file.path, result);
  }
  const milliseconds pause = session_.wait_before_retry(part.failures, result);
  part.not_before = Clock::now() + pause;
  if (asked_wait(result.response) && result.failure.empty()) paused_until_ = part.not_before;
  session_.notice(fmt::format("{}: {}; again in {:.0f} s", item.file.path, why(result),
                              std::chrono::duration<double>(pause).count()));
  // By way of the hub, which may send us somewhere better.
  part.file.location.clear();
  part.url.clear();
  part.redirects = 0;
  if (part.file.whole) {
    part.file.partial.discard();
    part.at = 0;
  }
}

void Downloads::count_bad_answer(OpenFile& file, const std::string& what) {
  if (++file.bad_answers <= kMostBadAnswers) return;
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", file.item.file.path, what));
}

void Downloads::restart(OpenFile& file) {
  std::vector<Part*> of_file;
  for (const auto& part : parts_) {
    if (&part->file == &file) of_file.push_back(part.get());
  }
  for (Part* part : of_file) remove(*part);
  file.partial.discard();
  file.location.clear();
  file.digest = file.fresh_digest();
  file.hashed = 0;
}

void Downloads::remove(Part& part) {
  if (part.id) session_.client().cancel(*part.id);
  part.file.partial.release(part.range);
  --part.file.parts;
  parts_.remove_if([&](const auto& other) { return other.get() == &part; });
}

void Downloads::verify_some() {
  for (auto file = files_.begin(); file != files_.end();) {
    file = (*file)->parts == 0 && (*file)->partial.is_complete() && verify(**file)
               ? files_.erase(file)
               : std::next(file);
  }
}

// True where the file is in its place.
bool Downloads::verify(OpenFile& file) {
  const RepoFile& expected = file.item.file;
  if (file.hashed < expected.size && expected.kind != DigestKind::none) {
    const std::string piece = file.partial.read(file.hashed, kHashBytes);
    file.digest.add(piece);
    file.hashed += static_cast<int64_t>(piece.size());
    if (file.hashed < expected.size) return false;
  }
  const std::string found = file.digest.finish();
  if (found != expected.digest) {
    const std::string message = fmt::format(
        "{}: its {} bytes have digest {}, the hub's list says {}{}", expected.path, expected.size,
        found, expected.digest,
        expected.digest == kEmptySha256 ? ", which is that of an empty file: the list is wrong"
                                        : "");
    restart(file);
    if (++file.mismatches > 1) {
      throw Error(ErrorCode::bad_input,
                  message + "; fetched twice: is something on the way changing it?");
    }
    session_.notice(message + "; fetched once more");
    return false;
  }
  file.partial.publish(file.item.place.content);
  CacheLayout::link(file.item.place);
  done_bytes_ += expected.size;
  ++done_files_;
  if (events_.on_file) events_.on_file(file.item);
  return true;
}

void Downloads::save_all() {
  for (const auto& file : files_) file->partial.save();
  last_save_ = Clock::now();
}

void Downloads::report(bool last) {
  const Clock::time_point now = Clock::now();
  if (!events_.on_step || (!last && now - last_report_ < kReportEvery)) return;
  last_report_ = now;
  int64_t done = done_bytes_;
  std::vector<PullFile> files;
  for (const auto& file : files_) {
    const RepoFile& what = file->item.file;
    files.push_back(
        {.path = what.path, .bytes = what.size, .present_bytes = file->partial.present_bytes()});
    done += files.back().present_bytes;
  }
  events_.on_step({.done_bytes = done,
                   .done_files = done_files_,
                   .fetched_bytes = fetched_bytes_,
                   .files = std::move(files)});
}

milliseconds Downloads::time_to_wait() const {
  for (const auto& file : files_) {
    if (file->parts == 0 && file->partial.is_complete()) return milliseconds(0);
  }
  const Clock::time_point now = Clock::now();
  milliseconds wait = kLongestStep;
  for (const auto& part : parts_) {
    if (part->id) continue;
    const auto left = std::max(part->not_before, paused_until_) - now;
    wait = std::clamp(std::chrono::ceil<milliseconds>(left), milliseconds(0), wait);
  }
  return wait;
}

Downloads::Part* Downloads::find(HttpClient::Id id) {
  for (const auto& part : parts_) {
    if (part->id == id) return part.get();
  }
  return nullptr;
}

}  // namespace squint::hub
