// partial_file.h: a file of which any ranges have arrived.
//
// Its bytes stand in a sparse file, and which of them are there in a note beside it (".json"),
// which never claims bytes that are not on disk. The lock on the file keeps a second process away
// from both. A note of another content (size, digest; where there is no digest, source and ETag) is
// dropped with the bytes.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "hub/http_client.h"
#include "hub/repository.h"

namespace squint::hub {

class PartialFile {
 public:
  // Opens what an earlier run left, or begins. `source` is the address, for files without a digest.
  // Error(io): another process has it, no permission.
  PartialFile(std::filesystem::path path, const RepoFile& file, std::string source);
  ~PartialFile();
  PartialFile(const PartialFile&) = delete;
  PartialFile& operator=(const PartialFile&) = delete;

  int64_t present_bytes() const;
  bool is_complete() const { return present_bytes() == file_.size; }

  // The first missing bytes that nobody has claimed, at most that many.
  std::optional<ByteRange> claim(int64_t most_bytes);
  void release(const ByteRange& claimed);

  void write(int64_t at, std::string_view bytes);
  std::string read(int64_t at, int64_t most_bytes) const;

  // Of the content at its server; only kept for files without a digest. False where it differs from
  // that of the bytes that are there.
  bool agrees_with_etag(const std::string& etag);

  void save();     // bytes to disk, then the note
  void discard();  // all bytes; claims stay
  // Complete: gives it its name, in place of what had it.
  void publish(const std::filesystem::path& target);

  // What an earlier run left there for this content, without opening it for writing.
  static int64_t present_bytes(const std::filesystem::path& path, const RepoFile& file,
                               const std::string& source);

 private:
  void open_locked();
  void load();
  void add(ByteRange range);

  std::filesystem::path path_;
  std::filesystem::path note_;
  RepoFile file_;
  std::string source_;
  std::string etag_;
  int descriptor_ = -1;
  std::map<int64_t, int64_t> present_;  // begin to end, neither touching nor overlapping
  std::vector<ByteRange> claimed_;
};

}  // namespace squint::hub
