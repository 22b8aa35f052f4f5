#include "models/qwen3_vl/chat_template.h"

#include <fmt/format.h>

#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "squint/error.h"

namespace squint::qwen3_vl {
namespace {

using Kind = ContentPart::Kind;

constexpr std::string_view kTurnEnd = "<|im_end|>\n";

// Trained literals: a changed byte is a changed prompt.
constexpr std::string_view kToolsBegin =
    "# Tools\n\nYou may call one or more functions to assist with the user query.\n\nYou are "
    "provided with function signatures within <tools></tools> XML tags:\n<tools>";
constexpr std::string_view kToolsEnd =
    "\n</tools>\n\nFor each function call, return a json object with function name and arguments "
    "within <tool_call></tool_call> XML tags:\n<tool_call>\n{\"name\": <function-name>, "
    "\"arguments\": <args-json-object>}\n</tool_call><|im_end|>\n";

class Renderer {
 public:
  Renderer(std::span<const Message> messages, const ChatOptions& options)
      : messages_(messages), options_(options) {}

  std::string render() {
    system_turn();
    for (size_t i = 0; i < messages_.size(); ++i) {
      const std::string& role = messages_[i].role;
      if (role == "user") user_turn(messages_[i]);
      if (role == "assistant") assistant_turn(messages_[i]);
      if (role == "tool") tool_result(i);
    }
    if (options_.add_generation_prompt) text_ += "<|im_start|>assistant\n";
    return std::move(text_);
  }

 private:
  void system_turn() {
    const bool has_system = messages_[0].role == "system";
    if (!has_system && options_.tools.empty()) return;
    text_ += "<|im_start|>system\n";
    if (has_system) texts_only(messages_[0]);
    if (options_.tools.empty()) {
      text_ += kTurnEnd;
      return;
    }
    if (has_system) text_ += "\n\n";
    text_ += kToolsBegin;
    for (const std::string& tool : options_.tools) text_ += "\n" + tool;
    text_ += kToolsEnd;
  }

  void user_turn(const Message& message) {
    text_ += "<|im_start|>user\n";
    all_parts(message);
    text_ += kTurnEnd;
  }

  void assistant_turn(const Message& message) {
    text_ += "<|im_start|>assistant\n";
    texts_only(message);
    bool needs_line_break = !message.content.empty();
    for (const ToolCall& call : message.tool_calls) {
      if (needs_line_break) text_ += '\n';
      needs_line_break = true;
      text_ += "<tool_call>\n{\"name\": \"" + call.name + "\", \"arguments\": " + call.arguments +
               "}\n</tool_call>";
    }
    text_ += kTurnEnd;
  }

  // Consecutive results share one user turn.
  void tool_result(size_t i) {
    const auto is_tool = [this](size_t at) {
      return at < messages_.size() && messages_[at].role == "tool";
    };
    if (i == 0 || !is_tool(i - 1)) text_ += "<|im_start|>user";
    text_ += "\n<tool_response>\n";
    all_parts(messages_[i]);
    text_ += "\n</tool_response>";
    if (!is_tool(i + 1)) text_ += kTurnEnd;
  }

  void texts_only(const Message& message) {
    for (const ContentPart& part : message.content) text_ += part.text;
  }

  void all_parts(const Message& message) {
    for (const ContentPart& part : message.content) {
      switch (part.kind) {
        case Kind::text:
          text_ += part.text;
          break;
        case Kind::image:
          if (options_.add_vision_id) text_ += fmt::format("Picture {}: ", ++images_);
          text_ += "<|vision_start|><|image_pad|><|vision_end|>";
          break;
        case Kind::video:
          if (options_.add_vision_id) text_ += fmt::format("Video {}: ", ++videos_);
          text_ += "<|vision_start|><|video_pad|><|vision_end|>";
          break;
      }
    }
  }

  std::span<const Message> messages_;
  const ChatOptions& options_;
  std::string text_;
  int images_ = 0;  // over the whole conversation
  int videos_ = 0;
};

[[noreturn]] void fail(std::string_view where, std::string_view expected,
                       const OrderedJson& found) {
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: expected {}, found {}", where, expected, found.type_name()));
}

// The value of a key, or nullptr where it is absent or null.
const OrderedJson* find(const OrderedJson& object, const char* key) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? nullptr : &*found;
}

std::string text_of(const OrderedJson& value, const std::string& where) {
  if (!value.is_string()) fail(where, "a string", value);
  return value.get<std::string>();
}

std::string required_text(const OrderedJson& object, const char* key, const std::string& where) {
  if (!object.contains(key)) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: \"{}\" is missing", where, key));
  }
  return text_of(object[key], fmt::format("{}.{}", where, key));
}

ContentPart parse_part(const OrderedJson& part, const std::string& where) {
  if (!part.is_object()) fail(where, "an object", part);
  const auto has_type = [&part](std::string_view type) {
    const OrderedJson* value = find(part, "type");
    return value != nullptr && value->is_string() && value->get_ref<const std::string&>() == type;
  };
  ContentPart out;
  if (has_type("image") || part.contains("image") || part.contains("image_url")) {
    out.kind = Kind::image;
  } else if (has_type("video") || part.contains("video")) {
    out.kind = Kind::video;
  }
  if (part.contains("text")) out.text = required_text(part, "text", where);
  return out;
}

// An empty string is no part at all: the template treats it like a message without text.
std::vector<ContentPart> parse_content(const OrderedJson& content, const std::string& where) {
  if (content.is_string()) {
    auto text = content.get<std::string>();
    if (text.empty()) return {};
    return {{Kind::text, std::move(text)}};
  }
  if (!content.is_array()) fail(where, "a string or an array of parts", content);
  std::vector<ContentPart> parts;
  for (const OrderedJson& part : content) {
    parts.push_back(parse_part(part, fmt::format("{}[{}]", where, parts.size())));
  }
  return parts;
}

ToolCall parse_tool_call(const OrderedJson& call, const std::string& where) {
  if (!call.is_object()) fail(where, "an object", call);
  const OrderedJson* function = find(call, "function");
  if (function != nullptr && !function->is_object())
    fail(where + ".function", "an object", *function);
  const OrderedJson& fields = function != nullptr && !function->empty() ? *function : call;
  ToolCall out;
  out.name = required_text(fields, "name", where);
  if (!fields.contains("arguments")) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: \"arguments\" is missing", where));
  }
  const OrderedJson& arguments = fields["arguments"];
  out.arguments = arguments.is_string() ? arguments.get<std::string>() : to_chat_json(arguments);
  return out;
}

Message parse_message(const OrderedJson& message, const std::string& where) {
  if (!message.is_object()) fail(where, "an object", message);
  Message out;
  out.role = required_text(message, "role", where);
  if (const OrderedJson* content = find(message, "content")) {
    out.content = parse_content(*content, where + ".content");
  }
  if (const OrderedJson* calls = find(message, "tool_calls")) {
    const std::string calls_where = where + ".tool_calls";
    if (!calls->is_array()) fail(calls_where, "an array", *calls);
    for (const OrderedJson& call : *calls) {
      out.tool_calls.push_back(
          parse_tool_call(call, fmt::format("{}[{}]", calls_where, out.tool_calls.size())));
    }
  }
  return out;
}

// As Python's repr: shortest digits that read back, always recognisable as a float.
std::string float_text(double value) {
  if (std::isnan(value)) return "NaN";
  if (std::isinf(value)) return value > 0 ? "Infinity" : "-Infinity";
  std::string text = fmt::format("{}", value);
  if (text.find_first_of(".e") == std::string::npos) text += ".0";
  return text;
}

std::string string_text(const OrderedJson& value) {
  return value.dump(-1, ' ', /*ensure_ascii=*/false, OrderedJson::error_handler_t::replace);
}

void append_json(const OrderedJson& value, std::string& out) {
  std::string_view separator;
  if (value.is_object()) {
    out += '{';
    for (const auto& [key, member] : value.items()) {
      out += separator;
      out += string_text(key) + ": ";
      append_json(member, out);
      separator = ", ";
    }
    out += '}';
  } else if (value.is_array()) {
    out += '[';
    for (const OrderedJson& element : value) {
      out += separator;
      append_json(element, out);
      separator = ", ";
    }
    out += ']';
  } else {
    out += value.is_number_float() ? float_text(value.get<double>()) : string_text(value);
  }
}

}  // namespace

std::string render_chat(std::span<const Message> messages, const ChatOptions& options) {
  if (messages.empty()) throw Error(ErrorCode::usage, "chat: expected at least one message");
  return Renderer(messages, options).render();
}

std::vector<Message> parse_messages(const OrderedJson& messages, std::string_view where) {
  if (!messages.is_array()) fail(where, "an array of messages", messages);
  if (messages.empty()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: expected at least one message", where));
  }
  std::vector<Message> out;
  for (const OrderedJson& message : messages) {
    out.push_back(parse_message(message, fmt::format("{}[{}]", where, out.size())));
  }
  return out;
}

std::vector<std::string> parse_tools(const OrderedJson& tools, std::string_view where) {
  if (tools.is_null()) return {};
  if (!tools.is_array()) fail(where, "an array of tool declarations", tools);
  std::vector<std::string> out;
  for (const OrderedJson& tool : tools) {
    if (!tool.is_object()) fail(fmt::format("{}[{}]", where, out.size()), "an object", tool);
    out.push_back(to_chat_json(tool));
  }
  return out;
}

std::string to_chat_json(const OrderedJson& value) {
  std::string out;
  append_json(value, out);
  return out;
}

}  // namespace squint::qwen3_vl
