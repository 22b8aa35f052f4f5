#include "io/tsv.h"

#include <fmt/format.h>

#include <algorithm>

#include "squint/error.h"

namespace squint::io {
namespace {

constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";
constexpr size_t kMaxColumns = 1024;

}  // namespace

std::string TsvField::text() const {
  std::string out;
  for (size_t i = 0; i < raw.size(); ++i) {
    out += raw[i];
    if (quoted && raw[i] == '"') ++i;
  }
  return out;
}

TsvReader::TsvReader(std::string_view text, std::string where)
    : rest_(text), where_(std::move(where)) {
  if (rest_.starts_with(kByteOrderMark)) rest_.remove_prefix(kByteOrderMark.size());
  std::vector<TsvField> header;
  columns_.resize(1);  // Any number of names, but for the next rows.
  if (!next(header)) fail("expected a line with the names of the columns, found nothing");
  columns_.clear();
  for (const TsvField& field : header) {
    const std::string name = field.text();
    if (std::ranges::find(columns_, name) != columns_.end()) {
      fail(fmt::format("names the column \"{}\" twice", name.substr(0, 64)));
    }
    columns_.push_back(name);
  }
}

std::optional<size_t> TsvReader::column(const std::vector<std::string_view>& names) const {
  for (const std::string_view name : names) {
    const auto at = std::ranges::find(columns_, name);
    if (at != columns_.end()) return static_cast<size_t>(at - columns_.begin());
  }
  return std::nullopt;
}

bool TsvReader::next(std::vector<TsvField>& fields) {
  const bool header = line_ == 0;
  while (!at_end() && end_line()) continue;
  if (at_end()) return false;
  line_ = next_line_;
  fields.clear();
  while (true) {
    fields.push_back(field());
    if (fields.size() > kMaxColumns) fail(fmt::format("more than {} fields", kMaxColumns));
    if (at_end() || end_line()) break;
    rest_.remove_prefix(1);  // a tab
    if (at_end()) {          // behind which the file ends
      fields.push_back({});
      break;
    }
  }
  if (!header && fields.size() != columns_.size()) {
    fail(fmt::format(
        "expected {} fields, as the header has, found {}; a file that was cut short, or "
        "not separated by tabs?",
        columns_.size(), fields.size()));
  }
  return true;
}

// Whether a line ends here; then it has ended.
bool TsvReader::end_line() {
  const size_t length = rest_.starts_with("\r\n") ? 2 : rest_.starts_with('\n') ? 1 : 0;
  rest_.remove_prefix(length);
  if (length > 0) ++next_line_;
  return length > 0;
}

TsvField TsvReader::field() {
  TsvField out;
  if (!rest_.starts_with('"')) {
    size_t end = std::min(rest_.find_first_of("\t\n"), rest_.size());
    const bool crlf = end < rest_.size() && rest_[end] == '\n' && end > 0 && rest_[end - 1] == '\r';
    end -= crlf ? 1 : 0;
    out.raw = rest_.substr(0, end);
    rest_.remove_prefix(end);
    return out;
  }
  out.quoted = true;
  size_t end = 1;
  while (true) {
    end = rest_.find('"', end);
    if (end == rest_.npos) fail("a quote does not end; a file that was cut short?");
    if (!rest_.substr(end + 1).starts_with('"')) break;
    end += 2;
  }
  out.raw = rest_.substr(1, end - 1);
  next_line_ += std::ranges::count(out.raw, '\n');
  rest_.remove_prefix(end + 1);
  const bool ends =
      at_end() || rest_.starts_with('\t') || rest_.starts_with('\n') || rest_.starts_with("\r\n");
  if (!ends) fail("text behind a quote that ends");
  return out;
}

void TsvReader::fail(std::string_view what) const {
  throw Error(ErrorCode::bad_input,
              fmt::format("{} line {}: {}", where_, std::max<int64_t>(line_, 1), what));
}

}  // namespace squint::io
