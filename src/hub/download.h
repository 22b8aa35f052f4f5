// download.h: files on their way, in ranges over several connections, all on the calling thread.
//
// A range that fails is asked for again from its last byte; who got new bytes starts counting
// failures anew. A hub that asks to wait makes all connections wait. A server without ranges gives
// a file in one piece. What has arrived is hashed between the arrivals of other bytes, and
// published if it is what the list says; the first time it is not, it is fetched once more.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hub/cache_layout.h"
#include "hub/http_client.h"
#include "hub/partial_file.h"
#include "hub/session.h"

namespace squint::hub {

struct DownloadItem {
  RepoFile file;
  std::string url;  // at the hub
  Place place;      // its folders are there
};

struct DownloadStep {
  int64_t done_bytes = 0;       // there, of all items, those being fetched included
  int64_t done_files = 0;       // in their places
  int64_t fetched_bytes = 0;    // by this run
  std::vector<PullFile> files;  // on their way, or arrived and not yet checked
};

struct DownloadEvents {
  std::function<void(const DownloadItem&)> on_file;  // is in its place
  std::function<void(const DownloadStep&)> on_step;
};

class Downloads {
 public:
  // `commit`: what the answers must belong to; may be empty.
  Downloads(Session& session, const PullOptions& options, std::string commit,
            std::vector<DownloadItem> items, DownloadEvents events);
  ~Downloads();
  Downloads(const Downloads&) = delete;
  Downloads& operator=(const Downloads&) = delete;

  // Throws what the first failed file has to say; partial files are then as complete as their
  // notes.
  void run();
  int64_t fetched_bytes() const { return fetched_bytes_; }

 private:
  using Clock = std::chrono::steady_clock;
  struct OpenFile;
  struct Part;

  void loop();
  void schedule();
  bool add_part();
  void start_waiting();
  void start(Part& part);
  static void examine(Part& part, const HttpResponse& head);
  bool take(Part& part, const HttpResponse& head, std::string_view piece);
  void ended(Part& part, const HttpResult& result);
  void complained(Part& part, const HttpResult& result);
  void redirected(Part& part, const HttpResult& result);
  void denied(Part& part, const HttpResult& result);
  void failed(Part& part, HttpResult result);
  void count_bad_answer(OpenFile& file, const std::string& what);
  void restart(OpenFile& file);
  void remove(Part& part);
  void verify_some();
  bool verify(OpenFile& file);
  void save_all();
  void report(bool last);
  std::chrono::milliseconds time_to_wait() const;
  Part* find(HttpClient::Id id);

  Session& session_;
  const PullOptions& options_;
  std::string commit_;
  std::vector<DownloadItem> items_;
  DownloadEvents events_;
  size_t next_item_ = 0;
  std::list<std::unique_ptr<OpenFile>> files_;
  std::list<std::unique_ptr<Part>> parts_;
  Clock::time_point paused_until_{};
  Clock::time_point last_save_ = Clock::now();
  Clock::time_point last_report_{};
  int64_t fetched_bytes_ = 0;
  int64_t done_bytes_ = 0;
  int64_t done_files_ = 0;
};

}  // namespace squint::hub
