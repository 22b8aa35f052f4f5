// calibration.h: rows that show a model what it will see, from one source or from several.
//
// How many rows each source gives, `rows` in all:
//
//     share of source i = rows · weight_i / Σ weights, in whole rows: the largest fractions are
//     rounded up, the earlier source first. A source with fewer rows than its share gives all, and
//     the others share what is left in the same way. rows 0: every row of every source.
//
// Which ones: with a seed the first of numpy.random.default_rng(seed).permutation(rows of the
// source), in that order, else the first of the source. Sources follow each other as given.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "models/qwen3_vl/chat_template.h"
#include "models/qwen3_vl/processor.h"
#include "squint/quantize.h"

namespace squint::quantize {

struct JoinedImage;  // joined_rows.h

// An existing file, or, where `bytes` is an encoded image, only its name.
struct RowImage {
  std::filesystem::path path;
  std::shared_ptr<const std::string> bytes = nullptr;
  std::shared_ptr<const JoinedImage> joined = nullptr;  // instead of either: made when it is needed
  std::function<std::string()> read = {};               // the same, out of a container
};

struct Conversation {
  std::vector<qwen3_vl::Message> messages;
  std::string text;              // of a row without messages: taken as it is, in no chat
  std::vector<RowImage> images;  // in the order of the image parts
  int64_t max_tokens = 0;        // cut behind that many; 0: never
  std::string where;             // "calibration.jsonl line 7"
  // Follows the messages as the tokens of its own that generating it would give, end token and all.
  std::optional<std::string> answer = {};
};

// What a model reads in an image, of which `done` of `total` have been read.
using AskImage = std::function<std::string(const RowImage& image, const std::string& prompt,
                                           int64_t done, int64_t total)>;

// What sources need beside their files.
struct SourceContext {
  const text::Tokenizer& tokenizer;
  int64_t max_tokens = 0;  // of a row; 0: any, but kTextTokens for plain text
  AskImage read_image;
  std::function<void()> on_row = [] {};  // now and then; may throw to stop
};

inline constexpr int64_t kTextTokens = 512;

// The rows that options.calibration, rows, seed and calibration_tokens ask for. Throws Error(io)
// for a missing file or image, Error(bad_input) for a malformed row or a source without rows.
std::vector<Conversation> load_calibration(const QuantizeOptions& options,
                                           const SourceContext& context);

// Of sources that have `available` rows each.
std::vector<int64_t> share_rows(int64_t rows, std::span<const int64_t> available,
                                std::span<const double> weights);

// One row: an object with "messages", [{"role": .., "content": text or [parts]}], a part being
// {"type": "text", "text": ..} or {"type": "image", "image": PATH}; or with "conversations",
// [{"from": "human" or "gpt", "value": ..}]; or with plain "text". A path is relative to `folder`;
// instead of it stand an image's bytes, or {"bytes": .., "path": ..}, in rows from Parquet.
Conversation conversation_of(OrderedJson row, const std::filesystem::path& folder,
                             std::string_view where);
// The same from its JSON text.
Conversation parse_conversation(std::string_view line, const std::filesystem::path& folder,
                                std::string_view where);

// The encoded image: the file's bytes, or those that are held or made. Throws Error(io).
std::string encoded(const RowImage& image);

// The row as the model sees it; a generation prompt stands only before an answer. Without tokens
// where the row is empty or begins with an image that does not fit into max_tokens.
qwen3_vl::ModelInput model_input(const Conversation& row, const qwen3_vl::Processor& processor);

}  // namespace squint::quantize
