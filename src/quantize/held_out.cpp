#include "quantize/held_out.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "quantize/compared_model.h"
#include "quantize/predictions.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

constexpr size_t kPartOfRows = 10;  // one of that many
constexpr size_t kFewest = 8;
constexpr size_t kMost = 64;

bool has_answer(const Conversation& row) {
  return row.answer || std::ranges::any_of(row.messages, [](const qwen3_vl::Message& message) {
           return message.role == "assistant";
         });
}

size_t count_to_hold(std::optional<int64_t> asked, size_t answered, size_t rows) {
  if (!asked) {
    const size_t part = answered / kPartOfRows;
    return part < kFewest ? 0 : std::min(part, kMost);
  }
  const size_t most = std::min(answered, std::max<size_t>(rows, 1) - 1);
  if (*asked >= 0 && *asked <= static_cast<int64_t>(most)) return static_cast<size_t>(*asked);
  throw Error(ErrorCode::usage,
              fmt::format("held out: expected 0 to {} rows, found {}: {} of {} calibration rows "
                          "have an answer, and one must be left to calibrate on",
                          most, *asked, answered, rows));
}

}  // namespace

std::vector<Conversation> hold_out(std::optional<int64_t> count, std::vector<Conversation>& rows) {
  std::vector<size_t> answered;
  for (size_t i = 0; i < rows.size(); ++i) {
    if (has_answer(rows[i])) answered.push_back(i);
  }
  const size_t held = count_to_hold(count, answered.size(), rows.size());
  std::vector<Conversation> out;
  std::vector<Conversation> left;
  for (size_t i = 0; i < rows.size(); ++i) {
    // The middle row of each of `held` equal parts.
    const size_t next = out.size();
    const bool taken = next < held && answered[(2 * next + 1) * answered.size() / (2 * held)] == i;
    (taken ? out : left).push_back(std::move(rows[i]));
  }
  rows = std::move(left);
  return out;
}

int64_t held_out_steps(int64_t rows, int64_t layers) { return rows * (1 + 3 * layers); }

std::optional<HeldOutReport> measure_held_out(Context& cx, const HeldOutInputs& in,
                                              const OnRows& on_rows) {
  const auto on_part = [&] { on_rows(0); };
  const ComparedModel base(in.base);
  const ComparedModel quantized(in.quantized);
  const ComparedModel plain(base, in.plain, "plain rounding");
  Activations base_states(cx, in.rows, in.processor, base.weights(), base.config(), on_rows);
  const std::vector<AnswerPlace> places = answer_places(base_states, in.processor, base.config());
  if (places.empty()) return std::nullopt;
  Activations plain_states = base_states.copy(cx);
  Activations states = base.same_inputs(quantized, on_part)
                           ? base_states.copy(cx)
                           : Activations(cx, in.rows, in.processor, quantized.weights(),
                                         quantized.config(), [&](int64_t) { on_part(); });
  for (int64_t layer = 0; layer < base.config().text.layers; ++layer) {
    base_states.advance(cx, base.block(cx, layer), nullptr, layer, on_rows);
    plain_states.advance(cx, plain.block(cx, layer), nullptr, layer, on_rows);
    states.advance(cx, quantized.block(cx, layer), nullptr, layer, on_rows);
  }
  const qwen3_vl::OutputHead base_head(base.weights(), base.config(), cx.backend);
  std::optional<qwen3_vl::OutputHead> own_head;
  if (!base.same_head(quantized, on_part)) {
    own_head.emplace(quantized.weights(), quantized.config(), cx.backend);
  }
  const std::vector<Predictor> others = {
      {.states = states, .head = own_head ? *own_head : base_head, .name = "the quantized model"},
      {.states = plain_states, .head = base_head, .name = plain.name()}};
  const std::vector<std::vector<PredictedToken>> tokens = compare_predictions(
      cx, in.rows, places, {.states = base_states, .head = base_head, .name = base.name()}, others,
      on_part);
  return HeldOutReport{.rows = static_cast<int64_t>(in.rows.size()),
                       .quantized = summarize(tokens[0]),
                       .plain = summarize(tokens[1])};
}

}  // namespace squint::quantize
