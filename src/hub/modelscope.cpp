// ModelScope: lists with a SHA-256 for every file, but no name for a state of the repository. An
// error may come with status 200 and say so in "Code" alone.
#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "base/json.h"
#include "hub/repository.h"
#include "hub/url.h"
#include "squint/error.h"

namespace squint::hub {
namespace {

constexpr int kPageSize = 100;
constexpr int kMaxPages = 10'000;

// The member "Data" of a success.
Json data_of(const HttpResponse& response, const std::string& where) {
  const Json answer = parse_json(json_text(response, where), where);
  const int64_t code = int_member(answer, "Code", where);
  const auto success = answer.find("Success");
  const bool denied = success != answer.end() && success->is_boolean() && !success->get<bool>();
  if (code != 200 || denied) {
    const auto words = answer.find("Message");
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: ModelScope says {}{}; is the name right, and is it a model or a "
                            "data set?",
                            where, code,
                            words != answer.end() && words->is_string()
                                ? ", \"" + quotable(words->get<std::string>()) + "\""
                                : ""));
  }
  return member(answer, "Data", where);
}

class ModelScopeRepository final : public Repository {
 public:
  ModelScopeRepository(const PullOptions& options, const std::string& endpoint)
      : id_(options.id),
        revision_(options.revision),
        is_model_(options.kind == RepoKind::model),
        base_(endpoint + (is_model_ ? "/api/v1/models/" : "/api/v1/datasets/") + options.id +
              "/repo") {}

  Listing list(Session& session) override {
    const std::string where = fmt::format("{} at {}", id_, revision_);
    const std::string revision = "Revision=" + encode_component(revision_);
    Listing listing;
    if (is_model_) {
      read_page(session, base_ + "/files?" + revision + "&Recursive=True", where, listing);
      return listing;
    }
    for (int page = 1;; ++page) {
      const std::string url =
          fmt::format("{}/tree?{}&Root=%2F&Recursive=True&PageNumber={}&PageSize={}", base_,
                      revision, page, kPageSize);
      if (read_page(session, url, where, listing) < kPageSize) return listing;
      if (page == kMaxPages) {
        throw Error(ErrorCode::bad_input, where + ": its list of files does not end");
      }
    }
  }

  std::string file_url(const RepoFile& file) const override {
    const std::string path = encode_component(file.path);
    const std::string revision = encode_component(revision_);
    return is_model_ ? fmt::format("{}?Revision={}&FilePath={}", base_, revision, path)
                     : fmt::format("{}?Source=SDK&Revision={}&FilePath={}&View=False", base_,
                                   revision, path);
  }

 private:
  // Returns how many entries it has, folders included.
  static size_t read_page(Session& session, const std::string& url, const std::string& where,
                          Listing& listing) {
    const Json data = data_of(session.get(url, where), where);
    const Json& entries = member(data, "Files", where);
    if (entries.is_null()) return 0;
    if (!entries.is_array()) {
      throw Error(ErrorCode::bad_input, where + ": \"Files\" is no array");
    }
    for (const Json& entry : entries) {
      if (string_member(entry, "Type", where) == "tree") continue;
      RepoFile file{.path = string_member(entry, "Path", where),
                    .size = int_member(entry, "Size", where),
                    .kind = DigestKind::sha256,
                    .digest = string_member(entry, "Sha256", where)};
      if (file.digest.empty()) {
        file.kind = DigestKind::none;
        session.notice(
            fmt::format("{}: ModelScope states no SHA-256, only its size is checked", file.path));
      }
      listing.files.push_back(std::move(file));
    }
    return entries.size();
  }

  std::string id_;
  std::string revision_;
  bool is_model_;
  std::string base_;
};

}  // namespace

std::unique_ptr<Repository> modelscope_repository(const PullOptions& options,
                                                  const std::string& endpoint) {
  return std::make_unique<ModelScopeRepository>(options, endpoint);
}

}  // namespace squint::hub
