#include "hub/file_names.h"

#include <fmt/format.h>
#include <fnmatch.h>

#include <algorithm>
#include <cctype>

#include "base/checked_math.h"
#include "squint/error.h"

namespace squint::hub {
namespace {

constexpr size_t kLongestName = 200;  // leaves room for what a partial file's name has more
constexpr size_t kLongestPath = 2000;

bool is_id_char(char c) {
  return std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '_' || c == '-';
}

std::string problem_with_part(std::string_view part) {
  if (part.empty()) return "an empty part";
  if (part == "." || part == "..") return "a part that leads elsewhere";
  if (part.ends_with(".incomplete") || part.ends_with(".incomplete.json")) {
    return "a name that files have on their way";
  }
  if (part.size() > kLongestName) return fmt::format("a part of more than {} bytes", kLongestName);
  return "";
}

// In error messages: what a server sends must not control a terminal.
std::string printable(std::string_view text) {
  std::string out;
  for (const char c : text.substr(0, kLongestName)) {
    const auto byte = static_cast<unsigned char>(c);
    out += byte < ' ' || byte == 0x7F ? fmt::format("\\x{:02x}", byte) : std::string(1, c);
  }
  return out;
}

void check_facts(const RepoFile& file) {
  const size_t digits = file.kind == DigestKind::sha256     ? 64
                        : file.kind == DigestKind::git_sha1 ? 40
                                                            : 0;
  const bool is_hex = std::ranges::all_of(
      file.digest, [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
  // The digest also names files of a cache.
  if (file.digest.size() != digits || !is_hex) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the hub's list has a digest that is not {} hexadecimal digits",
                            file.path, digits));
  }
  if (file.size < 0) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: the hub's list says {} bytes", file.path, file.size));
  }
}

bool is_taken(const std::string& path, const PullOptions& options) {
  const auto any = [&](const std::vector<std::string>& patterns) {
    return std::ranges::any_of(patterns, [&](const auto& pattern) { return fits(pattern, path); });
  };
  return (options.include.empty() || any(options.include)) && !any(options.exclude);
}

}  // namespace

std::string problem_with(std::string_view path) {
  if (path.empty()) return "it is empty";
  if (path.size() > kLongestPath) return fmt::format("it has more than {} bytes", kLongestPath);
  if (path.front() == '/') return "it is absolute";
  if (path.size() > 1 && path[1] == ':') return "it begins with a drive";
  for (const char c : path) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '\\') return "it has a backslash";
    if (byte < ' ' || byte == 0x7F) return "it has a control character";
  }
  for (size_t begin = 0; begin <= path.size();) {
    const size_t end = std::min(path.find('/', begin), path.size());
    if (std::string problem = problem_with_part(path.substr(begin, end - begin));
        !problem.empty()) {
      return "it has " + problem;
    }
    begin = end + 1;
  }
  return "";
}

void check_id(const std::string& id, HubKind hub) {
  const auto is_good = [](std::string_view part) {
    return !part.empty() && part.size() <= 96 && part.front() != '.' && part.front() != '-' &&
           std::ranges::all_of(part, is_id_char) && part.find("..") == std::string_view::npos;
  };
  const size_t slash = id.find('/');
  const std::string_view whole = id;
  const bool good = slash == std::string::npos
                        ? hub == HubKind::hugging_face && is_good(whole)
                        : is_good(whole.substr(0, slash)) && is_good(whole.substr(slash + 1));
  if (good) return;
  throw Error(ErrorCode::usage,
              fmt::format("\"{}\" is no repository: expected OWNER/NAME of letters, digits, "
                          "\"-\", \"_\" and \".\"",
                          id));
}

void check_revision(const std::string& revision) {
  if (const std::string problem = problem_with(revision); !problem.empty()) {
    throw Error(ErrorCode::usage, fmt::format("revision \"{}\": {}", revision, problem));
  }
}

bool fits(const std::string& pattern, const std::string& path) {
  const std::string whole = pattern.ends_with('/') ? pattern + "*" : pattern;
  return ::fnmatch(whole.c_str(), path.c_str(), FNM_NOESCAPE) == 0;
}

std::vector<RepoFile> checked_files(std::vector<RepoFile> files, const PullOptions& options) {
  const size_t listed = files.size();
  // Before anything is selected: a hub that sends such a name is not to be trusted with others.
  for (const RepoFile& file : files) {
    if (const std::string problem = problem_with(file.path); !problem.empty()) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("the hub lists a file \"{}\", which is refused: {}",
                              printable(file.path), problem));
    }
    check_facts(file);
  }
  std::erase_if(files, [&](const RepoFile& file) { return !is_taken(file.path, options); });
  std::ranges::sort(files, {}, &RepoFile::path);
  const auto twice = std::ranges::adjacent_find(files, {}, &RepoFile::path);
  if (twice != files.end()) {
    throw Error(ErrorCode::bad_input, fmt::format("the hub lists {} twice", twice->path));
  }
  if (files.empty()) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: none of its {} files fits --include and --exclude", options.id, listed));
  }
  int64_t total = 0;
  for (const RepoFile& file : files) {
    const auto sum = checked_add(total, file.size);
    if (!sum) throw Error(ErrorCode::bad_input, options.id + ": sizes beyond any disk");
    total = *sum;
  }
  return files;
}

}  // namespace squint::hub
