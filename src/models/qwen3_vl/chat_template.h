// chat_template.h: a conversation as the one string that Qwen3-VL was trained on (spec
// qwen3-vl.md §3.1), byte for byte what the checkpoints' chat template renders.
//
//     <|im_start|>user↵<|vision_start|><|image_pad|><|vision_end|>What is this?<|im_end|>↵
//     <|im_start|>assistant↵
//
// Every image keeps one <|image_pad|> here; whoever knows its size repeats it.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"

namespace squint::qwen3_vl {

// Pixels travel elsewhere, in the order of the parts.
struct ContentPart {
  enum class Kind { text, image, video };
  Kind kind = Kind::text;
  // System and assistant turns show the text of a part whatever its kind, and no image or video.
  std::string text;
};

struct ToolCall {
  std::string name;
  std::string arguments;  // as emitted: JSON text, normally an object
};

struct Message {
  std::string role;  // "system", "user", "assistant", "tool"; messages of other roles are dropped
  std::vector<ContentPart> content;
  std::vector<ToolCall> tool_calls;  // shown for role assistant only
};

struct ChatOptions {
  bool add_generation_prompt = true;
  bool add_vision_id = false;           // "Picture 1: " before the first image, "Video 1: ", ...
  std::vector<std::string> tools = {};  // one declaration each, JSON on a single line
};

// A system message counts only as the first one. Throws Error(usage) if there is no message.
std::string render_chat(std::span<const Message> messages, const ChatOptions& options);

// The `messages` and `tools` arrays of OpenAI style requests. `where` starts the messages of
// Error(bad_input). Content is a string, an array of parts, null or absent; a part is an image by
// type "image" or a key `image` or `image_url`, else a video by type "video" or a key `video`,
// else text by a key `text`, else nothing. Tool call arguments are text or any JSON value.
std::vector<Message> parse_messages(const OrderedJson& messages, std::string_view where);
// Null means no tools.
std::vector<std::string> parse_tools(const OrderedJson& tools, std::string_view where);

// One line of JSON as the models saw it in training: separators ", " and ": ", keys in their order,
// characters beyond ASCII as they are, floats in the shortest form ("1.0", "1e-07").
std::string to_chat_json(const OrderedJson& value);

}  // namespace squint::qwen3_vl
