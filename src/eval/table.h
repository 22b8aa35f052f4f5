// table.h: aligned columns and colours for a terminal.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace squint::eval {

enum class Paint { plain, bold, dim, red, green, yellow };

// With `color`, in ANSI escapes; without, the text itself.
std::string painted(std::string_view text, Paint paint, bool color);

struct Cell {
  std::string text;
  Paint paint = Paint::plain;
};

// The first column stands left and gives way: it is as wide as its longest text or, where the line
// would become too long, clipped. All others stand right and are as wide as they need.
class Table {
 public:
  explicit Table(std::vector<std::string> titles);
  void add(std::vector<Cell> cells);  // one per title
  bool empty() const { return rows_.size() == 1; }
  // Lines of at most `width` columns where the first column has room to give way; "\n" after each.
  std::string render(int width, bool color) const;

 private:
  std::vector<std::vector<Cell>> rows_;  // the titles first
};

// Words of `text` in lines that begin at column `indent` and end before `width`; "\n" after each.
// What stands before the first line is the caller's. Words that are longer than a line are clipped.
std::string wrapped(std::string_view text, int width, int indent);

}  // namespace squint::eval
