#include "quantize/calibration.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::quantize {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxFileBytes = int64_t{4} << 30;

void expect_image(const fs::path& path, std::string_view where) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return;
  const bool absent = !error || error == std::errc::no_such_file_or_directory;
  throw Error(ErrorCode::io,
              fmt::format("{}: image {} {}; are the images beside the file?", where, path.string(),
                          absent ? "not found" : "cannot be examined: " + error.message()));
}

// Paths of the image parts of all messages, in order.
std::vector<fs::path> image_paths(const OrderedJson& messages, const fs::path& folder,
                                  std::string_view where) {
  std::vector<fs::path> paths;
  for (const OrderedJson& message : messages) {
    const auto content = message.find("content");
    if (content == message.end() || !content->is_array()) continue;
    for (const OrderedJson& part : *content) {
      if (!part.is_object()) continue;
      const auto type = part.find("type");
      const bool typed = (type != part.end() && *type == "image") || part.contains("image_url");
      const auto image = part.find("image");
      if (!typed && image == part.end()) continue;
      if (image == part.end() || !image->is_string()) {
        throw Error(ErrorCode::bad_input,
                    fmt::format("{}: an image part should name its file in \"image\"", where));
      }
      paths.push_back(folder / fs::path(image->get<std::string>()));
      expect_image(paths.back(), where);
    }
  }
  return paths;
}

}  // namespace

Conversation parse_conversation(std::string_view line, const fs::path& folder,
                                std::string_view where) {
  const OrderedJson row = parse_ordered_json(line, where);
  const auto messages = row.is_object() ? row.find("messages") : row.end();
  if (!row.is_object() || messages == row.end() || !messages->is_array() || messages->empty()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: expected an object with a list \"messages\"", where));
  }
  Conversation out;
  out.messages = qwen3_vl::parse_messages(*messages, where);
  out.images = image_paths(*messages, folder, where);
  out.where = where;
  return out;
}

std::vector<Conversation> load_calibration(const fs::path& source, int64_t rows) {
  std::error_code unknown;  // Reading the file will say what is wrong.
  const fs::path file = fs::is_directory(source, unknown) ? source / "calibration.jsonl" : source;
  const std::string text = io::read_file(file, kMaxFileBytes);
  std::vector<Conversation> out;
  size_t begin = 0;
  for (int64_t line = 1; begin < text.size(); ++line) {
    if (rows > 0 && static_cast<int64_t>(out.size()) == rows) break;
    const size_t end = std::min(text.find('\n', begin), text.size());
    const std::string_view row(text.data() + begin, end - begin);
    begin = end + 1;
    if (row.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    out.push_back(parse_conversation(row, file.parent_path(),
                                     fmt::format("{} line {}", file.string(), line)));
  }
  if (out.empty()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: no calibration rows; expected one JSON conversation per line",
                            file.string()));
  }
  return out;
}

qwen3_vl::ModelInput model_input(const Conversation& row, const qwen3_vl::Processor& processor) {
  try {
    std::vector<qwen3_vl::Patches> images;
    for (const fs::path& path : row.images) images.push_back(processor.read_image(path));
    const std::string prompt =
        qwen3_vl::render_chat(row.messages, {.add_generation_prompt = row.answer.has_value()});
    return processor.prepare(prompt, std::move(images), row.answer.value_or(""));
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}", row.where, e.what()));
  }
}

}  // namespace squint::quantize
