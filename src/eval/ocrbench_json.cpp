#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <map>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "eval/ocrbench_containers.h"
#include "eval/utf8.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::eval {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

using Keys = std::initializer_list<std::string_view>;

// The value under whichever of the keys the row has.
const Json& member_of(const Json& row, Keys keys, std::string_view where) {
  for (const std::string_view key : keys) {
    if (row.is_object() && row.contains(key)) return row[std::string(key)];
  }
  return member(row, *keys.begin(), where);
}

std::string text_of(const Json& row, Keys keys, std::string_view where) {
  const Json& value = member_of(row, keys, where);
  if (!value.is_string()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: \"{}\" should be a string, but is {}", where,
                                                  *keys.begin(), value.type_name()));
  }
  return value.get<std::string>();
}

std::vector<std::string> answers_of(const Json& row, std::string_view where) {
  const Json& value = member_of(row, {"answers", "answer"}, where);
  std::vector<std::string> answers;
  if (value.is_string()) answers.push_back(value.get<std::string>());
  if (value.is_array()) {
    for (const Json& answer : value) {
      if (answer.is_string()) answers.push_back(answer.get<std::string>());
    }
  }
  if (answers.empty() || (value.is_array() && answers.size() != value.size())) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: \"answers\" should be a string or a list of at least one, but is {}",
                    where, clip(one_line(value.dump(-1, ' ', true)), 60)));
  }
  expect_answers(answers, where);
  return answers;
}

std::string ascii_lower(std::string text) {
  for (char& c : text) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return text;
}

bool is_file(const fs::path& path) {
  std::error_code ignored;
  return fs::is_regular_file(path, ignored);
}

class ImageFinder {
 public:
  explicit ImageFinder(const fs::path& folder)
      : roots_{folder, folder / "images", folder / "OCRBench_Images"} {}

  // `name` is a relative path without "..".
  fs::path find(const fs::path& name, std::string_view where) {
    for (const fs::path& root : roots_) {
      if (is_file(root / name)) return root / name;
    }
    for (const fs::path& root : roots_) {
      const auto& folders = folders_of(root);
      const auto found = folders.find(ascii_lower(name.begin()->string()));
      if (found == folders.end()) continue;
      fs::path path = root / found->second;
      for (auto part = std::next(name.begin()); part != name.end(); ++part) path /= *part;
      if (is_file(path)) return path;
    }
    throw Error(
        ErrorCode::io,
        fmt::format("{}: no image \"{}\" below {}, its images/ or OCRBench_Images/; are the "
                    "images, a download of their own, missing?",
                    where, name.string(), roots_[0].string()));
  }

 private:
  // Folders below `root` by their lower-case names; of two alike the alphabetically first.
  const std::map<std::string, std::string>& folders_of(const fs::path& root) {
    const auto [at, is_new] = folders_.try_emplace(root);
    if (!is_new) return at->second;
    std::vector<std::string> names;
    std::error_code ignored;
    for (const auto& entry : fs::directory_iterator(root, ignored)) {
      if (entry.is_directory(ignored)) names.push_back(entry.path().filename().string());
    }
    std::ranges::sort(names);
    for (const std::string& name : names) at->second.try_emplace(ascii_lower(name), name);
    return at->second;
  }

  std::array<fs::path, 3> roots_;
  std::map<fs::path, std::map<std::string, std::string>> folders_;
};

// Data comes from strangers: an image must not be looked for outside of its folder.
fs::path safe_image_path(const std::string& text, std::string_view where) {
  fs::path path(text);
  const bool leaves = std::ranges::find(path, fs::path("..")) != path.end();
  if (text.empty() || path.is_absolute() || leaves || text.find('\0') != std::string::npos) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: \"image_path\" should be a path inside the data's folder, but is "
                            "\"{}\"",
                            where, one_line(text)));
  }
  return path;
}

Sample sample_of(const Json& row, int64_t index, const std::string& where, ImageFinder& images) {
  Sample sample;
  sample.index = index;
  if (row.is_object() && row.contains("id")) sample.source_id = int_member(row, "id", where);
  sample.dataset = text_of(row, {"dataset_name", "dataset"}, where);
  sample.type = text_of(row, {"type", "question_type", "category"}, where);
  sample.question = text_of(row, {"question"}, where);
  sample.answers = answers_of(row, where);
  sample.image_key = text_of(row, {"image_path"}, where);
  sample.image.path = images.find(safe_image_path(sample.image_key, where), where);
  return sample;
}

}  // namespace

std::vector<Sample> load_json(const fs::path& file) {
  const Json rows = parse_json(io::read_file(file, kMaxFileBytes), file.string());
  if (!rows.is_array() || rows.empty()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected a list of rows, found {}", file.string(),
                            rows.is_array() ? "an empty one" : rows.type_name()));
  }
  ImageFinder images(file.parent_path().empty() ? fs::path(".") : file.parent_path());
  std::vector<Sample> samples;
  for (const Json& row : rows) {
    const auto index = static_cast<int64_t>(samples.size());
    samples.push_back(
        sample_of(row, index, fmt::format("{} row {}", file.string(), index), images));
  }
  return samples;
}

}  // namespace squint::eval
