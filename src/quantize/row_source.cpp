#include "quantize/row_source.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "io/mapped_file.h"
#include "io/parquet.h"
#include "squint/error.h"
#include "text/utf8.h"

namespace squint::quantize {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxFileBytes = int64_t{4} << 30;
constexpr std::string_view kWhiteSpace = " \t\r\n\f\v";

class JsonLines final : public RowSource {
 public:
  JsonLines(const fs::path& file, int64_t most, const SourceContext& context)
      : RowSource(file.string()),
        on_row_(context.on_row),
        folder_(file.parent_path()),
        text_(io::read_file(file, kMaxFileBytes)) {
    size_t begin = 0;
    for (int64_t line = 1; begin < text_.size(); ++line) {
      if (most > 0 && rows() == most) break;
      const size_t end = std::min(text_.find('\n', begin), text_.size());
      const std::string_view row(text_.data() + begin, end - begin);
      if (row.find_first_not_of(" \t\r") != row.npos) lines_.push_back({line, row});
      begin = end + 1;
    }
  }

  std::string_view expected() const override { return "one JSON conversation per line"; }
  int64_t rows() const override { return static_cast<int64_t>(lines_.size()); }
  std::vector<Conversation> read(std::span<const int64_t> numbers) override {
    std::vector<Conversation> out;
    for (const int64_t number : numbers) {
      on_row_();
      const Line& line = lines_[static_cast<size_t>(number)];
      out.push_back(
          parse_conversation(line.text, folder_, fmt::format("{} line {}", name(), line.number)));
    }
    return out;
  }

 private:
  struct Line {
    int64_t number;
    std::string_view text;
  };

  std::function<void()> on_row_;
  fs::path folder_;
  std::string text_;
  std::vector<Line> lines_;
};

// A value as JSON, members that are null left out. Bytes are text but where an image lies.
OrderedJson json_of(const io::ParquetValue& value, bool binary) {
  using Kind = io::ParquetValue::Kind;
  switch (value.kind) {
    case Kind::null:
      return nullptr;
    case Kind::integer:
      return value.integer;
    case Kind::real:
      return value.real;
    case Kind::bytes:
      if (binary) return OrderedJson::binary({value.bytes.begin(), value.bytes.end()});
      return value.bytes;
    case Kind::list:
    case Kind::group:
      break;
  }
  if (value.kind == Kind::list) {
    OrderedJson list = OrderedJson::array();
    for (const io::ParquetValue& item : value.items) list.push_back(json_of(item, binary));
    return list;
  }
  OrderedJson object = OrderedJson::object();
  for (size_t i = 0; i < value.items.size(); ++i) {
    const io::parquet::Node& field = value.group->children[i];
    if (value.items[i].kind == Kind::null) continue;
    const bool holds_image = field.name == "image" || field.name == "bytes";
    object[field.name] = json_of(value.items[i], holds_image && !field.is_text);
  }
  return object;
}

class ParquetTable final : public RowSource {
 public:
  ParquetTable(const fs::path& file, const SourceContext& context)
      : RowSource(file.string()),
        on_row_(context.on_row),
        folder_(file.parent_path()),
        file_(file) {
    const std::vector<std::string> columns = file_.columns();
    for (const char* column : {"messages", "conversations", "text"}) {
      if (std::ranges::find(columns, column) == columns.end()) continue;
      column_ = column;
      return;
    }
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected a column \"messages\", \"conversations\" or \"text\", "
                            "found {}",
                            name(), fmt::join(columns, ", ")));
  }

  std::string_view expected() const override { return "a table with rows"; }
  int64_t rows() const override { return file_.rows(); }
  std::vector<Conversation> read(std::span<const int64_t> numbers) override {
    io::ParquetRows rows(file_, {&column_, 1});
    std::vector<Conversation> out;
    for (const int64_t number : numbers) {
      on_row_();
      OrderedJson row = OrderedJson::object();
      row[std::string(column_)] = json_of(rows.read(number)[0], false);
      out.push_back(
          conversation_of(std::move(row), folder_, fmt::format("{} row {}", name(), number)));
    }
    return out;
  }

 private:
  std::function<void()> on_row_;
  fs::path folder_;
  io::ParquetFile file_;
  std::string_view column_;
};

class PlainText final : public RowSource {
 public:
  PlainText(const fs::path& file, int64_t most, const SourceContext& context)
      : RowSource(file.string()), max_tokens_(context.max_tokens) {
    if (max_tokens_ == 0) max_tokens_ = kTextTokens;
    text_ = io::read_file(file, kMaxFileBytes);
    check_text();
    const std::string_view all = text_;
    for (size_t at = text_.starts_with("\xEF\xBB\xBF") ? 3 : 0; at < all.size();) {
      if (most > 0 && rows() == most) break;
      context.on_row();
      at = all.find_first_not_of(kWhiteSpace, at);
      if (at == all.npos) break;
      const size_t size = first_row_of(all.substr(at), max_tokens_, context.tokenizer);
      const std::string_view row = all.substr(at, size);
      rows_.push_back(row.substr(0, row.find_last_not_of(kWhiteSpace) + 1));
      at += size;
    }
  }

  std::string_view expected() const override { return "text"; }
  int64_t rows() const override { return static_cast<int64_t>(rows_.size()); }
  std::vector<Conversation> read(std::span<const int64_t> numbers) override {
    std::vector<Conversation> out;
    for (const int64_t number : numbers) {
      const std::string_view row = rows_[static_cast<size_t>(number)];
      out.push_back({.text = std::string(row),
                     .max_tokens = max_tokens_,
                     .where = fmt::format("{} byte {}", name(), row.data() - text_.data())});
    }
    return out;
  }

 private:
  void check_text() const {
    std::string_view rest = text_;
    while (!rest.empty()) {
      const text::Utf8Step step = text::utf8_step(rest);
      if (step.kind != text::Utf8Step::Kind::valid || step.code_point == 0) {
        throw Error(ErrorCode::bad_input,
                    fmt::format("{}: expected UTF-8 text, found other bytes at byte {}; convert "
                                "it first",
                                name(), text_.size() - rest.size()));
      }
      rest.remove_prefix(step.length);
    }
  }

  int64_t max_tokens_;
  std::string text_;
  std::vector<std::string_view> rows_;
};

class Images final : public RowSource {
 public:
  Images(std::string name, std::vector<fs::path> files, const SourceContext& context)
      : RowSource(std::move(name)), files_(std::move(files)), read_(context.read_image) {
    if (read_) return;
    throw Error(ErrorCode::usage,
                fmt::format("{}: images without answers need a model that reads them "
                            "(QuantizeOptions::read_image)",
                            this->name()));
  }

  std::string_view expected() const override { return "images"; }
  int64_t rows() const override { return static_cast<int64_t>(files_.size()); }
  std::vector<Conversation> read(std::span<const int64_t> numbers) override {
    using qwen3_vl::ContentPart;
    const auto total = static_cast<int64_t>(numbers.size());
    std::vector<Conversation> out;
    for (const int64_t number : numbers) {
      const fs::path& file = files_[static_cast<size_t>(number)];
      const auto done = static_cast<int64_t>(out.size());
      const std::string prompt(kReadingPrompt);
      Conversation row{.images = {{file}}, .where = file.string()};
      row.messages = {
          {.role = "user",
           .content = {{.kind = ContentPart::Kind::image, .text = {}}, {.text = prompt}}},
          {.role = "assistant", .content = {{.text = read_({file}, prompt, done, total)}}},
      };
      out.push_back(std::move(row));
    }
    return out;
  }

 private:
  std::vector<fs::path> files_;
  AskImage read_;
};

// Several files, one after the other.
class Chain final : public RowSource {
 public:
  Chain(std::string name, std::vector<std::unique_ptr<RowSource>> parts)
      : RowSource(std::move(name)), parts_(std::move(parts)) {}

  std::string_view expected() const override { return parts_.front()->expected(); }
  int64_t rows() const override {
    int64_t rows = 0;
    for (const auto& part : parts_) rows += part->rows();
    return rows;
  }
  std::vector<Conversation> read(std::span<const int64_t> numbers) override {
    std::vector<Conversation> out;
    int64_t first = 0;
    for (const auto& part : parts_) {
      std::vector<int64_t> own;
      for (const int64_t number : numbers) {
        if (number >= first && number < first + part->rows()) own.push_back(number - first);
      }
      std::ranges::move(part->read(own), std::back_inserter(out));
      first += part->rows();
    }
    return out;
  }

 private:
  std::vector<std::unique_ptr<RowSource>> parts_;
};

enum class Kind : uint8_t { json_lines, parquet, text, image, other };

Kind kind_of(const fs::path& file) {
  std::string ending = file.extension().string();
  std::ranges::transform(ending, ending.begin(), [](unsigned char c) { return std::tolower(c); });
  if (ending == ".jsonl") return Kind::json_lines;
  if (ending == ".parquet") return Kind::parquet;
  if (ending == ".txt") return Kind::text;
  constexpr std::array<std::string_view, 8> kImages = {".jpg", ".jpeg", ".png", ".webp",
                                                       ".gif", ".bmp",  ".tif", ".tiff"};
  return std::ranges::find(kImages, ending) != kImages.end() ? Kind::image : Kind::other;
}

std::unique_ptr<RowSource> open_file(const fs::path& file, int64_t most,
                                     const SourceContext& context) {
  switch (kind_of(file)) {
    case Kind::parquet:
      return std::make_unique<ParquetTable>(file, context);
    case Kind::text:
      return std::make_unique<PlainText>(file, most, context);
    case Kind::image:
      return std::make_unique<Images>(file.string(), std::vector{file}, context);
    default:
      return std::make_unique<JsonLines>(file, most, context);
  }
}

// The files of a folder that are not hidden, in order of their names.
std::vector<fs::path> files_of(const fs::path& folder) {
  std::error_code error;
  std::vector<fs::path> files;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    std::error_code gone;
    const bool hidden = at->path().filename().native().starts_with('.');
    if (!hidden && at->is_regular_file(gone)) files.push_back(at->path());
  }
  if (error) {
    throw Error(ErrorCode::io,
                fmt::format("{}: cannot be read: {}", folder.string(), error.message()));
  }
  std::ranges::sort(files, {}, [](const fs::path& file) { return file.filename().native(); });
  return files;
}

}  // namespace

std::unique_ptr<RowSource> open_row_source(const fs::path& path, int64_t most,
                                           const SourceContext& context) {
  std::error_code unknown;  // Opening the file will say what is wrong.
  if (!fs::is_directory(path, unknown)) return open_file(path, most, context);
  if (fs::exists(path / "calibration.jsonl", unknown)) {
    return open_file(path / "calibration.jsonl", most, context);
  }
  const std::vector<fs::path> files = files_of(path);
  for (const Kind kind : {Kind::json_lines, Kind::parquet, Kind::text, Kind::image}) {
    std::vector<fs::path> own;
    std::ranges::copy_if(files, std::back_inserter(own),
                         [&](const fs::path& file) { return kind_of(file) == kind; });
    if (own.empty()) continue;
    if (kind == Kind::image) return std::make_unique<Images>(path.string(), own, context);
    std::vector<std::unique_ptr<RowSource>> parts;
    for (const fs::path& file : own) parts.push_back(open_file(file, most, context));
    return std::make_unique<Chain>(path.string(), std::move(parts));
  }
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: the folder holds nothing to calibrate with; expected "
                          "calibration.jsonl, or files that end in .jsonl, .parquet, .txt, or "
                          "images; in a folder below?",
                          path.string()));
}

size_t first_row_of(std::string_view text, int64_t tokens, const text::Tokenizer& tokenizer) {
  // Enough for any tokens but those of long rulers, and no need to encode the whole text.
  constexpr size_t kBytesPerToken = 8;
  const auto limit = static_cast<size_t>(tokens);
  std::string_view part = text.substr(0, limit * kBytesPerToken);
  part.remove_suffix(text::unfinished_tail(part));
  const std::vector<int32_t> ids = tokenizer.encode(part);
  if (ids.size() <= limit && part.size() == text.size()) return text.size();
  size_t size = 0;
  for (size_t i = 0; i < std::min(ids.size(), limit); ++i) size += tokenizer.bytes(ids[i]).size();
  // Composing characters for the vocabulary may change their number of bytes.
  part = part.substr(0, size);
  for (const std::string_view end : {"\n\n", "\n", " "}) {
    const size_t at = part.rfind(end);
    if (at != part.npos && at >= part.size() / 2) return at + end.size();
  }
  part.remove_suffix(text::unfinished_tail(part));
  return part.empty() ? text::utf8_step(text).length : part.size();
}

}  // namespace squint::quantize
