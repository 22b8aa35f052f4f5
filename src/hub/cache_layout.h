// cache_layout.h: where files go: a plain folder, or a cache that other programs read too.
//
// Hugging Face:  CACHE/models--OWNER--NAME/blobs/DIGEST           the bytes
//                                         /snapshots/COMMIT/PATH  relative symlinks to them
//                                         /refs/REVISION          the commit
// ModelScope:    CACHE/models/OWNER--NAME/snapshots/REVISION/PATH
//
// Anything with a digest as its name in blobs/ was checked before it got it.
#pragma once

#include <filesystem>
#include <string>

#include "hub/repository.h"

namespace squint::hub {

struct Place {
  std::filesystem::path content;  // gets the bytes
  std::filesystem::path link;     // names them; empty where content is the name
  std::filesystem::path partial;  // beside content, while they arrive
  bool named_by_digest = false;   // what stands at content is right
};

class CacheLayout {
 public:
  CacheLayout(const PullOptions& options, std::string commit);

  // Where a person finds the files.
  const std::filesystem::path& folder() const { return folder_; }
  Place place(const RepoFile& file) const;
  // The folders that a file needs.
  static void make_folders(const Place& place);
  // The name in the snapshot, in place of what had it.
  static void link(const Place& place);
  // All selected files are there.
  void finish() const;

 private:
  std::filesystem::path folder_;
  std::filesystem::path blobs_;  // empty: files stand in the folder itself
  std::filesystem::path ref_;
  std::string commit_;
};

}  // namespace squint::hub
