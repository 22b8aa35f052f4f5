#include "support/paths.h"

#include <unistd.h>
#include <zlib.h>

#include <cstdlib>
#include <fstream>
#include <sstream>
#include <stdexcept>

namespace squint::test {
namespace fs = std::filesystem;

fs::path repo_dir() {
  const char* named = std::getenv("SQUINT_REPO_DIR");  // where programs were built elsewhere
  return named != nullptr ? named : SQUINT_REPO_DIR;
}

std::optional<fs::path> shared_data() {
  const char* named = std::getenv("SQUINT_SHARED_DATA");
  const fs::path path = named != nullptr ? fs::path(named) : repo_dir() / "../shared/data";
  if (!fs::is_directory(path / "tiny-qwen3-vl-ocr")) return std::nullopt;
  return fs::weakly_canonical(path);
}

std::string read_text(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  if (!in) throw std::runtime_error("cannot open " + path.string());
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

void write_text(const fs::path& path, const std::string& text) {
  std::ofstream out(path, std::ios::binary);
  out << text;
  if (!out.flush()) throw std::runtime_error("cannot write " + path.string());
}

std::string read_gzip(const fs::path& path) {
  const gzFile file = gzopen(path.c_str(), "rb");
  if (file == nullptr) throw std::runtime_error("cannot open " + path.string());
  std::string text;
  char block[1 << 16];
  int got = 0;
  while ((got = gzread(file, block, sizeof block)) > 0)
    text.append(block, static_cast<size_t>(got));
  gzclose(file);
  if (got < 0) throw std::runtime_error("not a gzip file: " + path.string());
  return text;
}

TempDir::TempDir() {
  std::string name = (fs::temp_directory_path() / "squint-test-XXXXXX").string();
  if (mkdtemp(name.data()) == nullptr) throw std::runtime_error("cannot make " + name);
  path_ = name;
}

TempDir::~TempDir() {
  std::error_code ignored;
  fs::remove_all(path_, ignored);
}

}  // namespace squint::test
