#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "eval/table.h"
#include "eval/utf8.h"
#include "squint/compare.h"

namespace squint {
namespace {

using Json = nlohmann::ordered_json;

constexpr int kLeastWidth = 72;
constexpr int kQuestionWidth = 36;
constexpr size_t kLayersInALine = 8;

std::string short_number(double value) { return fmt::format("{:.2g}", value); }

std::string title_of(const std::string& kind) {
  if (kind == "after_image") return "after an image";
  if (kind == "no_image") return "without an image";
  if (kind == "text") return "plain text";
  if (kind == "digits") return "digits";
  if (kind == "cjk") return "CJK";
  return "end of turn";
}

std::vector<eval::Cell> cells(const std::string& title, const TokenDivergence& d) {
  return {{title},
          {fmt::format("{}", d.tokens)},
          {short_number(d.kl)},
          {short_number(d.median)},
          {short_number(d.p90)},
          {short_number(d.p99)},
          {short_number(d.max)},
          {fmt::format("{:.2f} %", d.top1 * 100)}};
}

std::string layer_lines(const std::vector<double>& errors) {
  std::string out;
  for (size_t first = 0; first < errors.size(); first += kLayersInALine) {
    const size_t end = std::min(errors.size(), first + kLayersInALine);
    out += fmt::format(
        "{:>9}", first + 1 == end ? fmt::format("{}", end) : fmt::format("{}-{}", first + 1, end));
    for (size_t i = first; i < end; ++i) out += fmt::format(" {:>7.4f}", errors[i]);
    out += '\n';
  }
  return out;
}

Json json_of(const TokenDivergence& d) {
  return {{"kl", d.kl},      {"top1", d.top1},  {"tokens", d.tokens}, {"kl_median", d.median},
          {"kl_p90", d.p90}, {"kl_p99", d.p99}, {"kl_max", d.max}};
}

}  // namespace

std::string Divergence::to_text(int width) const {
  width = std::max(width, kLeastWidth);
  std::string out = eval::clip(eval::one_line(other) + " against " + eval::one_line(base), width);
  out += fmt::format(
      "\nKL(base ‖ other)  {:.6f} nats per token\nsame top token    {:.2f} %\n"
      "over              {} answer tokens of {} rows\n\n",
      kl, top1 * 100, tokens, rows);
  eval::Table table(
      {"kind of token", "tokens", "mean KL", "median", "p90", "p99", "max", "same top"});
  table.add(cells("all", *this));
  for (const KindDivergence& kind : kinds) {
    if (kind.of.tokens < tokens) table.add(cells(title_of(kind.kind), kind.of));
  }
  out += table.render(width, /*color=*/false);
  out += fmt::format("\nrelative error of hidden states; of image embeddings {}\n after layer\n{}",
                     vision_error == 0 ? "0" : fmt::format("{:.4f}", vision_error),
                     layer_lines(layer_errors));
  if (worst.empty()) return out;
  eval::Table rows_table({"rows that changed most: question → answer", "row", "tokens", "KL"});
  for (const RowDivergence& row : worst) {
    rows_table.add({{eval::clip(eval::one_line(row.question), kQuestionWidth) + " → " +
                     eval::one_line(row.answer)},
                    {fmt::format("{}", row.row)},
                    {fmt::format("{}", row.tokens)},
                    {short_number(row.kl)}});
  }
  return out + "\n" + rows_table.render(width, /*color=*/false);
}

std::string Divergence::to_json() const {
  Json json = json_of(*this);
  json["rows"] = rows;
  json["kinds"] = Json::object();
  for (const KindDivergence& kind : kinds) json["kinds"][kind.kind] = json_of(kind.of);
  json["vision_error"] = vision_error;
  json["layer_errors"] = layer_errors;
  json["worst_rows"] = Json::array();
  for (const RowDivergence& row : worst) {
    json["worst_rows"].push_back({{"row", row.row},
                                  {"question", row.question},
                                  {"answer", row.answer},
                                  {"tokens", row.tokens},
                                  {"kl", row.kl}});
  }
  return json.dump(-1, ' ', /*ensure_ascii=*/false, Json::error_handler_t::replace);
}

}  // namespace squint
