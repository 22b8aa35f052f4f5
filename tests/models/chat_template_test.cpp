#include "models/qwen3_vl/chat_template.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <sstream>

#include "squint/error.h"
#include "support/paths.h"

namespace squint::qwen3_vl {
namespace {

using Kind = ContentPart::Kind;

OrderedJson json(std::string_view text) { return parse_ordered_json(text, "test"); }

std::string render(std::string_view messages, const ChatOptions& options = {}) {
  return render_chat(parse_messages(json(messages), "messages"), options);
}

TEST(ChatTemplate, AgreesWithTheRecordedConversations) {
  std::istringstream lines(test::read_gzip(test::repo_dir() / "tests/data/chat/chat.jsonl.gz"));
  int count = 0;
  for (std::string line; std::getline(lines, line);) {
    SCOPED_TRACE("line " + std::to_string(++count));
    const OrderedJson golden = json(line);
    const ChatOptions options = {.add_generation_prompt = golden.at("add_generation_prompt"),
                                 .add_vision_id = golden.at("add_vision_id"),
                                 .tools = parse_tools(golden.at("tools"), "tools")};
    EXPECT_EQ(render_chat(parse_messages(golden.at("messages"), "messages"), options),
              golden.at("text").get<std::string>());
  }
  EXPECT_EQ(count, 112);
}

TEST(ChatTemplate, OneImageAndAText) {
  const Message message = {"user", {{Kind::image, ""}, {Kind::text, "Describe this image."}}, {}};
  EXPECT_EQ(render_chat(std::span(&message, 1), {}),
            "<|im_start|>user\n<|vision_start|><|image_pad|><|vision_end|>Describe this image."
            "<|im_end|>\n<|im_start|>assistant\n");
}

TEST(ChatTemplate, OnlyTheFirstSystemMessageCounts) {
  EXPECT_EQ(render(R"([{"role": "user", "content": "a"}, {"role": "system", "content": "b"},
                       {"role": "developer", "content": "c"}])",
                   {.add_generation_prompt = false}),
            "<|im_start|>user\na<|im_end|>\n");
}

// The template looks for the text of a part there, whatever else the part is.
TEST(ChatTemplate, SystemAndAssistantTurnsShowTextOnly) {
  EXPECT_EQ(
      render(R"([{"role": "system", "content": [{"type": "image", "text": "s"}, {"video": 1}]},
                       {"role": "assistant", "content": [{"image": "x"}, {"text": "t"}]}])",
             {.add_generation_prompt = false, .add_vision_id = true}),
      "<|im_start|>system\ns<|im_end|>\n<|im_start|>assistant\nt<|im_end|>\n");
}

// An empty list of parts counts as no content, a list with an empty text does not.
TEST(ChatTemplate, ALineBreakSeparatesContentFromToolCalls) {
  const auto with_content = [](const std::string& content) {
    return render(R"([{"role": "assistant", )" + content + R"(
        "tool_calls": [{"name": "f", "arguments": "{}"}]}])",
                  {.add_generation_prompt = false});
  };
  const std::string begin = "<|im_start|>assistant\n";
  const std::string call =
      "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call><|im_end|>\n";
  EXPECT_EQ(with_content(R"("content": "",)"), begin + call);
  EXPECT_EQ(with_content(R"("content": [],)"), begin + call);
  EXPECT_EQ(with_content(R"("content": null,)"), begin + call);
  EXPECT_EQ(with_content(""), begin + call);
  EXPECT_EQ(with_content(R"("content": "x",)"), begin + "x\n" + call);
  EXPECT_EQ(with_content(R"("content": [{"text": ""}],)"), begin + "\n" + call);
}

TEST(ChatTemplate, NumbersRunOverTheWholeConversation) {
  EXPECT_EQ(render(R"([{"role": "user", "content": [{"type": "image"}, {"type": "video"}]},
                       {"role": "tool", "content": [{"image_url": "u"}]},
                       {"role": "user", "content": [{"video": "v"}]}])",
                   {.add_generation_prompt = false, .add_vision_id = true}),
            "<|im_start|>user\nPicture 1: <|vision_start|><|image_pad|><|vision_end|>"
            "Video 1: <|vision_start|><|video_pad|><|vision_end|><|im_end|>\n"
            "<|im_start|>user\n<tool_response>\n"
            "Picture 2: <|vision_start|><|image_pad|><|vision_end|>\n</tool_response><|im_end|>\n"
            "<|im_start|>user\nVideo 2: <|vision_start|><|video_pad|><|vision_end|><|im_end|>\n");
}

TEST(ChatTemplate, OneTurnForConsecutiveToolResults) {
  EXPECT_EQ(render(R"([{"role": "tool", "content": "1"}, {"role": "tool", "content": "2"},
                       {"role": "system", "content": "dropped, but it separates"},
                       {"role": "tool", "content": "3"}])",
                   {.add_generation_prompt = false}),
            "<|im_start|>user\n<tool_response>\n1\n</tool_response>\n<tool_response>\n2\n"
            "</tool_response><|im_end|>\n"
            "<|im_start|>user\n<tool_response>\n3\n</tool_response><|im_end|>\n");
}

TEST(ChatTemplate, ParsesPartsAndCalls) {
  const auto messages = parse_messages(
      json(R"([{"role": "assistant", "content": [{"type": "text", "text": "a"}, {"type": "audio"}],
                "tool_calls": [{"function": {"name": "f", "arguments": {"b": 1, "a": [1.0, null]}}},
                               {"name": "g", "arguments": "raw  text", "function": null}]}])"),
      "messages");
  ASSERT_EQ(messages.size(), 1u);
  ASSERT_EQ(messages[0].content.size(), 2u);
  EXPECT_EQ(messages[0].content[0].text, "a");
  EXPECT_EQ(messages[0].content[1].kind, Kind::text);
  EXPECT_EQ(messages[0].content[1].text, "");
  ASSERT_EQ(messages[0].tool_calls.size(), 2u);
  EXPECT_EQ(messages[0].tool_calls[0].arguments, R"({"b": 1, "a": [1.0, null]})");
  EXPECT_EQ(messages[0].tool_calls[1].name, "g");
  EXPECT_EQ(messages[0].tool_calls[1].arguments, "raw  text");
}

TEST(ChatTemplate, RefusesWhatIsNoConversation) {
  for (const std::string_view messages :
       {"{}", "[]", "null", "[1]", R"([{"content": "x"}])", R"([{"role": 1, "content": "x"}])",
        R"([{"role": "user", "content": 5}])", R"([{"role": "user", "content": ["x"]}])",
        R"([{"role": "user", "content": [{"type": "text", "text": 5}]}])",
        R"([{"role": "assistant", "tool_calls": {}}])",
        R"([{"role": "assistant", "tool_calls": ["f"]}])",
        R"([{"role": "assistant", "tool_calls": [{"name": "f"}]}])",
        R"([{"role": "assistant", "tool_calls": [{"arguments": "{}"}]}])",
        R"([{"role": "assistant", "tool_calls": [{"function": "f"}]}])"}) {
    try {
      parse_messages(json(messages), "messages");
      ADD_FAILURE() << "accepted " << messages;
    } catch (const Error& error) {
      EXPECT_EQ(error.code(), ErrorCode::bad_input);
      EXPECT_EQ(std::string(error.what()).rfind("messages", 0), 0u) << error.what();
    }
  }
  EXPECT_THROW(render_chat({}, {}), Error);
}

TEST(ChatTemplate, ErrorsNameThePlace) {
  try {
    parse_messages(json(R"([{"role": "user", "content": [{"text": "a"}, 7]}])"),
                   "line 3: messages");
    FAIL();
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "line 3: messages[0].content[1]: expected an object, found number");
  }
}

TEST(ChatTemplate, ToolsAreAnArrayOfObjects) {
  EXPECT_TRUE(parse_tools(json("null"), "tools").empty());
  EXPECT_TRUE(parse_tools(json("[]"), "tools").empty());
  EXPECT_EQ(parse_tools(json(R"([{"z":1,"a":{}}])"), "tools"),
            std::vector<std::string>{R"({"z": 1, "a": {}})"});
  EXPECT_THROW(parse_tools(json("{}"), "tools"), Error);
  EXPECT_THROW(parse_tools(json("[\"f\"]"), "tools"), Error);
}

// Expected values from Python: json.dumps(json.loads(x), ensure_ascii=False).
TEST(ChatTemplate, JsonIsWrittenAsPythonWritesIt) {
  const std::pair<const char*, const char*> cases[] = {
      {R"([1,2.0,-0.0,1e-7,1e16,1e15,0.1,123456.789,1e22])",
       R"([1, 2.0, -0.0, 1e-07, 1e+16, 1000000000000000.0, 0.1, 123456.789, 1e+22])"},
      {R"([0.0001,0.00001,5e-324,1.7976931348623157e308,-9223372036854775808,18446744073709551615])",
       R"([0.0001, 1e-05, 5e-324, 1.7976931348623157e+308, -9223372036854775808, 18446744073709551615])"},
      {R"({"b":true,"a":[],"é":{},"q\"":null})", R"({"b": true, "a": [], "é": {}, "q\"": null})"},
      {R"("\u0001\b\f\n\r\t\\\/\u007f天\ud83d\ude00")", "\"\\u0001\\b\\f\\n\\r\\t\\\\/\x7f天😀\""},
      {R"({"a":1,"b":2,"a":3})", R"({"a": 3, "b": 2})"},
  };
  for (const auto& [text, expected] : cases) EXPECT_EQ(to_chat_json(json(text)), expected);
  const double infinity = std::numeric_limits<double>::infinity();
  EXPECT_EQ(to_chat_json(OrderedJson{infinity, -infinity, std::nan("")}),
            "[Infinity, -Infinity, NaN]");
}

}  // namespace
}  // namespace squint::qwen3_vl
