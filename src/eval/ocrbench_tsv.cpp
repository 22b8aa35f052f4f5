#include <fmt/format.h>

#include <charconv>
#include <map>

#include "eval/ocrbench_containers.h"
#include "eval/python_list.h"
#include "eval/utf8.h"
#include "io/base64.h"
#include "io/fingerprint.h"
#include "io/mapped_file.h"
#include "io/tsv.h"
#include "squint/error.h"

namespace squint::eval {
namespace fs = std::filesystem;
namespace {

constexpr size_t kMaxTextBytes = size_t{1} << 20;
constexpr size_t kLongestIndex = 64;  // an image cell of at most that many characters is one

class Table {
 public:
  explicit Table(const fs::path& file)
      : file_(file),
        mapping_(io::map_file(file)),
        reader_(text_of_mapping(), file.string()),
        index_(expect({"index"})),
        image_(expect({"image"})),
        question_(expect({"question"})),
        answer_(expect({"answer", "answers"})),
        type_(expect({"category", "type", "question_type"})),
        dataset_(reader_.column({"dataset_name", "dataset"})) {}

  std::vector<Sample> rows() {
    std::vector<Sample> samples;
    std::vector<std::string_view> images;  // base64, or the index of another row
    std::map<std::string, size_t> row_of_index;
    while (reader_.next(fields_)) {
      const std::string where = fmt::format("{} line {}", file_.string(), reader_.line());
      if (!row_of_index.emplace(text(index_, where), samples.size()).second) {
        throw Error(ErrorCode::bad_input,
                    fmt::format("{}: the index \"{}\" is there twice", where, text(index_, where)));
      }
      images.push_back(fields_[image_].raw);
      samples.push_back(sample(static_cast<int64_t>(samples.size()), where));
    }
    if (samples.empty()) {
      throw Error(ErrorCode::bad_input, fmt::format("{}: has no rows", file_.string()));
    }
    for (Sample& sample : samples) set_image(sample, images, row_of_index);
    return samples;
  }

 private:
  std::string_view text_of_mapping() const {
    return {reinterpret_cast<const char*>(mapping_->data()),
            static_cast<size_t>(mapping_->bytes())};
  }

  size_t expect(const std::vector<std::string_view>& names) const {
    if (const auto column = reader_.column(names)) return *column;
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: has no column \"{}\"; is it OCRBench's table?", file_.string(), names[0]));
  }

  std::string text(size_t column, std::string_view where) const {
    const io::TsvField& field = fields_[column];
    if (field.raw.size() > kMaxTextBytes) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: a text of {} bytes; more than {} make no sense", where,
                              field.raw.size(), kMaxTextBytes));
    }
    return field.text();
  }

  Sample sample(int64_t index, const std::string& where) const {
    Sample out;
    out.index = index;
    if (dataset_) out.dataset = text(*dataset_, where);
    out.type = text(type_, where);
    out.question = text(question_, where);
    out.answers = python_strings(text(answer_, where), where);
    expect_answers(out.answers, where);
    out.image.path = where;
    return out;
  }

  // The cell itself, or that of the row it names; one step only, as VLMEvalKit goes.
  void set_image(Sample& sample, const std::vector<std::string_view>& images,
                 const std::map<std::string, size_t>& row_of_index) const {
    const std::string where = sample.image.path.string();
    std::string_view cell = images[static_cast<size_t>(sample.index)];
    if (cell.size() <= kLongestIndex) {
      const auto other = row_of_index.find(std::string(cell));
      if (other == row_of_index.end() || images[other->second].size() <= kLongestIndex) {
        throw Error(ErrorCode::bad_input,
                    fmt::format("{}: the image should be in base64, or the index of a row that has "
                                "one, but is \"{}\"",
                                where, one_line(cell)));
      }
      cell = images[other->second];
    }
    if (cell.size() > static_cast<size_t>(kMaxImageBytes)) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: an image of {} bytes in base64", where, cell.size()));
    }
    sample.image.bytes = [mapping = mapping_, cell, where] {
      return io::decode_base64(cell, where + ", image");
    };
    sample.image_key = io::sha256(sample.image.bytes());
  }

  fs::path file_;
  std::shared_ptr<Storage> mapping_;
  io::TsvReader reader_;
  size_t index_, image_, question_, answer_, type_;
  std::optional<size_t> dataset_;
  std::vector<io::TsvField> fields_;
};

}  // namespace

std::vector<Sample> load_tsv(const fs::path& file) { return Table(file).rows(); }

}  // namespace squint::eval
