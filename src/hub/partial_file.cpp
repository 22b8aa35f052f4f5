#include "hub/partial_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>
#include <utility>

#include "base/check.h"
#include "base/json.h"
#include "hub/digest.h"
#include "io/atomic_file.h"
#include "io/mapped_file.h"
#include "io/os_error.h"
#include "squint/error.h"

namespace squint::hub {
namespace fs = std::filesystem;
namespace {

constexpr int kFormat = 1;
constexpr int64_t kMaxNoteBytes = 4 << 20;

fs::path note_of(const fs::path& path) { return path.string() + ".json"; }

struct Note {
  std::string etag;
  std::map<int64_t, int64_t> present;
};

// Nothing where there is no note, or one of another content. A damaged one counts as none: what it
// would save is not worth stopping for.
std::optional<Note> read_note(const fs::path& path, const RepoFile& file,
                              const std::string& source) {
  std::error_code unreadable;
  const auto bytes_there = static_cast<int64_t>(fs::file_size(path, unreadable));
  if (unreadable || !fs::exists(note_of(path))) return std::nullopt;
  try {
    const std::string where = note_of(path).string();
    const Json json = parse_json(io::read_file(where, kMaxNoteBytes), where);
    Note note{.etag = string_member(json, "etag", where), .present = {}};
    if (int_member(json, "format", where) != kFormat ||
        int_member(json, "size", where) != file.size ||
        string_member(json, "digest", where) != named_digest(file)) {
      return std::nullopt;
    }
    const bool same = string_member(json, "source", where) == source && !note.etag.empty();
    if (file.kind == DigestKind::none && !same) return std::nullopt;
    int64_t last = -1;
    for (const Json& range : member(json, "present", where)) {
      const auto begin = range.at(0).get<int64_t>();
      const auto end = range.at(1).get<int64_t>();
      if (begin <= last || end <= begin || end > std::min(file.size, bytes_there)) {
        return std::nullopt;
      }
      note.present[begin] = last = end;
    }
    return note;
  } catch (const Error&) {
    return std::nullopt;
  } catch (const Json::exception&) {
    return std::nullopt;
  }
}

int64_t sum(const std::map<int64_t, int64_t>& ranges) {
  int64_t bytes = 0;
  for (const auto& [begin, end] : ranges) bytes += end - begin;
  return bytes;
}

}  // namespace

PartialFile::PartialFile(fs::path path, const RepoFile& file, std::string source)
    : path_(std::move(path)), note_(note_of(path_)), file_(file), source_(std::move(source)) {
  open_locked();
  try {
    load();
  } catch (...) {
    // The destructor does not run for an object whose constructor throws.
    ::close(descriptor_);
    throw;
  }
}

PartialFile::~PartialFile() {
  if (descriptor_ >= 0) ::close(descriptor_);
}

void PartialFile::open_locked() {
  for (;;) {
    descriptor_ = ::open(path_.c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (descriptor_ < 0) io::throw_os_error("create", path_, errno);
    if (::flock(descriptor_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) {
      ::close(std::exchange(descriptor_, -1));
      throw Error(ErrorCode::io,
                  fmt::format("{}: another process is fetching this file; wait for it, or end it",
                              path_.string()));
    }
    // Between opening and locking another process may have published or removed it.
    struct stat opened {};
    struct stat named {};
    if (::fstat(descriptor_, &opened) == 0 && ::stat(path_.c_str(), &named) == 0 &&
        opened.st_ino == named.st_ino) {
      return;
    }
    ::close(std::exchange(descriptor_, -1));
  }
}

void PartialFile::load() {
  if (std::optional<Note> note = read_note(path_, file_, source_)) {
    present_ = std::move(note->present);
    etag_ = std::move(note->etag);
    return;
  }
  discard();
}

int64_t PartialFile::present_bytes() const { return sum(present_); }

int64_t PartialFile::present_bytes(const fs::path& path, const RepoFile& file,
                                   const std::string& source) {
  const std::optional<Note> note = read_note(path, file, source);
  return note ? sum(note->present) : 0;
}

std::optional<ByteRange> PartialFile::claim(int64_t most_bytes) {
  std::map<int64_t, int64_t> taken = present_;
  for (const ByteRange& range : claimed_) {
    int64_t& end = taken[range.begin];
    end = std::max(end, range.end);
  }
  int64_t at = 0;
  for (const auto& [begin, end] : taken) {
    if (begin > at) break;
    at = std::max(at, end);
  }
  if (at >= file_.size) return std::nullopt;
  const auto next = taken.upper_bound(at);
  const int64_t limit = next == taken.end() ? file_.size : next->first;
  const ByteRange range{.begin = at, .end = std::min(limit, at + std::min(most_bytes, file_.size))};
  claimed_.push_back(range);
  return range;
}

void PartialFile::release(const ByteRange& claimed) { std::erase(claimed_, claimed); }

void PartialFile::write(int64_t at, std::string_view bytes) {
  const auto size = static_cast<int64_t>(bytes.size());
  SQUINT_CHECK(at >= 0 && size <= file_.size - at);
  for (int64_t done = 0; done < size;) {
    const ssize_t written =
        ::pwrite(descriptor_, bytes.data() + done, static_cast<size_t>(size - done), at + done);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0 && (errno == ENOSPC || errno == EDQUOT)) {
      throw Error(ErrorCode::io,
                  fmt::format("cannot write {}: {}; {} more bytes are needed; make room, then the "
                              "same command continues",
                              path_.string(), std::generic_category().message(errno),
                              file_.size - present_bytes()));
    }
    if (written < 0) io::throw_os_error("write", path_, errno);
    done += written;
  }
  if (size > 0) add({.begin = at, .end = at + size});
}

void PartialFile::add(ByteRange range) {
  auto next = present_.upper_bound(range.begin);
  if (next != present_.begin() && std::prev(next)->second >= range.begin) --next;
  while (next != present_.end() && next->first <= range.end) {
    range.begin = std::min(range.begin, next->first);
    range.end = std::max(range.end, next->second);
    next = present_.erase(next);
  }
  present_[range.begin] = range.end;
}

std::string PartialFile::read(int64_t at, int64_t most_bytes) const {
  std::string bytes(static_cast<size_t>(std::min(most_bytes, file_.size - at)), '\0');
  size_t done = 0;
  while (done < bytes.size()) {
    const ssize_t got = ::pread(descriptor_, bytes.data() + done, bytes.size() - done,
                                at + static_cast<int64_t>(done));
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) io::throw_os_error("read", path_, errno);
    if (got == 0) {
      throw Error(ErrorCode::io, fmt::format("{}: became shorter while it was checked; does "
                                             "something else write there?",
                                             path_.string()));
    }
    done += static_cast<size_t>(got);
  }
  return bytes;
}

bool PartialFile::agrees_with_etag(const std::string& etag) {
  if (file_.kind != DigestKind::none) return true;  // The digest will tell.
  const std::string strong = etag.starts_with("W/") ? "" : etag;
  if (present_.empty() || etag_.empty()) {
    etag_ = strong;
    return true;
  }
  return etag_ == strong;
}

void PartialFile::save() {
  if (descriptor_ < 0 || present_.empty()) return;
  if (::fdatasync(descriptor_) != 0) io::throw_os_error("write", path_, errno);
  OrderedJson note = {{"format", kFormat},  {"source", source_},
                      {"size", file_.size}, {"digest", named_digest(file_)},
                      {"etag", etag_},      {"present", OrderedJson::array()}};
  for (const auto& [begin, end] : present_) note["present"].push_back({begin, end});
  io::write_file_atomically(note_, note.dump() + "\n");
}

void PartialFile::discard() {
  present_.clear();
  etag_.clear();
  // The note first: it must not outlive the bytes.
  if (::unlink(note_.c_str()) != 0 && errno != ENOENT) io::throw_os_error("remove", note_, errno);
  if (::ftruncate(descriptor_, 0) != 0) io::throw_os_error("empty", path_, errno);
}

void PartialFile::publish(const fs::path& target) {
  SQUINT_CHECK(is_complete());
  if (::fsync(descriptor_) != 0) io::throw_os_error("write", path_, errno);
  if (::rename(path_.c_str(), target.c_str()) != 0) io::throw_os_error("write", target, errno);
  ::unlink(note_.c_str());
  ::close(std::exchange(descriptor_, -1));
  io::sync_folder(target.parent_path());
}

}  // namespace squint::hub
