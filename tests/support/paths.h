// paths.h: where tests find their files.
#pragma once

#include <filesystem>
#include <optional>
#include <string>

namespace squint::test {

std::filesystem::path repo_dir();

// The larger test sets that do not travel with the repository: ../shared/data, or
// $SQUINT_SHARED_DATA. Tests that need it say GTEST_SKIP() << kNoShared where it is absent.
std::optional<std::filesystem::path> shared_data();
inline constexpr const char* kNoShared = "skipped: not present";

std::string read_text(const std::filesystem::path& path);
void write_text(const std::filesystem::path& path, const std::string& text);
// The bytes of a gzip file.
std::string read_gzip(const std::filesystem::path& path);

// A fresh folder, removed with everything in it at the end of the scope.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

}  // namespace squint::test
