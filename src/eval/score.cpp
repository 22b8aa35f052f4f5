#include "eval/score.h"

#include <algorithm>
#include <array>
#include <functional>

#include "eval/edit_distance.h"
#include "eval/utf8.h"

namespace squint::eval {
namespace {

std::string normalize(std::string_view text, bool formula, ScoringRule rule) {
  if (formula) {
    std::string out(strip(text));
    std::erase_if(out, [](char c) { return c == ' ' || c == '\n'; });
    return out;
  }
  const std::string lowered = lower(rule == ScoringRule::lmms ? fold_full_width(text) : text);
  std::string out(strip(lowered));
  std::ranges::replace(out, '\n', ' ');
  return out;
}

bool contains(std::string_view text, std::string_view part) {
  return text.find(part) != std::string_view::npos;
}

// Both sides changed in the same way. An answer of which nothing is left proves nothing.
bool hits_after(const ScoreInput& input,
                const std::function<std::string(std::string_view)>& change) {
  const std::string prediction = change(input.prediction);
  return std::ranges::any_of(input.answers, [&](const std::string& answer) {
    const std::string part = change(answer);
    return !part.empty() && contains(prediction, part);
  });
}

bool is_ascii_letter(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

size_t skip_spaces(std::string_view text, size_t at) {
  while (at < text.size() && (text[at] == ' ' || text[at] == '\n')) ++at;
  return at;
}

// The length of the command at `at`, where it is `name` and not the beginning of a longer one.
size_t command_at(std::string_view text, size_t at, std::string_view name) {
  if (text.substr(at, name.size()) != name) return 0;
  const size_t end = at + name.size();
  return end < text.size() && is_ascii_letter(text[end]) ? 0 : name.size();
}

// Takes away $, \left, \right, and the commands \mathrm and \text; their braces stay for the
// caller.
std::string without_latex_commands(std::string_view text) {
  static constexpr std::array<std::string_view, 4> kDropped = {"\\left", "\\right", "\\mathrm",
                                                               "\\text"};
  std::string out;
  for (size_t at = 0; at < text.size();) {
    size_t size = text[at] == '$' ? 1 : 0;
    for (const std::string_view name : kDropped) size = std::max(size, command_at(text, at, name));
    if (size == 0 && command_at(text, at, "\\dfrac") != 0) {
      out += "\\frac";
      size = 6;
    }
    if (size == 0) out += text[at++];
    at += size;
  }
  return out;
}

// The contents of \mathrm{...} and \text{...} without their braces.
std::string without_font_braces(std::string_view text) {
  std::string out;
  std::string open;  // one letter per open brace: d (dropped) or k (kept)
  for (size_t at = 0; at < text.size();) {
    const size_t size = std::max(command_at(text, at, "\\mathrm"), command_at(text, at, "\\text"));
    const size_t brace = skip_spaces(text, at + size);
    if (size != 0 && brace < text.size() && text[brace] == '{') {
      open += 'd';
      at = brace + 1;
      continue;
    }
    const char c = text[at++];
    bool keep = true;
    if (c == '{') open += 'k';
    if (c == '}' && !open.empty()) {
      keep = open.back() == 'k';
      open.pop_back();
    }
    if (keep) out += c;
  }
  return out;
}

// {x} becomes x where x is a single character.
std::string without_single_braces(std::string_view text) {
  std::string out;
  for (size_t at = 0; at < text.size();) {
    if (text[at] == '{') {
      const size_t inside = skip_spaces(text, at + 1);
      if (inside < text.size() && contains("{}\\", text.substr(inside, 1)) == false) {
        const auto symbol = static_cast<size_t>(decode_at(text, inside).size);
        const size_t close = skip_spaces(text, inside + symbol);
        if (close < text.size() && text[close] == '}') {
          out += text.substr(inside, symbol);
          at = close + 1;
          continue;
        }
      }
    }
    out += text[at++];
  }
  return out;
}

std::string plain_latex(std::string_view text) {
  const std::string plain =
      without_single_braces(without_latex_commands(without_font_braces(strip(text))));
  return normalize(plain, /*formula=*/true, ScoringRule::official);
}

bool is_near(const ScoreInput& input, ScoringRule rule) {
  const std::u32string text = code_points(normalize(input.prediction, input.formula, rule));
  return std::ranges::any_of(input.answers, [&](const std::string& answer) {
    const std::u32string part = code_points(normalize(answer, input.formula, rule));
    return !part.empty() &&
           5 * best_window_distance(part, text) <= static_cast<int64_t>(part.size());
  });
}

}  // namespace

std::string_view to_string(ScoringRule rule) {
  return rule == ScoringRule::official ? "official" : "lmms";
}

std::optional<ScoringRule> scoring_rule_named(std::string_view name) {
  for (const ScoringRule rule : {ScoringRule::official, ScoringRule::lmms}) {
    if (name == to_string(rule)) return rule;
  }
  return std::nullopt;
}

ScoreResult score(const ScoreInput& input, ScoringRule rule) {
  ScoreResult result;
  result.normalized_prediction = normalize(input.prediction, input.formula, rule);
  for (size_t i = 0; i < input.answers.size() && !result.hit; ++i) {
    result.hit =
        contains(result.normalized_prediction, normalize(input.answers[i], input.formula, rule));
    if (result.hit) result.hit_answer = static_cast<int64_t>(i);
  }
  return result;
}

std::string_view without_reasoning(std::string_view output) {
  static constexpr std::string_view kOpen = "<think>";
  static constexpr std::string_view kClose = "</think>";
  const size_t close = output.rfind(kClose);
  if (close != std::string_view::npos) return output.substr(close + kClose.size());
  return strip(output).starts_with(kOpen) ? std::string_view() : output;
}

std::string_view to_string(FailureClass failure) {
  static constexpr std::array<std::string_view, 9> kNames = {
      "error", "empty", "truncated", "case", "space", "punct", "latex", "near", "wrong"};
  return kNames[static_cast<size_t>(failure)];
}

FailureClass classify_failure(const FailureInput& input, ScoringRule rule) {
  const ScoreInput& scored = input.scored;
  if (input.finish_reason == "error") return FailureClass::error;
  if (strip(scored.prediction).empty()) return FailureClass::empty;
  if (input.finish_reason == "length") return FailureClass::truncated;
  const auto normal = [&](std::string_view text) { return normalize(text, scored.formula, rule); };
  if (scored.formula && hits_after(scored, [&](auto text) { return lower(normal(text)); })) {
    return FailureClass::letter_case;
  }
  if (hits_after(scored, [&](auto text) { return without_spaces(normal(text)); })) {
    return FailureClass::space;
  }
  if (hits_after(scored, [&](auto text) { return letters_and_digits(normal(text)); })) {
    return FailureClass::punct;
  }
  if (scored.formula && hits_after(scored, plain_latex)) return FailureClass::latex;
  return is_near(scored, rule) ? FailureClass::near : FailureClass::wrong;
}

}  // namespace squint::eval
