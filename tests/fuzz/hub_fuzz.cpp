// What a hub and a broken download leave for squint to read: addresses, names of files, patterns
// against them, and the note beside a partial file. Five lines: base, location, path, pattern,
// note.
#include <unistd.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

#include "hub/file_names.h"
#include "hub/partial_file.h"
#include "hub/url.h"
#include "squint/error.h"

namespace {

namespace fs = std::filesystem;
namespace hub = squint::hub;

void expect(bool holds) {
  if (!holds) std::abort();
}

void addresses(const std::string& base, const std::string& location) {
  const std::string target = hub::resolve(base, location);
  if (hub::origin_of(target)) expect(hub::shown(target).find_first_of("?#") == std::string::npos);
  // What is encoded is one component, and no address of its own.
  expect(hub::encode_component(location).find_first_of("/:@?#\\ ") == std::string::npos);
  hub::encode_path(location);
}

void names(const std::string& path, const std::string& pattern) {
  hub::fits(pattern, path);
  if (!hub::problem_with(path).empty()) return;
  const fs::path inside = (fs::path("/folder") / path).lexically_normal();
  expect(inside.string().starts_with("/folder/"));
}

// A note claims no bytes that the file does not have, whatever it says.
void note(const std::string& text) {
  const fs::path folder = fs::temp_directory_path() / "squint_hub_fuzz" / std::to_string(getpid());
  fs::create_directories(folder);
  const fs::path file = folder / "part";
  std::ofstream(file) << "0123456789";
  std::ofstream(file.string() + ".json") << text;
  const hub::RepoFile wanted{
      .path = "part", .size = 10, .kind = hub::DigestKind::none, .digest = ""};
  try {
    hub::PartialFile part(file, wanted, "https://hub/part");
    expect(part.present_bytes() >= 0 && part.present_bytes() <= 10);
  } catch (const squint::Error&) {
    // What files from elsewhere may cause.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::array<std::string, 5> parts;
  for (size_t i = 0; i < parts.size(); ++i) {
    const size_t end = i + 1 < parts.size() ? rest.find('\n') : std::string_view::npos;
    parts[i] = rest.substr(0, end);
    rest.remove_prefix(end == std::string_view::npos ? rest.size() : end + 1);
  }
  addresses(parts[0], parts[1]);
  names(parts[2], parts[3]);
  note(parts[4]);
  return 0;
}
