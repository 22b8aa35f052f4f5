// row_source.h: where calibration rows come from: JSON lines, Parquet, plain text, images.
//
// A file's kind follows from its name: .parquet, .txt, an image's ending, else JSON lines. Of a
// folder calibration.jsonl is taken; or else, in order of their names, all its .jsonl files; or
// else all .parquet; or else all .txt; or else all images.
//
// Plain text is cut into rows that fill the tokens they may have, at the last blank line in their
// second half, or else the last line break, or else the last space there, or else between two
// characters. Rows are stripped of white space at both ends.
//
// An image becomes a row by asking a model kReadingPrompt; its answer is the answer in the row.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "quantize/calibration.h"

namespace squint::quantize {

class RowSource {
 public:
  explicit RowSource(std::string name) : name_(std::move(name)) {}
  virtual ~RowSource() = default;
  RowSource(const RowSource&) = delete;
  RowSource& operator=(const RowSource&) = delete;

  const std::string& name() const { return name_; }
  // What stands in such a source, for messages: "one JSON conversation per line".
  virtual std::string_view expected() const = 0;
  virtual int64_t rows() const = 0;
  // The rows of these numbers, which ascend.
  virtual std::vector<Conversation> read(std::span<const int64_t> numbers) = 0;

 private:
  std::string name_;
};

// Rows beyond the first `most` need not be counted; 0: all. Throws Error(io), Error(bad_input),
// Error(unsupported), and Error(usage) where there are images and nobody to read them.
std::unique_ptr<RowSource> open_row_source(const std::filesystem::path& path, int64_t most,
                                           const SourceContext& context);

// Bytes of the first row of a text that is not empty; more than 0.
size_t first_row_of(std::string_view text, int64_t tokens, const text::Tokenizer& tokenizer);

}  // namespace squint::quantize
