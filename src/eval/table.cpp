#include "eval/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <utility>

#include "base/check.h"
#include "eval/utf8.h"

namespace squint::eval {
namespace {

constexpr int kGap = 2;         // columns between two cells
constexpr int kLeastFirst = 4;  // columns that the first cell keeps

std::string spaces(int count) { return std::string(static_cast<size_t>(std::max(0, count)), ' '); }

}  // namespace

std::string painted(std::string_view text, Paint paint, bool color) {
  static constexpr std::array<std::string_view, 6> kCodes = {"0", "1", "2", "31", "32", "33"};
  if (!color || paint == Paint::plain) return std::string(text);
  return fmt::format("\x1b[{}m{}\x1b[0m", kCodes[static_cast<size_t>(paint)], text);
}

Table::Table(std::vector<std::string> titles) {
  auto& row = rows_.emplace_back();
  for (std::string& title : titles) row.push_back({std::move(title), Paint::dim});
}

void Table::add(std::vector<Cell> cells) {
  SQUINT_CHECK(cells.size() == rows_.front().size());
  rows_.push_back(std::move(cells));
}

std::string Table::render(int width, bool color) const {
  std::vector<int> widths(rows_.front().size());
  for (const auto& row : rows_) {
    for (size_t i = 0; i < row.size(); ++i) {
      widths[i] = std::max(widths[i], display_width(row[i].text));
    }
  }
  int others = 0;
  for (size_t i = 1; i < widths.size(); ++i) others += kGap + widths[i];
  widths[0] = std::min(widths[0], std::max(kLeastFirst, width - others));
  std::string out;
  for (const auto& row : rows_) {
    const std::string first = clip(row[0].text, widths[0]);
    out += painted(first, row[0].paint, color);
    int owed =
        widths[0] - display_width(first);  // Written only before a cell: no line ends in spaces.
    for (size_t i = 1; i < row.size(); ++i) {
      owed += kGap + widths[i] - display_width(row[i].text);
      if (row[i].text.empty()) continue;
      out += spaces(owed) + painted(row[i].text, row[i].paint, color);
      owed = 0;
    }
    out += '\n';
  }
  return out;
}

std::string wrapped(std::string_view text, int width, int indent) {
  std::string out;
  int used = indent;
  while (!text.empty()) {
    const size_t end = std::min(text.find(' '), text.size());
    const std::string word = clip(text.substr(0, end), std::max(1, width - indent));
    text.remove_prefix(std::min(end + 1, text.size()));
    if (word.empty()) continue;
    const int size = display_width(word);
    if (used > indent && used + 1 + size > width) {
      out += '\n' + spaces(indent);
      used = indent;
    } else if (used > indent) {
      out += ' ';
      ++used;
    }
    out += word;
    used += size;
  }
  return out + '\n';
}

}  // namespace squint::eval
