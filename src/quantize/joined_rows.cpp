#include "quantize/joined_rows.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/random.h"
#include "image/decode.h"
#include "image/encode_bmp.h"
#include "image/resize.h"

namespace squint::quantize {

using qwen3_vl::ContentPart;
using qwen3_vl::Message;

namespace {

// One image, in the first turn, which asks something.
bool can_be_joined(const Conversation& row) {
  if (row.images.size() != 1 || row.messages.empty()) return false;
  const Message& question = row.messages.front();
  const auto asks = [](const ContentPart& p) {
    return p.kind == ContentPart::Kind::text && !p.text.empty();
  };
  const auto shows = [](const ContentPart& p) { return p.kind == ContentPart::Kind::image; };
  return question.role == "user" && std::ranges::any_of(question.content, asks) &&
         std::ranges::any_of(question.content, shows);
}

std::string prompt_of(const Message& question) {
  std::string prompt;
  for (const ContentPart& part : question.content) prompt += part.text;
  return prompt;
}

int64_t scaled(int64_t size, double factor) {
  return std::max<int64_t>(1, std::llround(static_cast<double>(size) * factor));
}

image::Image decoded(const RowImage& image) {
  const std::string bytes = encoded(image);
  return image::decode(std::as_bytes(std::span(bytes)), image.path.string());
}

}  // namespace

std::string encoded(const JoinedImage& joined) {
  const image::Image left = decoded(joined.left);
  image::Image right = decoded(joined.right);
  const double same_height = static_cast<double>(left.height) / static_cast<double>(right.height);
  right = image::resize_bicubic(right, scaled(right.width, same_height), left.height);
  const int64_t from_left = scaled(left.width, joined.cut);
  const int64_t from_right = scaled(right.width, 1 - joined.cut);
  image::Image out{.width = from_left + from_right, .height = left.height, .rgb = {}};
  for (int64_t y = 0; y < out.height; ++y) {
    const auto* a = left.rgb.data() + y * left.width * 3;
    const auto* b = right.rgb.data() + ((y + 1) * right.width - from_right) * 3;
    out.rgb.insert(out.rgb.end(), a, a + from_left * 3);
    out.rgb.insert(out.rgb.end(), b, b + from_right * 3);
  }
  return image::encode_bmp(
      image::distorted(image::resize_bicubic(out, scaled(out.width, joined.width),
                                             scaled(out.height, joined.height)),
                       joined.distortion));
}

std::vector<Conversation> joined_rows(std::span<const Conversation> rows, int copies,
                                      const AskImage& ask) {
  std::vector<const Conversation*> parts;
  for (const Conversation& row : rows) {
    if (can_be_joined(row)) parts.push_back(&row);
  }
  Random random(0);
  const auto between = [&](double low, double high) {
    return low + (high - low) * random.uniform();
  };
  std::vector<Conversation> out;
  const auto total = static_cast<int64_t>(parts.size()) * copies;
  for (int64_t i = 0; i < total; ++i) {
    const Conversation& left = *parts[static_cast<size_t>(i) % parts.size()];
    const Conversation& right = *parts[random.below(parts.size())];
    JoinedImage joined{.left = left.images[0],
                       .right = right.images[0],
                       .cut = between(0.25, 0.75),
                       .width = between(0.75, 1.25),
                       .height = between(0.75, 1.25),
                       .distortion = {.degrees = between(-4, 4),
                                      .contrast = between(0.7, 1.1),
                                      .brightness = between(-0.1, 0.1),
                                      .blur = between(0, 0.8)}};
    Conversation row{.images = {{.path = left.images[0].path,
                                 .joined = std::make_shared<JoinedImage>(std::move(joined))}},
                     .max_tokens = left.max_tokens,
                     .where = fmt::format("{} joined with {}", left.where, right.where)};
    const Message& question = left.messages.front();
    const std::string answer = ask(row.images[0], prompt_of(question), i, total);
    row.messages = {question, {.role = "assistant", .content = {{.text = answer}}}};
    out.push_back(std::move(row));
  }
  return out;
}

}  // namespace squint::quantize
