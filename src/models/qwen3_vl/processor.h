// processor.h: from a rendered conversation and its pictures to what the model computes on
// (spec qwen3-vl.md §2, §3, §5.2).
#pragma once

#include <cstddef>
#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint.h"
#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/image_processor.h"
#include "models/qwen3_vl/positions.h"
#include "text/tokenizer.h"

namespace squint::qwen3_vl {

struct ModelInput {
  std::vector<int32_t> ids;     // image placeholders repeated once per image token
  std::vector<ImageRun> runs;   // one per image, ascending
  std::vector<Patches> images;  // the same order
  PromptPositions positions;
  bool cut = false;  // its end was left out

  int64_t tokens() const { return static_cast<int64_t>(ids.size()); }
  int64_t image_tokens() const;
};

class Processor {
 public:
  // Reads tokenizer.json and preprocessor_config.json or processor_config.json.
  Processor(const io::Checkpoint& checkpoint, const Config& config);

  const text::Tokenizer& tokenizer() const { return tokenizer_; }
  const ImageProcessorConfig& image_config() const { return image_config_; }

  // An encoded image to patches; `where` names it. `config` is image_config() or that with_areas.
  Patches read_image(std::span<const std::byte> bytes, std::string_view where,
                     const ImageProcessorConfig& config, const HostWork& host = {}) const;
  Patches read_image(std::span<const std::byte> bytes, std::string_view where) const;
  // The same of a file, of at most 1 GiB.
  Patches read_image(const std::filesystem::path& file, const ImageProcessorConfig& config,
                     const HostWork& host = {}) const;
  Patches read_image(const std::filesystem::path& file) const;

  // `prompt` holds one <|image_pad|> per image. `answer` follows as tokens of its own: as when it
  // is generated, none of them reaches back into the prompt. Error(bad_input) where the numbers
  // differ or all of it is longer than the model's positions. Cut behind max_tokens, unless that is
  // 0, and before an image that does not fit as a whole: where the conversation begins with that
  // image, nothing is left.
  ModelInput prepare(std::string_view prompt, std::vector<Patches> images,
                     std::string_view answer = {}, int64_t max_tokens = 0) const;

  // A prompt without images that is token ids already; Error(usage) for one that stands for pixels
  // or has no row in the embedding, Error(bad_input) where there are too many.
  ModelInput prepare_ids(std::vector<int32_t> ids) const;

 private:
  void check_length(const ModelInput& input) const;
  void cut(ModelInput& input, int64_t max_tokens) const;

  Config config_;
  text::Tokenizer tokenizer_;
  ImageProcessorConfig image_config_;
};

}  // namespace squint::qwen3_vl
