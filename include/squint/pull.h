// pull.h: models and data sets from Hugging Face and ModelScope.
//
// A file arrives in ranges over several connections, in a partial file beside its place with a note
// of what is there. It is hashed and only then gets its name, so a file under its name is whole and
// right. After any interruption the same call continues with the missing bytes.
//
// A token goes to the endpoint and to nobody else, wherever it redirects to. Certificates are
// verified. Proxies are those that curl finds in the environment. Protocols, cache folders and
// rules for trying again are described in docs/pull.md.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <vector>

namespace squint {

enum class HubKind : uint8_t { hugging_face, modelscope };
enum class RepoKind : uint8_t { model, dataset };

// How long to wait for whom. Waits before another try double, with chance in them; a hub that says
// how long is obeyed.
struct PullPatience {
  int retries = 8;  // of a request in a row without a new byte
  std::chrono::milliseconds first_wait{1000};
  std::chrono::milliseconds longest_wait{30'000};
  std::chrono::milliseconds connect{10'000};
  // A connection that brings less than slow_bytes in this time is given up for a new one.
  std::chrono::milliseconds stall{30'000};
  int64_t slow_bytes = 1024;
  // What counts as one of the seconds that a hub asks for. Shorter in tests.
  std::chrono::milliseconds asked_second{1000};
};

struct PullFile {
  std::string path;  // in the repository, separated by "/"
  int64_t bytes = 0;
  int64_t present_bytes = 0;  // of an earlier run; in progress, that have arrived
  std::string digest;         // "sha256:..." or "git-sha1:...", empty where the hub states none
};

struct PullPlan {
  std::string revision;          // as asked for
  std::string commit;            // what it is today; empty on ModelScope, which has no name for it
  std::filesystem::path folder;  // where the files will be
  std::vector<PullFile> files;   // selected ones, sorted by path
  int64_t total_bytes = 0;
  int64_t missing_bytes = 0;
  int64_t available_bytes = 0;  // on the disk of that folder

  std::string to_text() const;
  // One object: revision, commit, folder, total_bytes, missing_bytes, available_bytes,
  // files [{path, bytes, present_bytes, digest}].
  std::string to_json() const;
};

struct PullProgress {
  int64_t done = 0;     // bytes, those of earlier runs included
  int64_t total = 0;    // bytes
  int64_t already = 0;  // of done, from earlier runs
  int64_t files_done = 0;
  int64_t files_total = 0;
  std::vector<PullFile> files;  // those on their way, longest under way first
  bool checking = false;  // the plan is being made: the one file is there already and is hashed
  double bytes_per_second = 0;
};

struct PullOptions {
  HubKind hub = HubKind::modelscope;
  RepoKind kind = RepoKind::model;
  std::string id;        // "owner/name"
  std::string revision;  // branch, tag or commit; empty: "main", or "master" on ModelScope
  std::string endpoint;  // of a mirror; empty: https://huggingface.co or https://modelscope.cn
  std::string token;     // may be empty
  // The files themselves go to `output`; where that is empty, into the hub's own cache at `cache`.
  std::filesystem::path output;
  std::filesystem::path cache;
  // Shell patterns over whole paths, in which "*" also crosses "/". A file is taken where one of
  // `include`, or none is given, and no one of `exclude` fits.
  std::vector<std::string> include;
  std::vector<std::string> exclude;
  bool dry_run = false;  // plan only: nothing is written
  int connections = 8;
  int64_t segment_bytes = 32 << 20;
  std::filesystem::path certificates;  // a bundle instead of the system's
  PullPatience patience;
  std::function<void(const PullPlan&)> on_plan;
  std::function<void(const PullProgress&)> on_progress;
  std::function<void(const PullFile&)> on_file;       // is in its place now
  std::function<void(const std::string&)> on_notice;  // why something is tried again
  std::stop_token stop;
};

struct PullResult {
  PullPlan plan;
  int64_t fetched_bytes = 0;
  double seconds = 0;

  // The plan's object with fetched_bytes and seconds.
  std::string to_json() const;
};

// Throws Error(usage) for options that cannot be, Error(bad_input) for a repository, revision or
// file that is not there, may not be read or is not what the hub says it is, Error(io) where the
// network or the disk fails, Error(interrupted) when stopped. What has arrived is kept.
PullResult pull(const PullOptions& options);

}  // namespace squint
