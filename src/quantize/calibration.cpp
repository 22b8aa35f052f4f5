#include "quantize/calibration.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>
#include <numeric>

#include "base/numpy_permutation.h"
#include "io/mapped_file.h"
#include "quantize/joined_rows.h"
#include "quantize/row_source.h"
#include "squint/error.h"

namespace squint::quantize {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxImageBytes = int64_t{1} << 30;

void expect_image(const fs::path& path, std::string_view where) {
  std::error_code error;
  if (fs::is_regular_file(path, error)) return;
  const bool absent = !error || error == std::errc::no_such_file_or_directory;
  throw Error(ErrorCode::io,
              fmt::format("{}: image {} {}; are the images beside the file?", where, path.string(),
                          absent ? "not found" : "cannot be examined: " + error.message()));
}

RowImage image_of(const OrderedJson& image, const fs::path& folder, std::string_view where) {
  if (image.is_binary()) {
    const auto& bytes = image.get_binary();
    return {.path = where,
            .bytes = std::make_shared<const std::string>(bytes.begin(), bytes.end())};
  }
  if (image.is_object()) {
    for (const char* key : {"bytes", "path"}) {
      const auto inner = image.find(key);
      if (inner != image.end() && !inner->is_null()) return image_of(*inner, folder, where);
    }
  }
  if (!image.is_string()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: an image part should name its file in \"image\"", where));
  }
  RowImage out{.path = folder / fs::path(image.get<std::string>())};
  expect_image(out.path, where);
  return out;
}

// Of the image parts of all messages, in order.
std::vector<RowImage> images_of(const OrderedJson& messages, const fs::path& folder,
                                std::string_view where) {
  std::vector<RowImage> images;
  for (const OrderedJson& message : messages) {
    const auto content = message.find("content");
    if (content == message.end() || !content->is_array()) continue;
    for (const OrderedJson& part : *content) {
      if (!part.is_object()) continue;
      const auto type = part.find("type");
      const bool typed = (type != part.end() && *type == "image") || part.contains("image_url");
      const auto image = part.find("image");
      if (!typed && image == part.end()) continue;
      images.push_back(image_of(image == part.end() ? OrderedJson() : *image, folder, where));
    }
  }
  return images;
}

// {"from": "human", "value": ..} as {"role": "user", "content": ..}.
void rename_members(OrderedJson& messages) {
  for (OrderedJson& message : messages) {
    if (!message.is_object()) continue;
    for (const auto& [old_name, name] : {std::pair("from", "role"), {"value", "content"}}) {
      if (message.contains(old_name) && !message.contains(name)) message[name] = message[old_name];
    }
    const auto role = message.find("role");
    if (role == message.end()) continue;
    if (*role == "human") *role = "user";
    if (*role == "gpt") *role = "assistant";
  }
}

}  // namespace

Conversation conversation_of(OrderedJson row, const fs::path& folder, std::string_view where) {
  Conversation out{.where = std::string(where)};
  if (row.is_object()) {
    for (const char* key : {"messages", "conversations"}) {
      const auto messages = row.find(key);
      if (messages == row.end() || !messages->is_array() || messages->empty()) continue;
      rename_members(*messages);
      out.messages = qwen3_vl::parse_messages(*messages, where);
      out.images = images_of(*messages, folder, where);
      return out;
    }
    const auto text = row.find("text");
    if (text != row.end() && text->is_string() && !row.contains("messages")) {
      out.text = text->get<std::string>();
      out.max_tokens = kTextTokens;
      return out;
    }
  }
  throw Error(ErrorCode::bad_input,
              fmt::format("{}: expected an object with a list \"messages\", or with a string "
                          "\"text\"",
                          where));
}

Conversation parse_conversation(std::string_view line, const fs::path& folder,
                                std::string_view where) {
  return conversation_of(parse_ordered_json(line, where), folder, where);
}

std::vector<int64_t> share_rows(int64_t rows, std::span<const int64_t> available,
                                std::span<const double> weights) {
  std::vector<int64_t> out(available.size(), 0);
  std::vector<size_t> open(available.size());
  std::iota(open.begin(), open.end(), size_t{0});
  // Those that have too few for their share give all they have, until every share can be given.
  while (!open.empty()) {
    double sum = 0;
    for (const size_t i : open) sum += weights[i];
    const auto share = [&](size_t i) { return static_cast<double>(rows) * weights[i] / sum; };
    int64_t given = 0;
    const auto exhausted = std::erase_if(open, [&](size_t i) {
      if (static_cast<double>(available[i]) > share(i)) return false;
      given += out[i] = available[i];
      return true;
    });
    if (exhausted == 0) {
      int64_t left = rows;
      for (const size_t i : open) left -= out[i] = static_cast<int64_t>(share(i));
      std::ranges::stable_sort(open, std::greater<>(),
                               [&](size_t i) { return share(i) - std::floor(share(i)); });
      for (size_t i = 0; left > 0; --left) ++out[open[i++ % open.size()]];
      return out;
    }
    rows -= given;
  }
  return out;
}

std::vector<Conversation> load_calibration(const QuantizeOptions& options,
                                           const SourceContext& context) {
  // Drawn at random, any row can be among them; else no source gives more than all.
  const int64_t most = options.seed ? 0 : options.rows;
  std::vector<std::unique_ptr<RowSource>> sources;
  std::vector<int64_t> available;
  std::vector<double> weights;
  for (const CalibrationSource& source : options.calibration) {
    sources.push_back(open_row_source(source.path, most, context));
    available.push_back(sources.back()->rows());
    weights.push_back(source.weight);
    if (available.back() > 0) continue;
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: no calibration rows; expected {}", sources.back()->name(),
                            sources.back()->expected()));
  }
  const std::vector<int64_t> counts =
      options.rows > 0 ? share_rows(options.rows, available, weights) : available;
  std::vector<Conversation> out;
  for (size_t i = 0; i < sources.size(); ++i) {
    std::vector<int64_t> order(static_cast<size_t>(counts[i]));
    std::iota(order.begin(), order.end(), 0);
    if (options.seed) {
      const std::vector<int64_t> all = numpy_permutation(*options.seed, available[i]);
      order.assign(all.begin(), all.begin() + counts[i]);
    }
    std::vector<int64_t> ascending = order;
    std::ranges::sort(ascending);
    std::vector<Conversation> rows = sources[i]->read(ascending);
    for (const int64_t number : order) {
      Conversation& row = rows[static_cast<size_t>(std::ranges::lower_bound(ascending, number) -
                                                   ascending.begin())];
      if (options.calibration_tokens > 0) row.max_tokens = options.calibration_tokens;
      out.push_back(std::move(row));
    }
  }
  return out;
}

std::string encoded(const RowImage& image) {
  if (image.joined != nullptr) return encoded(*image.joined);
  if (image.read) return image.read();
  return image.bytes != nullptr ? *image.bytes : io::read_file(image.path, kMaxImageBytes);
}

qwen3_vl::ModelInput model_input(const Conversation& row, const qwen3_vl::Processor& processor) {
  try {
    std::vector<qwen3_vl::Patches> images;
    for (const RowImage& image : row.images) {
      const std::string bytes = encoded(image);
      images.push_back(processor.read_image(std::as_bytes(std::span(bytes)), image.path.string()));
    }
    const std::string prompt =
        row.messages.empty() ? row.text
                             : qwen3_vl::render_chat(
                                   row.messages, {.add_generation_prompt = row.answer.has_value()});
    return processor.prepare(prompt, std::move(images), row.answer.value_or(""), row.max_tokens);
  } catch (const Error& e) {
    throw Error(e.code(), fmt::format("{}: {}", row.where, e.what()));
  }
}

}  // namespace squint::quantize
