#include "models/qwen3_vl/processor.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "image/decode.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::qwen3_vl {
namespace {

constexpr int64_t kMaxImageBytes = int64_t{1} << 30;

text::Tokenizer load_tokenizer(const io::Checkpoint& checkpoint) {
  const std::string where = (checkpoint.folder() / "tokenizer.json").string();
  const std::optional<std::string> text = checkpoint.side_file("tokenizer.json");
  if (!text) {
    throw Error(ErrorCode::io, fmt::format("{}: not found; copy it from the original model, whose "
                                           "vocabulary it holds",
                                           where));
  }
  return text::Tokenizer::parse(*text, where);
}

ImageProcessorConfig load_image_config(const io::Checkpoint& checkpoint) {
  if (const auto config = find_image_processor(checkpoint.folder())) return *config;
  throw Error(ErrorCode::io,
              fmt::format("{}: neither preprocessor_config.json nor processor_config.json found; "
                          "copy it from the original model",
                          checkpoint.folder().string()));
}

}  // namespace

int64_t ModelInput::image_tokens() const {
  int64_t total = 0;
  for (const ImageRun& run : runs) total += run.tokens;
  return total;
}

Processor::Processor(const io::Checkpoint& checkpoint, const Config& config)
    : config_(config),
      tokenizer_(load_tokenizer(checkpoint)),
      image_config_(load_image_config(checkpoint)) {
  const std::string folder = checkpoint.folder().string();
  if (tokenizer_.size() > config.text.vocab) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: tokenizer.json has ids up to {}, the embedding {} rows; a "
                            "tokenizer of another model?",
                            folder, tokenizer_.size() - 1, config.text.vocab));
  }
  const std::optional<int32_t> pad = tokenizer_.token_id("<|image_pad|>");
  if (!pad || *pad != config.image_token_id) {
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: <|image_pad|> is token {} in tokenizer.json and {} in config.json; "
                    "a tokenizer of another model?",
                    folder, pad ? *pad : -1, config.image_token_id));
  }
  if (image_config_.patch_size != config.vision.patch_size ||
      image_config_.temporal_patch_size != config.vision.temporal_patch_size ||
      image_config_.merge_size != config.vision.merge_size) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: patch sizes in config.json and the processor "
                            "configuration differ",
                            folder));
  }
}

Patches Processor::read_image(std::span<const std::byte> bytes, std::string_view where,
                              const ImageProcessorConfig& config, const HostWork& host) const {
  return preprocess(image::decode(bytes, where), config, where, host);
}

Patches Processor::read_image(std::span<const std::byte> bytes, std::string_view where) const {
  return read_image(bytes, where, image_config_);
}

Patches Processor::read_image(const std::filesystem::path& file, const ImageProcessorConfig& config,
                              const HostWork& host) const {
  const std::string bytes = io::read_file(file, kMaxImageBytes);
  return read_image(std::as_bytes(std::span(bytes)), file.string(), config, host);
}

Patches Processor::read_image(const std::filesystem::path& file) const {
  return read_image(file, image_config_);
}

ModelInput Processor::prepare(std::string_view prompt, std::vector<Patches> images,
                              std::string_view answer, int64_t max_tokens) const {
  ModelInput input;
  const int64_t merge = config_.vision.merge_size;
  std::vector<int32_t> ids = tokenizer_.encode(prompt);
  const std::vector<int32_t> answer_ids = tokenizer_.encode(answer);
  ids.insert(ids.end(), answer_ids.begin(), answer_ids.end());
  for (const int32_t id : ids) {
    if (id != config_.image_token_id) {
      input.ids.push_back(id);
      continue;
    }
    const size_t index = input.runs.size();
    if (index < images.size()) {
      const Grid& grid = images[index].grid;
      input.runs.push_back(
          {.begin = input.tokens(), .tokens = grid.h * grid.w / (merge * merge), .grid = grid});
      input.ids.insert(input.ids.end(), static_cast<size_t>(input.runs.back().tokens), id);
    } else {
      input.runs.push_back({});  // One too many: counted, then refused.
    }
  }
  if (input.runs.size() != images.size()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("the prompt has {} image placeholders for {} images; does the text "
                            "itself contain <|image_pad|>?",
                            input.runs.size(), images.size()));
  }
  input.images = std::move(images);
  if (max_tokens > 0 && input.tokens() > max_tokens) cut(input, max_tokens);
  check_length(input);
  input.positions = prompt_positions(input.tokens(), input.runs, merge);
  return input;
}

ModelInput Processor::prepare_ids(std::vector<int32_t> ids) const {
  for (const int32_t id : ids) {
    if (id >= 0 && id < config_.text.vocab && id != config_.image_token_id &&
        id != config_.video_token_id) {
      continue;
    }
    throw Error(ErrorCode::usage, fmt::format("ids: expected tokens of text, 0 to {}, found {}",
                                              config_.text.vocab - 1, id));
  }
  ModelInput input;
  input.ids = std::move(ids);
  check_length(input);
  input.positions = prompt_positions(input.tokens(), {}, config_.vision.merge_size);
  return input;
}

void Processor::check_length(const ModelInput& input) const {
  if (input.tokens() <= config_.text.max_positions) return;
  throw Error(ErrorCode::bad_input,
              fmt::format("the prompt has {} tokens, {} of them of images; the model was made for "
                          "{}: use smaller images or fewer",
                          input.tokens(), input.image_tokens(), config_.text.max_positions));
}

void Processor::cut(ModelInput& input, int64_t max_tokens) const {
  input.cut = true;
  constexpr int64_t kTurnHead = 3;  // <|im_start|>user↵
  int64_t end = max_tokens;
  size_t kept = 0;
  // <|vision_start|> and <|vision_end|> go with their image.
  for (; kept < input.runs.size(); ++kept) {
    const ImageRun& run = input.runs[kept];
    if (run.begin + run.tokens + 1 <= max_tokens) continue;
    end = run.begin - 1 <= kTurnHead ? 0 : std::min(max_tokens, run.begin - 1);
    break;
  }
  input.ids.resize(static_cast<size_t>(end));
  input.runs.resize(kept);
  input.images.resize(kept);
}

}  // namespace squint::qwen3_vl
