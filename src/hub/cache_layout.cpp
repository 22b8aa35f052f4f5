#include "hub/cache_layout.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>
#include <system_error>
#include <utility>

#include "io/atomic_file.h"
#include "io/os_error.h"
#include "squint/error.h"

namespace squint::hub {
namespace fs = std::filesystem;
namespace {

std::string dashed(const std::string& id) {
  std::string out = id;
  if (const size_t slash = out.find('/'); slash != std::string::npos) out.replace(slash, 1, "--");
  return out;
}

void make(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  if (error) {
    throw Error(ErrorCode::io,
                fmt::format("cannot create {}: {}", folder.string(), error.message()));
  }
}

}  // namespace

CacheLayout::CacheLayout(const PullOptions& options, std::string commit)
    : commit_(std::move(commit)) {
  const bool is_model = options.kind == RepoKind::model;
  if (!options.output.empty()) {
    folder_ = options.output;
  } else if (options.hub == HubKind::modelscope) {
    folder_ = options.cache / (is_model ? "models" : "datasets") / dashed(options.id) /
              "snapshots" / options.revision;
  } else {
    const fs::path repository =
        options.cache / ((is_model ? "models--" : "datasets--") + dashed(options.id));
    folder_ = repository / "snapshots" / commit_;
    blobs_ = repository / "blobs";
    if (options.revision != commit_) ref_ = repository / "refs" / options.revision;
  }
}

Place CacheLayout::place(const RepoFile& file) const {
  if (blobs_.empty()) {
    const fs::path path = folder_ / file.path;
    return {.content = path,
            .link = {},
            .partial = path.parent_path() / ("." + path.filename().string() + ".incomplete"),
            .named_by_digest = false};
  }
  // Not the name that other programs give theirs: what is in such a file is up to its writer.
  return {.content = blobs_ / file.digest,
          .link = folder_ / file.path,
          .partial = blobs_ / (file.digest + ".squint.incomplete"),
          .named_by_digest = true};
}

void CacheLayout::make_folders(const Place& place) {
  make(place.content.parent_path());
  if (!place.link.empty()) make(place.link.parent_path());
}

void CacheLayout::link(const Place& place) {
  if (place.link.empty()) return;
  const fs::path target = place.content.lexically_relative(place.link.parent_path());
  std::error_code error;
  if (fs::read_symlink(place.link, error) == target && !error) return;
  // Under another name first: whoever reads the snapshot never misses the file.
  const fs::path temporary = place.link.parent_path() /
                             fmt::format(".{}.link-{}", place.link.filename().string(), ::getpid());
  ::unlink(temporary.c_str());
  if (::symlink(target.c_str(), temporary.c_str()) != 0) {
    io::throw_os_error("create the link", temporary, errno);
  }
  if (::rename(temporary.c_str(), place.link.c_str()) != 0) {
    const int reason = errno;
    ::unlink(temporary.c_str());
    io::throw_os_error("create the link", place.link, reason);
  }
}

void CacheLayout::finish() const {
  if (ref_.empty()) return;
  make(ref_.parent_path());
  io::write_file_atomically(ref_, commit_);
}

}  // namespace squint::hub
