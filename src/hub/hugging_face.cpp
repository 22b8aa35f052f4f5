// Hugging Face: a revision's commit, then its tree, page by page, at that commit. Files are asked
// for at the commit too, so that a push in between cannot mix two states.
#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "hub/repository.h"
#include "hub/url.h"
#include "squint/error.h"

namespace squint::hub {
namespace {

constexpr int kMaxPages = 10'000;

bool is_commit(const std::string& text) {
  return text.size() == 40 && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

RepoFile file_of(const Json& entry, const std::string& where) {
  RepoFile file{.path = string_member(entry, "path", where),
                .size = int_member(entry, "size", where),
                .kind = DigestKind::git_sha1,
                .digest = ""};
  const auto lfs = entry.find("lfs");
  if (lfs != entry.end() && lfs->is_object()) {
    file.kind = DigestKind::sha256;
    file.digest = string_member(*lfs, "oid", where);
    file.size = int_member(*lfs, "size", where);
  } else {
    file.digest = string_member(entry, "oid", where);
  }
  return file;
}

// Of `<https://...>; rel="next", <...>; rel="other"`.
std::string next_page(const HttpResponse& response) {
  const std::string* link = response.header("Link");
  if (link == nullptr) return "";
  for (size_t begin = link->find('<'); begin != std::string::npos; begin = link->find('<', begin)) {
    const size_t end = link->find('>', begin);
    if (end == std::string::npos) return "";
    const size_t next = std::min(link->find('<', end), link->size());
    if (link->substr(end, next - end).find("rel=\"next\"") != std::string::npos) {
      return link->substr(begin + 1, end - begin - 1);
    }
    begin = end;
  }
  return "";
}

class HuggingFaceRepository final : public Repository {
 public:
  HuggingFaceRepository(const PullOptions& options, const std::string& endpoint)
      : id_(options.id),
        revision_(options.revision),
        api_(endpoint + (options.kind == RepoKind::model ? "/api/models/" : "/api/datasets/") +
             options.id),
        files_(endpoint + (options.kind == RepoKind::model ? "/" : "/datasets/") + options.id) {}

  Listing list(Session& session) override {
    const std::string where = fmt::format("{} at {}", id_, revision_);
    const HttpResponse info = session.get(api_ + "/revision/" + encode_component(revision_), where);
    commit_ = string_member(parse_json(json_text(info, where), where), "sha", where);
    if (!is_commit(commit_)) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: \"sha\" is no commit of 40 hexadecimal digits", where));
    }
    Listing listing{.commit = commit_, .files = {}};
    std::string url = api_ + "/tree/" + commit_ + "?recursive=true&expand=false";
    for (int page = 0; !url.empty(); ++page) {
      if (page == kMaxPages) {
        throw Error(ErrorCode::bad_input, where + ": its list of files does not end");
      }
      url = read_page(session, url, where, listing);
    }
    return listing;
  }

  std::string file_url(const RepoFile& file) const override {
    return files_ + "/resolve/" + commit_ + "/" + encode_path(file.path);
  }

 private:
  // Returns the address of the next page, or nothing.
  static std::string read_page(Session& session, const std::string& url, const std::string& where,
                               Listing& listing) {
    const HttpResponse response = session.get(url, where);
    const Json entries = parse_json(json_text(response, where), where);
    if (!entries.is_array()) {
      throw Error(ErrorCode::bad_input, where + ": its list of files is no array");
    }
    for (const Json& entry : entries) {
      if (string_member(entry, "type", where) == "file") {
        listing.files.push_back(file_of(entry, where));
      }
    }
    const std::string next = next_page(response);
    if (next.empty()) return "";
    const std::string target = session.on_this_mirror(resolve(url, next));
    if (!session.is_own(target)) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: the next page of its list of files is on another server, {}",
                              where, shown(target)));
    }
    return target;
  }

  std::string id_;
  std::string revision_;
  std::string api_;
  std::string files_;
  std::string commit_;
};

}  // namespace

std::unique_ptr<Repository> hugging_face_repository(const PullOptions& options,
                                                    const std::string& endpoint) {
  return std::make_unique<HuggingFaceRepository>(options, endpoint);
}

}  // namespace squint::hub
