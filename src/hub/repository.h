// repository.h: what a hub says about a repository: its files, and where they are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "hub/session.h"
#include "squint/pull.h"

namespace squint::hub {

enum class DigestKind : uint8_t { none, sha256, git_sha1 };

struct RepoFile {
  std::string path;
  int64_t size = 0;
  DigestKind kind = DigestKind::none;
  std::string digest;  // 64 or 40 hexadecimal digits in lower case
};

struct Listing {
  std::string commit;  // empty where the hub has no name for a state
  std::vector<RepoFile> files;
};

// One repository in one revision. Both hubs are described in docs/pull.md.
class Repository {
 public:
  virtual ~Repository() = default;
  // All files. Paths and digests are as the hub sent them, checked by checked_files.
  virtual Listing list(Session& session) = 0;
  virtual std::string file_url(const RepoFile& file) const = 0;
};

std::unique_ptr<Repository> hugging_face_repository(const PullOptions& options,
                                                    const std::string& endpoint);
std::unique_ptr<Repository> modelscope_repository(const PullOptions& options,
                                                  const std::string& endpoint);

}  // namespace squint::hub
