#include "answer_stats.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "terminal.h"

namespace squint::cli {
namespace {

double rate(double count, double milliseconds) {
  return count > 0 && milliseconds > 0 ? count / milliseconds * 1e3 : 0;
}

std::string rate_text(double rate) {
  return rate == 0 ? "" : fmt::format("{:.{}f} tokens/s", rate, rate < 10 ? 1 : 0);
}

const char* cut_note(const Completion& answer) {
  return answer.finish == FinishReason::length ? " (cut off; see --max-tokens)" : "";
}

}  // namespace

AnswerStats stats_of(const Completion& c) {
  // Drawn after the first token, which the prefill gives: the end token counts, it took as long.
  const auto steps = static_cast<double>(c.ids.size()) - (c.finish == FinishReason::length ? 1 : 0);
  return {.ms_first_token = c.ms_images + c.ms_prefill,
          .prefill_tokens_a_second = rate(static_cast<double>(c.prompt_tokens), c.ms_prefill),
          .decode_tokens_a_second = rate(steps, c.ms_decode),
          .peak_memory = peak_memory()};
}

std::string summary(const Completion& c, int64_t weight_bytes) {
  const double decode = stats_of(c).decode_tokens_a_second;
  return fmt::format(
      "{} prompt tokens ({} of images), {} in the answer{}; weights {}, images {:.0f} ms, prefill "
      "{:.0f} ms{}\n",
      c.prompt_tokens, c.image_tokens, c.ids.size(), cut_note(c), bytes_text(weight_bytes),
      c.ms_images, c.ms_prefill, decode > 0 ? ", " + rate_text(decode) : "");
}

std::string stats_text(const Completion& c, int64_t weight_bytes) {
  const AnswerStats s = stats_of(c);
  const auto timed = [](double ms, double rate) {
    const std::string text = rate_text(rate);
    return fmt::format("{:.1f} ms{}", ms, text.empty() ? "" : ", " + text);
  };
  std::string out;
  const auto fact = [&](const char* name, const std::string& value) {
    out += fmt::format("{:<12}{}\n", name, value);
  };
  fact("tokens", fmt::format("{} in the prompt, {} of them of images; {} in the answer{}",
                             c.prompt_tokens, c.image_tokens, c.ids.size(), cut_note(c)));
  if (c.image_tokens > 0) {
    fact("images", timed(c.ms_images, 0) + (c.known_images > 0 ? ", known from before" : ""));
  }
  fact("prefill", timed(c.ms_prefill, s.prefill_tokens_a_second));
  fact("first token", fmt::format("after {:.1f} ms", s.ms_first_token));
  if (s.decode_tokens_a_second > 0) fact("decode", timed(c.ms_decode, s.decode_tokens_a_second));
  if (c.guessed_tokens > 0) {
    fact("guesses", fmt::format("{} of {} tokens right, from earlier text", c.right_guesses,
                                c.guessed_tokens));
  }
  fact("memory", fmt::format("{} at most, weights on disk {}", bytes_text(s.peak_memory),
                             bytes_text(weight_bytes)));
  return out;
}

void add_stats(nlohmann::ordered_json& json, const Completion& c) {
  const AnswerStats s = stats_of(c);
  json["known_images"] = c.known_images;
  json["ms_images"] = c.ms_images;
  json["ms_prefill"] = c.ms_prefill;
  json["ms_decode"] = c.ms_decode;
  json["ms_first_token"] = s.ms_first_token;
  json["prefill_tokens_per_second"] = s.prefill_tokens_a_second;
  json["decode_tokens_per_second"] = s.decode_tokens_a_second;
  json["guessed_tokens"] = c.guessed_tokens;
  json["right_guesses"] = c.right_guesses;
  json["peak_memory_bytes"] = s.peak_memory;
}

}  // namespace squint::cli
