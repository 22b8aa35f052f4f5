// results.h: results.jsonl, what a run leaves behind (spec ocrbench-data-hubs.md §2.1).
//
// Line 1 is the header, every further line one finished row, in order of completion:
//
//     {"kind":"run","format":1,"settings":{...},"about":{...},...}
//     {"index":7,"dataset":"IIIT5K","type":"Regular Text Recognition",...,"error":null}
//
// In the header, "settings" is how questions are asked and scored (prompt, sampler, pixel limits,
// rule); "about" is when and where, and never compared; every other key says what answered
// ("model_name", "model_bytes", "precision", ...) or what was asked ("plan"). To continue a file
// all but "about" must be equal; to compare two files, "settings" must be.
//
// Lines are appended in one write each. A process that dies leaves at most a torn last line, which
// readers leave out and writers cut off.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "eval/ocrbench.h"

namespace squint::eval {

struct ResultRow {
  int64_t index = 0;
  std::string dataset, type, question;
  std::vector<std::string> answers;
  std::string image_key;  // optional in the file; empty: shares its image with no other row
  std::string prediction_raw;
  std::string prediction_scored;  // without reasoning
  bool hit = false;               // 0 or 1 in the file
  int64_t hit_answer = -1;        // null in the file for a miss
  std::string normalized_prediction;
  int64_t prompt_tokens = 0, image_tokens = 0, output_tokens = 0;
  std::string finish_reason;  // stop, length or error
  double ms_prefill = 0, ms_decode = 0;
  std::string error;  // empty (null in the file) unless finish_reason is error
};

struct ResultsFile {
  std::string header;           // the JSON object of line 1
  std::vector<ResultRow> rows;  // ascending index
  bool torn = false;            // the last line was cut short and is left out
  int64_t intact_bytes = 0;     // up to the last full line
};

// Throws Error(bad_input) naming `where` and the line for anything that is not such a file, an
// index that occurs twice included.
ResultsFile parse_results(std::string_view text, std::string_view where);
// The same from disk; Error(io) where the file cannot be read.
ResultsFile read_results(const std::filesystem::path& path);

// One line each, newline included. Bytes that are not UTF-8 become U+FFFD.
std::string header_line(const Json& header);
std::string row_line(const ResultRow& row);

// The header's "plan", the rows that the run set out to ask; empty where it has none. parse_results
// has checked it.
std::vector<RowCount> plan_of(const Json& header);

// A key of two headers that is not equal, "settings.rule" with the JSON of both values, shortened;
// or "nothing" where it is absent. "about" is left out.
struct HeaderDifference {
  std::string key, expected, found;
};
std::vector<HeaderDifference> header_differences(const Json& expected, const Json& found);

// Appends rows to a results file that nobody else may write meanwhile.
class ResultsWriter {
 public:
  // Creates `path` and its folder, or opens it to be continued: then its header must equal
  // `header`, "about" aside. Error(bad_input): the file is something else or was made with other
  // settings (all differences are listed). Error(io): it cannot be opened, or another process is
  // writing it.
  ResultsWriter(const std::filesystem::path& path, const Json& header);
  ~ResultsWriter();
  ResultsWriter(const ResultsWriter&) = delete;
  ResultsWriter& operator=(const ResultsWriter&) = delete;

  // Rows that the file had when it was opened, ascending index.
  const std::vector<ResultRow>& finished() const { return finished_; }
  // Error(io) where the line could not be written whole; the file then ends before it.
  void append(const ResultRow& row);

 private:
  void open_or_begin(const std::string& first_line);
  void cut(int64_t size);
  void write_line(const std::string& line);

  std::filesystem::path path_;
  int file_ = -1;
  int64_t size_ = 0;
  std::vector<ResultRow> finished_;
};

}  // namespace squint::eval
