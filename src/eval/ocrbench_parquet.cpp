#include <fmt/format.h>

#include <algorithm>
#include <memory>
#include <mutex>
#include <optional>

#include "eval/ocrbench_containers.h"
#include "io/fingerprint.h"
#include "io/parquet.h"
#include "squint/error.h"

namespace squint::eval {
namespace fs = std::filesystem;
namespace {

using io::ParquetFile;
using io::ParquetRows;
using io::ParquetValue;
using Kind = ParquetValue::Kind;

std::string_view column_of(const ParquetFile& file, const std::vector<std::string>& columns,
                           const std::vector<std::string_view>& names, const fs::path& path) {
  for (const std::string_view name : names) {
    if (std::ranges::find(columns, name) != columns.end()) return name;
  }
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: {} rows without a column \"{}\"; is it OCRBench?", path.string(),
                          file.rows(), names[0]));
}

// Images of one file, in any order; going back starts from the front once more.
class Images {
 public:
  Images(const fs::path& path, std::shared_ptr<const ParquetFile> file)
      : path_(path),
        file_(std::move(file)),
        column_(column_of(*file_, file_->columns(), {"image"}, path)) {}

  std::string read(int64_t row) {
    const std::lock_guard lock(mutex_);
    if (!rows_ || row < next_) rows_.emplace(*file_, std::span(&column_, 1));
    next_ = row + 1;
    const ParquetValue value = rows_->read(row)[0];
    const ParquetValue* bytes = value.kind == Kind::group ? value.find("bytes") : &value;
    if (bytes == nullptr || bytes->kind != Kind::bytes || bytes->bytes.empty()) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{} row {}: \"image\" holds no bytes; images by path alone are not "
                              "read",
                              path_.string(), row));
    }
    return bytes->bytes;
  }

 private:
  fs::path path_;
  std::shared_ptr<const ParquetFile> file_;
  std::string_view column_;
  std::mutex mutex_;
  std::optional<ParquetRows> rows_;
  int64_t next_ = 0;
};

std::string text_of(const ParquetValue& value, std::string_view column, std::string_view where) {
  if (value.kind != Kind::bytes) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: \"{}\" should be a string", where, column));
  }
  return value.bytes;
}

std::vector<std::string> answers_of(const ParquetValue& value, std::string_view column,
                                    std::string_view where) {
  std::vector<std::string> answers;
  if (value.kind == Kind::list) {
    for (const ParquetValue& item : value.items) answers.push_back(text_of(item, column, where));
  } else {
    answers.push_back(text_of(value, column, where));
  }
  expect_answers(answers, where);
  return answers;
}

void append(const fs::path& path, std::vector<Sample>& samples) {
  const auto file = std::make_shared<const ParquetFile>(path);
  const std::vector<std::string> names = file->columns();
  const auto column = [&](const std::vector<std::string_view>& spellings) {
    return column_of(*file, names, spellings, path);
  };
  const std::string_view columns[] = {column({"dataset", "dataset_name"}),
                                      column({"question_type", "type", "category"}),
                                      column({"question"}), column({"answer", "answers"})};
  ParquetRows rows(*file, columns);
  const auto images = std::make_shared<Images>(path, file);
  for (int64_t row = 0; row < file->rows(); ++row) {
    const std::string where = fmt::format("{} row {}", path.string(), row);
    const std::vector<ParquetValue> values = rows.read(row);
    Sample sample;
    sample.index = static_cast<int64_t>(samples.size());
    sample.dataset = text_of(values[0], columns[0], where);
    sample.type = text_of(values[1], columns[1], where);
    sample.question = text_of(values[2], columns[2], where);
    sample.answers = answers_of(values[3], columns[3], where);
    sample.image = {.path = where, .bytes = [images, row] { return images->read(row); }};
    sample.image_key = io::sha256(sample.image.bytes());
    samples.push_back(std::move(sample));
  }
}

}  // namespace

std::vector<Sample> load_parquet(std::span<const fs::path> files) {
  std::vector<Sample> samples;
  for (const fs::path& file : files) append(file, samples);
  if (samples.empty()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: has no rows", files[0].string()));
  }
  return samples;
}

}  // namespace squint::eval
