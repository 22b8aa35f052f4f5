#include "support/fake_hub.h"

#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <nlohmann/json.hpp>

#include "hub/digest.h"
#include "hub/url.h"

namespace squint::test {
namespace {

using Json = nlohmann::json;

FakeReply json_reply(const Json& json) {
  return {.headers = {{"Content-Type", "application/json"}}, .body = json.dump()};
}

FakeReply not_there(const std::string& code) {
  return {.status = 404,
          .headers = {{"X-Error-Code", code}, {"X-Request-Id", "request-7"}},
          .body = R"({"error":"not here"})"};
}

bool after(std::string& text, std::string_view start) {
  if (!text.starts_with(start)) return false;
  text.erase(0, start.size());
  return true;
}

std::string listed(const FakeFile& file, hub::DigestKind kind) {
  return file.listed_digest.empty() ? digest_of(kind, file.content) : file.listed_digest;
}

Json tree_entry(const std::string& path, const FakeFile& file) {
  if (!file.large) {
    return {{"type", "file"},
            {"oid", listed(file, hub::DigestKind::git_sha1)},
            {"size", file.content.size()},
            {"path", path}};
  }
  return {{"type", "file"},
          {"oid", std::string(40, 'e')},
          {"size", file.content.size()},
          {"path", path},
          {"lfs",
           {{"oid", listed(file, hub::DigestKind::sha256)},
            {"size", file.content.size()},
            {"pointerSize", 126}}}};
}

}  // namespace

FakeReply content_reply(const FakeRequest& request, const std::string& content) {
  const auto found = request.headers.find("range");
  if (found == request.headers.end()) return {.body = content};
  const std::string range = found->second.substr(found->second.find('=') + 1);
  const size_t begin = std::stoull(range);
  if (begin >= content.size()) return {.status = 416};
  const size_t last =
      std::min<size_t>(std::stoull(range.substr(range.find('-') + 1)), content.size() - 1);
  return {
      .status = 206,
      .headers = {{"Content-Range", fmt::format("bytes {}-{}/{}", begin, last, content.size())}},
      .body = content.substr(begin, last + 1 - begin)};
}

FakeHub::Alter first(int times, std::string part, std::function<void(FakeReply&)> change) {
  return between(0, times, std::move(part), std::move(change));
}

FakeHub::Alter between(int begin, int end, std::string part,
                       std::function<void(FakeReply&)> change) {
  const auto count = std::make_shared<int>(0);
  return [=](const FakeRequest& request, FakeReply& reply) {
    if (request.path.find(part) == std::string::npos) return;
    const int number = (*count)++;
    if (number >= begin && number < end) change(reply);
  };
}

std::string bytes_of(uint64_t seed, size_t size) {
  std::string bytes;
  bytes.reserve(size + 8);
  while (bytes.size() < size) {
    uint64_t z = seed += 0x9E3779B97F4A7C15;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
    z ^= z >> 31;
    bytes.append(reinterpret_cast<const char*>(&z), sizeof(z));
  }
  bytes.resize(size);
  return bytes;
}

std::string digest_of(hub::DigestKind kind, const std::string& content) {
  hub::Digest digest(kind, static_cast<int64_t>(content.size()));
  digest.add(content);
  return digest.finish();
}

FakeHub::FakeHub()
    : content_([this](const FakeRequest& request) {
        const std::lock_guard lock(mutex_);
        const auto file = files.find(request.path.substr(std::string("/content/").size()));
        FakeReply reply = file == files.end() ? FakeReply{.status = 404}
                                              : content_reply(request, file->second.content);
        if (alter_content) alter_content(request, reply);
        return reply;
      }),
      hub_([this](const FakeRequest& request) {
        const std::lock_guard lock(mutex_);
        FakeReply reply = answer(request);
        if (alter_hub) alter_hub(request, reply);
        return reply;
      }) {}

FakeReply FakeHub::answer(const FakeRequest& request) const {
  std::string rest = request.path;
  const std::string id = kFakeId;
  if (after(rest, "/api/v1/models/" + id) || after(rest, "/api/v1/datasets/" + id)) {
    return answer_modelscope(rest, request);
  }
  if (after(rest, "/api/models/" + id) || after(rest, "/api/datasets/" + id) ||
      after(rest, "/api/resolve-cache/" + id) || after(rest, "/datasets/" + id) ||
      after(rest, "/" + id)) {
    return answer_hugging_face(rest, request);
  }
  return not_there("RepoNotFound");
}

FakeReply FakeHub::redirect(const std::string& path) const {
  return {.status = 302,
          .headers = {{"Location", fmt::format("{}/content/{}?Signature=secret-signature",
                                               content_.url(), hub::encode_path(path))}},
          .body = "moved"};
}

FakeReply FakeHub::tree(const FakeRequest& request) const {
  const auto cursor = request.query.find("cursor");
  const size_t begin = cursor == request.query.end() ? 0 : std::stoul(cursor->second);
  Json entries = {{{"type", "directory"}, {"oid", ""}, {"size", 0}, {"path", "a-folder"}}};
  size_t at = 0;
  for (const auto& [path, file] : files) {
    if (at >= begin && at < begin + page_size) entries.push_back(tree_entry(path, file));
    ++at;
  }
  FakeReply reply = json_reply(entries);
  if (begin + page_size < files.size()) {
    reply.headers.emplace_back("Link", fmt::format("<{}{}?recursive=true&cursor={}>; rel=\"next\"",
                                                   hub_.url(), request.path, begin + page_size));
  }
  return reply;
}

FakeReply FakeHub::answer_hugging_face(const std::string& given, const FakeRequest& request) const {
  std::string rest = given;
  if (after(rest, "/revision/")) {
    return rest == "main" || rest == kFakeCommit
               ? json_reply({{"id", kFakeId}, {"sha", kFakeCommit}})
               : not_there("RevisionNotFound");
  }
  if (after(rest, std::string("/tree/") + kFakeCommit)) return tree(request);
  const bool resolve = after(rest, std::string("/resolve/") + kFakeCommit + "/");
  const auto file = files.find(rest.starts_with("/") ? rest.substr(1) : rest);
  if (file == files.end()) return not_there("EntryNotFound");
  if (!resolve) return content_reply(request, file->second.content);
  FakeReply reply = redirect(file->first);
  if (!file->second.large) {
    reply.status = 307;
    reply.headers = {{"Location", fmt::format("/api/resolve-cache/{}/{}", kFakeId,
                                              hub::encode_path(file->first))}};
  } else {
    reply.headers.emplace_back(
        "X-Linked-Etag", "\"" + digest_of(hub::DigestKind::sha256, file->second.content) + "\"");
  }
  reply.headers.emplace_back("X-Repo-Commit", kFakeCommit);
  return reply;
}

FakeReply FakeHub::answer_modelscope(const std::string& rest, const FakeRequest& request) const {
  const auto error = [](int code, const std::string& message) {
    return json_reply(
        {{"Code", code}, {"Success", false}, {"Message", message}, {"Data", nullptr}});
  };
  if (request.query.at("Revision") != "master") return error(404, "no such revision");
  if (rest == "/repo") {
    const auto file = files.find(request.query.at("FilePath"));
    if (file == files.end()) return error(404, "no such file");
    return file->second.large ? redirect(file->first)
                              : content_reply(request, file->second.content);
  }
  const bool paged = rest == "/repo/tree";
  const size_t size = paged ? std::stoul(request.query.at("PageSize")) : files.size() + 1;
  const size_t begin = paged ? (std::stoul(request.query.at("PageNumber")) - 1) * size : 0;
  Json entries = Json::array();
  size_t at = 0;
  for (const auto& [path, file] : files) {
    if (at >= begin && at < begin + size) {
      entries.push_back({{"Path", path},
                         {"Type", "blob"},
                         {"Size", file.content.size()},
                         {"Sha256", listed(file, hub::DigestKind::sha256)}});
    }
    ++at;
  }
  if (!paged)
    entries.push_back({{"Path", "a-folder"}, {"Type", "tree"}, {"Size", 0}, {"Sha256", ""}});
  return json_reply({{"Code", 200}, {"Success", true}, {"Data", {{"Files", entries}}}});
}

}  // namespace squint::test
