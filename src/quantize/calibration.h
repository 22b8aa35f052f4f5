// calibration.h: conversations that show a model what it will see.
//
// JSON lines, one conversation each: {"messages": [{"role": .., "content": text or [parts]}]}, a
// part being {"type": "text", "text": ..} or {"type": "image", "image": PATH}, PATH relative to the
// file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "models/qwen3_vl/chat_template.h"
#include "models/qwen3_vl/processor.h"

namespace squint::quantize {

struct Conversation {
  std::vector<qwen3_vl::Message> messages;
  std::vector<std::filesystem::path> images;  // in the order of the image parts; existing files
  std::string where;                          // "calibration.jsonl line 7"
  // Follows the messages as the tokens of its own that generating it would give, end token and all.
  std::optional<std::string> answer = {};
};

// `source` is the file or a folder with calibration.jsonl; rows 0 takes all. Throws Error(io) for a
// missing file or image, Error(bad_input) for a malformed row or where there is none.
std::vector<Conversation> load_calibration(const std::filesystem::path& source, int64_t rows);

// One line of such a file; `folder` is where its images lie.
Conversation parse_conversation(std::string_view line, const std::filesystem::path& folder,
                                std::string_view where);

// The whole conversation as the model sees it; a generation prompt stands only before an answer.
qwen3_vl::ModelInput model_input(const Conversation& row, const qwen3_vl::Processor& processor);

}  // namespace squint::quantize
