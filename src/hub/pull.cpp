#include "squint/pull.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <memory>
#include <optional>
#include <system_error>
#include <utility>

#include "hub/cache_layout.h"
#include "hub/digest.h"
#include "hub/download.h"
#include "hub/file_names.h"
#include "hub/http_client.h"
#include "hub/partial_file.h"
#include "hub/repository.h"
#include "hub/session.h"
#include "hub/url.h"
#include "io/atomic_file.h"
#include "io/fingerprint.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint {
namespace fs = std::filesystem;
namespace hub {
namespace {

using Clock = std::chrono::steady_clock;

constexpr const char* kHuggingFace = "https://huggingface.co";
constexpr const char* kModelScope = "https://modelscope.cn";
// Beside the files: notes, folders, what else writes to that disk meanwhile.
constexpr int64_t kReserveBytes = 64 << 20;

// One selected file: what has to be done for it.
struct Task {
  DownloadItem item;
  int64_t present = 0;   // bytes
  bool ready = false;    // the content is in its place
  bool is_copy = false;  // another file of the run has the same content
};

PullOptions with_defaults(PullOptions options) {
  const bool hugging_face = options.hub == HubKind::hugging_face;
  if (options.revision.empty()) options.revision = hugging_face ? "main" : "master";
  if (options.endpoint.empty()) options.endpoint = hugging_face ? kHuggingFace : kModelScope;
  while (options.endpoint.ends_with('/')) options.endpoint.pop_back();
  return options;
}

void check_options(const PullOptions& options) {
  check_id(options.id, options.hub);
  check_revision(options.revision);
  if (!origin_of(options.endpoint)) {
    throw Error(ErrorCode::usage,
                fmt::format("\"{}\" is no address of a hub: expected https://HOST",
                            shown(options.endpoint)));
  }
  if (options.output.empty() && options.cache.empty()) {
    throw Error(ErrorCode::usage, "neither a folder for the files nor one of a cache is known");
  }
  const bool plain =
      std::ranges::all_of(options.token, [](unsigned char c) { return c > ' ' && c < 0x7F; });
  if (!plain) {
    throw Error(ErrorCode::usage, "the token holds characters that no token has");
  }
  if (options.connections < 1 || options.connections > 64 || options.segment_bytes < 1) {
    throw Error(
        ErrorCode::usage,
        fmt::format("{} connections, segments of {} bytes: expected 1 to 64, and at least 1",
                    options.connections, options.segment_bytes));
  }
}

Access access_of(const PullOptions& options) {
  if (options.hub == HubKind::hugging_face) {
    return {.endpoint = options.endpoint,
            .usual = options.endpoint == kHuggingFace ? "" : kHuggingFace,
            .token = options.token,
            .token_cookie = "",
            .name = "Hugging Face"};
  }
  return {.endpoint = options.endpoint,
          .usual = options.endpoint == kModelScope ? "" : kModelScope,
          .token = options.token,
          .token_cookie = "m_session_id",
          .name = "ModelScope"};
}

int64_t size_of(const fs::path& file) {
  std::error_code error;
  if (!fs::is_regular_file(file, error)) return -1;
  const auto size = static_cast<int64_t>(fs::file_size(file, error));
  return error ? -1 : size;
}

std::string digest_of_file(const fs::path& path, const RepoFile& file, const Session& session) {
  if (file.kind == DigestKind::sha256) {
    return io::sha256_of_file(path, [&] { session.check_stop(); });
  }
  // Files that git itself holds are small.
  Digest digest(file.kind, file.size);
  digest.add(io::read_file(path, file.size));
  return digest.finish();
}

class Pull {
 public:
  Pull(const PullOptions& options, Session& session) : options_(options), session_(session) {}

  PullResult run() {
    const std::unique_ptr<Repository> repository =
        options_.hub == HubKind::hugging_face ? hugging_face_repository(options_, options_.endpoint)
                                              : modelscope_repository(options_, options_.endpoint);
    Listing listing = repository->list(session_);
    layout_.emplace(options_, listing.commit);
    commit_ = listing.commit;
    for (RepoFile& file : checked_files(std::move(listing.files), options_)) {
      const std::string url = repository->file_url(file);
      const Place place = layout_->place(file);
      tasks_.push_back({.item = {.file = std::move(file), .url = url, .place = place}});
    }
    look_at_disk();
    result_.plan = plan();
    if (options_.on_plan) options_.on_plan(result_.plan);
    if (!options_.dry_run) fetch();
    return std::move(result_);
  }

 private:
  // What is there of each file already.
  void look_at_disk() {
    std::map<fs::path, bool> seen;
    for (Task& task : tasks_) {
      session_.check_stop();
      const DownloadItem& item = task.item;
      task.is_copy = !seen.emplace(item.place.content, true).second;
      task.ready = !task.is_copy && is_there(item);
      task.present = task.ready || task.is_copy
                         ? item.file.size
                         : PartialFile::present_bytes(item.place.partial, item.file, item.url);
    }
  }

  bool is_there(const DownloadItem& item) const {
    const RepoFile& file = item.file;
    if (size_of(item.place.content) != file.size) return false;
    if (item.place.named_by_digest || file.kind == DigestKind::none) return true;
    if (options_.on_progress) {
      options_.on_progress({.files_total = static_cast<int64_t>(tasks_.size()),
                            .files = {{.path = file.path, .bytes = file.size}},
                            .checking = true});
    }
    return digest_of_file(item.place.content, file, session_) == file.digest;
  }

  PullPlan plan() const {
    PullPlan plan{.revision = options_.revision, .commit = commit_, .folder = layout_->folder()};
    for (const Task& task : tasks_) {
      plan.files.push_back(file_of(task));
      plan.total_bytes += task.item.file.size;
      plan.missing_bytes += task.item.file.size - task.present;
    }
    plan.available_bytes = io::available_bytes(io::nearest_folder(plan.folder));
    return plan;
  }

  static PullFile file_of(const Task& task) {
    const RepoFile& file = task.item.file;
    return {.path = file.path,
            .bytes = file.size,
            .present_bytes = task.present,
            .digest = named_digest(file)};
  }

  void check_room() const {
    const PullPlan& plan = result_.plan;
    const int64_t room = plan.available_bytes - kReserveBytes;
    if (plan.missing_bytes == 0 || plan.missing_bytes <= room - room / 100) return;
    throw Error(ErrorCode::io,
                fmt::format("{}: {} bytes are to be fetched and need a little room beside them, {} "
                            "are available; make room or choose another disk",
                            plan.folder.string(), plan.missing_bytes, plan.available_bytes));
  }

  void fetch() {
    check_room();
    const Clock::time_point start = Clock::now();
    std::vector<DownloadItem> items;
    already_ = 0;
    for (const Task& task : tasks_) {
      CacheLayout::make_folders(task.item.place);
      already_ += task.present;
      if (task.ready) {
        CacheLayout::link(task.item.place);
        ready_bytes_ += task.item.file.size;
        ++ready_files_;
      } else if (task.is_copy) {
        ready_bytes_ += task.item.file.size;
        ++ready_files_;
      } else {
        items.push_back(task.item);
      }
    }
    download(std::move(items));
    for (const Task& task : tasks_) {
      if (task.is_copy) CacheLayout::link(task.item.place);
    }
    layout_->finish();
    result_.seconds = std::chrono::duration<double>(Clock::now() - start).count();
  }

  void download(std::vector<DownloadItem> items) {
    Downloads downloads(
        session_, options_, commit_, std::move(items),
        {.on_file =
             [&](const DownloadItem& item) {
               if (options_.on_file)
                 options_.on_file(file_of({.item = item, .present = item.file.size}));
             },
         .on_step = [&](const DownloadStep& step) { report(step); }});
    try {
      downloads.run();
    } catch (const Error& e) {
      if (e.code() != ErrorCode::interrupted) throw;
      throw Error(ErrorCode::interrupted,
                  fmt::format("interrupted; {} of {} bytes are in {}: the same command continues",
                              last_done_, result_.plan.total_bytes, result_.plan.folder.string()));
    }
    result_.fetched_bytes = downloads.fetched_bytes();
  }

  void report(const DownloadStep& step) {
    last_done_ = ready_bytes_ + step.done_bytes;
    rate_.add(step.fetched_bytes);
    if (!options_.on_progress) return;
    options_.on_progress({.done = last_done_,
                          .total = result_.plan.total_bytes,
                          .already = already_,
                          .files_done = ready_files_ + step.done_files,
                          .files_total = static_cast<int64_t>(tasks_.size()),
                          .files = step.files,
                          .checking = false,
                          .bytes_per_second = rate_.per_second()});
  }

  // Bytes a second, the last ten seconds or so counting most.
  class Rate {
   public:
    void add(int64_t total) {
      const Clock::time_point now = Clock::now();
      const double seconds = std::chrono::duration<double>(now - last_).count();
      if (seconds < 0.05) return;
      const double share = std::min(1.0, std::max(seconds / 10, 1.0 / ++steps_));
      rate_ += share * (static_cast<double>(total - total_) / seconds - rate_);
      total_ = total;
      last_ = now;
    }
    double per_second() const { return rate_; }

   private:
    Clock::time_point last_ = Clock::now();
    int64_t total_ = 0;
    int steps_ = 0;
    double rate_ = 0;
  };

  const PullOptions& options_;
  Session& session_;
  std::optional<CacheLayout> layout_;
  std::string commit_;
  std::vector<Task> tasks_;
  PullResult result_;
  Rate rate_;
  int64_t already_ = 0;
  int64_t ready_bytes_ = 0;
  int64_t ready_files_ = 0;
  int64_t last_done_ = 0;
};

}  // namespace
}  // namespace hub

PullResult pull(const PullOptions& given) {
  const PullOptions options = hub::with_defaults(given);
  hub::check_options(options);
  hub::HttpClient client(options.patience, options.certificates);
  hub::Session session(client, hub::access_of(options), options);
  return hub::Pull(options, session).run();
}

}  // namespace squint
