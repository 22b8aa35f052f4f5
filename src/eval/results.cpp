#include "eval/results.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <map>
#include <nlohmann/json.hpp>
#include <set>

#include "base/check.h"
#include "base/checked_math.h"
#include "eval/utf8.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::eval {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxFileBytes = int64_t{1} << 30;

constexpr int64_t kFormat = 1;
constexpr std::string_view kHeaderStart = R"({"kind":"run")";

[[noreturn]] void bad(std::string_view where, std::string_view what) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", where, what));
}

int64_t count_member(const Json& object, std::string_view key, std::string_view where) {
  const int64_t value = int_member(object, key, where);
  if (value < 0) bad(where, fmt::format("\"{}\" should be 0 or more, but is {}", key, value));
  return value;
}

// Far above any answer; sums over all rows of a file stay far below 2^63.
int64_t token_member(const Json& object, std::string_view key, std::string_view where) {
  constexpr int64_t kMostTokens = int64_t{1} << 32;
  const int64_t value = count_member(object, key, where);
  if (value > kMostTokens) {
    bad(where, fmt::format("\"{}\" should be at most {}, but is {}", key, kMostTokens, value));
  }
  return value;
}

double duration_member(const Json& object, std::string_view key, std::string_view where) {
  const double value = number_member(object, key, where);
  if (!(value >= 0)) bad(where, fmt::format("\"{}\" should be 0 or more, but is {}", key, value));
  return value;
}

std::string optional_string(const Json& object, std::string_view key, std::string_view where) {
  const auto found = object.find(key);
  return found == object.end() || found->is_null() ? "" : string_member(object, key, where);
}

// A run that gives "plan" gives each pair of type and data set once.
void check_plan(const Json& header, std::string_view where) {
  const auto plan = header.find("plan");
  if (plan == header.end()) return;
  if (!plan->is_array()) bad(where, "\"plan\" should be a list");
  std::set<std::pair<std::string, std::string>> seen;
  int64_t total = 0;
  for (const Json& part : *plan) {
    const auto sum = checked_add(total, count_member(part, "rows", where));
    if (!sum) bad(where, "\"plan\" has more than 2^63 rows");
    total = *sum;
    if (!seen.emplace(string_member(part, "type", where), string_member(part, "dataset", where))
             .second) {
      bad(where, "\"plan\" names a type and data set twice");
    }
  }
}

void check_header(const Json& header, std::string_view where) {
  if (!header.is_object() || !header.contains("kind") || header["kind"] != "run") {
    bad(where, "expected the header of an evaluation run; another kind of file?");
  }
  const int64_t format = int_member(header, "format", where);
  if (format != kFormat) {
    bad(where,
        fmt::format("expected format {}, found {}; written by another version?", kFormat, format));
  }
  for (const char* key : {"settings", "about"}) {
    if (header.contains(key) && !header[key].is_object()) {
      bad(where, fmt::format("\"{}\" should be an object", key));
    }
  }
  optional_string(header, "model_name", where);
  if (header.contains("model_bytes")) count_member(header, "model_bytes", where);
  check_plan(header, where);
}

std::vector<std::string> answers_of(const Json& row, std::string_view where) {
  std::vector<std::string> answers;
  const Json& values = member(row, "answers", where);
  if (!values.is_array() || values.empty()) bad(where, "\"answers\" should be a list of strings");
  for (const Json& value : values) {
    if (!value.is_string()) bad(where, "\"answers\" should be a list of strings");
    answers.push_back(value.get<std::string>());
  }
  return answers;
}

void read_verdict(const Json& line, std::string_view where, ResultRow& row) {
  const int64_t hit = int_member(line, "hit", where);
  if (hit != 0 && hit != 1) bad(where, fmt::format("\"hit\" should be 0 or 1, but is {}", hit));
  row.hit = hit == 1;
  const bool named = !member(line, "hit_answer", where).is_null();
  if (named) row.hit_answer = count_member(line, "hit_answer", where);
  if (named != row.hit || row.hit_answer >= static_cast<int64_t>(row.answers.size())) {
    bad(where, "\"hit_answer\" should be the place of an answer for a hit, null for a miss");
  }
}

ResultRow read_row(const Json& line, std::string_view where) {
  ResultRow row;
  row.index = count_member(line, "index", where);
  row.dataset = string_member(line, "dataset", where);
  row.type = string_member(line, "type", where);
  row.question = string_member(line, "question", where);
  row.answers = answers_of(line, where);
  row.image_key = optional_string(line, "image_key", where);
  row.prediction_raw = string_member(line, "prediction_raw", where);
  row.prediction_scored = string_member(line, "prediction_scored", where);
  read_verdict(line, where, row);
  row.normalized_prediction = string_member(line, "normalized_prediction", where);
  row.prompt_tokens = token_member(line, "prompt_tokens", where);
  row.image_tokens = token_member(line, "image_tokens", where);
  row.output_tokens = token_member(line, "output_tokens", where);
  row.finish_reason = string_member(line, "finish_reason", where);
  if (row.finish_reason != "stop" && row.finish_reason != "length" &&
      row.finish_reason != "error") {
    bad(where, fmt::format("\"finish_reason\" should be stop, length or error, but is \"{}\"",
                           one_line(row.finish_reason)));
  }
  row.ms_prefill = duration_member(line, "ms_prefill", where);
  row.ms_decode = duration_member(line, "ms_decode", where);
  row.error = optional_string(line, "error", where);
  if (row.hit && row.finish_reason == "error") bad(where, "a row that failed cannot be a hit");
  return row;
}

std::string dump_line(const OrderedJson& value) {
  return value.dump(-1, ' ', false, OrderedJson::error_handler_t::replace) + "\n";
}

std::string shown(const Json* value) {
  if (value == nullptr) return "nothing";
  return clip(one_line(value->dump(-1, ' ', false, Json::error_handler_t::replace)), 60);
}

void add_differences(const Json& expected, const Json& found, const std::string& prefix,
                     std::vector<HeaderDifference>& out) {
  std::map<std::string, std::pair<const Json*, const Json*>> values;
  for (const auto& [key, value] : expected.items()) values[key].first = &value;
  for (const auto& [key, value] : found.items()) values[key].second = &value;
  for (const auto& [key, pair] : values) {
    const auto [want, have] = pair;
    const bool is_top = prefix.empty();
    if (is_top && key == "about") continue;
    if (want != nullptr && have != nullptr && *want == *have) continue;
    if (is_top && key == "settings") {
      static const Json kNone = Json::object();
      add_differences(want == nullptr ? kNone : *want, have == nullptr ? kNone : *have, "settings.",
                      out);
      continue;
    }
    out.push_back({prefix + key, shown(want), shown(have)});
  }
}

bool may_begin_header(std::string_view text) {
  const size_t size = std::min(text.size(), kHeaderStart.size());
  return text.substr(0, size) == kHeaderStart.substr(0, size);
}

[[noreturn]] void system_error(const fs::path& path, std::string_view what) {
  const int error = errno;
  throw Error(ErrorCode::io, fmt::format("{}: {}: {}", path.string(), what, std::strerror(error)));
}

void create_folder_of(const fs::path& path) {
  if (!path.has_parent_path()) return;
  std::error_code error;
  fs::create_directories(path.parent_path(), error);
  if (!error) return;
  throw Error(ErrorCode::io,
              fmt::format("{}: its folder cannot be created: {}", path.string(), error.message()));
}

}  // namespace

ResultsFile parse_results(std::string_view text, std::string_view where) {
  ResultsFile file;
  const size_t end = text.rfind('\n');
  file.intact_bytes = end == std::string_view::npos ? 0 : static_cast<int64_t>(end + 1);
  file.torn = file.intact_bytes != static_cast<int64_t>(text.size());
  if (file.intact_bytes == 0) bad(where, "no complete line; a run that ended at once?");
  std::map<int64_t, int64_t> line_of;
  int64_t number = 0;
  for (size_t at = 0; at <= end;) {
    const size_t stop = text.find('\n', at);
    const std::string here = fmt::format("{} line {}", where, ++number);
    const Json line = parse_json(text.substr(at, stop - at), here);
    at = stop + 1;
    if (number == 1) {
      check_header(line, here);
      file.header = line.dump();
      continue;
    }
    file.rows.push_back(read_row(line, here));
    const auto [first, is_new] = line_of.try_emplace(file.rows.back().index, number);
    if (!is_new) {
      bad(here, fmt::format("row {} was already in line {}; two runs in one file?", first->first,
                            first->second));
    }
  }
  std::ranges::sort(file.rows, {}, &ResultRow::index);
  return file;
}

ResultsFile read_results(const fs::path& path) {
  return parse_results(io::read_file(path, kMaxFileBytes), path.string());
}

std::string header_line(const Json& header) {
  OrderedJson line = {{"kind", "run"}, {"format", kFormat}};
  for (const auto& [key, value] : header.items()) {
    if (!line.contains(key)) line[key] = value;
  }
  return dump_line(line);
}

std::string row_line(const ResultRow& row) {
  OrderedJson line;
  line["index"] = row.index;
  line["dataset"] = row.dataset;
  line["type"] = row.type;
  line["question"] = row.question;
  line["answers"] = row.answers;
  line["image_key"] = row.image_key;
  line["prediction_raw"] = row.prediction_raw;
  line["prediction_scored"] = row.prediction_scored;
  line["hit"] = row.hit ? 1 : 0;
  line["hit_answer"] = row.hit ? OrderedJson(row.hit_answer) : OrderedJson();
  line["normalized_prediction"] = row.normalized_prediction;
  line["prompt_tokens"] = row.prompt_tokens;
  line["image_tokens"] = row.image_tokens;
  line["output_tokens"] = row.output_tokens;
  line["finish_reason"] = row.finish_reason;
  line["ms_prefill"] = row.ms_prefill;
  line["ms_decode"] = row.ms_decode;
  line["error"] = row.error.empty() ? OrderedJson() : OrderedJson(row.error);
  return dump_line(line);
}

std::vector<RowCount> plan_of(const Json& header) {
  std::vector<RowCount> plan;
  const auto found = header.find("plan");
  if (found == header.end()) return plan;
  for (const Json& part : *found) {
    plan.push_back({part.at("type").get<std::string>(), part.at("dataset").get<std::string>(),
                    part.at("rows").get<int64_t>()});
  }
  return plan;
}

std::vector<HeaderDifference> header_differences(const Json& expected, const Json& found) {
  std::vector<HeaderDifference> differences;
  add_differences(expected, found, "", differences);
  return differences;
}

ResultsWriter::ResultsWriter(const fs::path& path, const Json& header) : path_(path) {
  const std::string first_line = header_line(header);
  check_header(parse_json(first_line, "results header"), "results header");
  create_folder_of(path);
  file_ = ::open(path.c_str(), O_RDWR | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
  if (file_ < 0) system_error(path, "cannot be opened for writing");
  try {
    open_or_begin(first_line);
  } catch (...) {
    ::close(file_);
    throw;
  }
}

void ResultsWriter::open_or_begin(const std::string& first_line) {
  struct stat status {};
  if (::fstat(file_, &status) != 0) system_error(path_, "cannot be examined");
  if (!S_ISREG(status.st_mode)) {
    throw Error(ErrorCode::io, fmt::format("{}: results need a regular file", path_.string()));
  }
  if (::flock(file_, LOCK_EX | LOCK_NB) != 0) {
    system_error(path_, "cannot be locked; is another run writing it?");
  }
  const std::string text = io::read_file(path_, kMaxFileBytes);
  // Killed while it wrote its very first line: nothing to keep, unless this is a stranger's file.
  if (text.find('\n') == std::string::npos && may_begin_header(text)) {
    cut(0);
    write_line(first_line);
    return;
  }
  ResultsFile found = parse_results(text, path_.string());
  const auto differences = header_differences(parse_json(first_line, "results header"),
                                              parse_json(found.header, path_.string()));
  if (!differences.empty()) {
    std::string message =
        fmt::format("{}: written by a run with other settings, which this one cannot continue:",
                    path_.string());
    for (const HeaderDifference& d : differences) {
      message += fmt::format("\n  {}: expected {}, found {}", d.key, d.expected, d.found);
    }
    throw Error(ErrorCode::bad_input, message + "\nchoose another file");
  }
  cut(found.intact_bytes);
  finished_ = std::move(found.rows);
}

ResultsWriter::~ResultsWriter() { ::close(file_); }

void ResultsWriter::append(const ResultRow& row) { write_line(row_line(row)); }

void ResultsWriter::cut(int64_t size) {
  if (::ftruncate(file_, size) != 0) system_error(path_, "cannot be cut to its last full line");
  size_ = size;
}

void ResultsWriter::write_line(const std::string& line) {
  for (size_t written = 0; written < line.size();) {
    const ssize_t count = ::write(file_, line.data() + written, line.size() - written);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) {
      const int error = count < 0 ? errno : ENOSPC;
      // Where even this fails the torn line is left to whoever reads the file next.
      static_cast<void>(::ftruncate(file_, size_) == 0);
      errno = error;
      system_error(path_, "a row could not be written");
    }
    written += static_cast<size_t>(count);
  }
  size_ += static_cast<int64_t>(line.size());
}

}  // namespace squint::eval
