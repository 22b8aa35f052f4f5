// Any bytes as a results file: read, summarised, compared with themselves and printed.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "eval/report.h"
#include "eval/results.h"
#include "squint/error.h"

namespace {

void use(std::string_view text) {
  squint::eval::ReportData data;
  data.a = squint::eval::summarize(squint::eval::parse_results(text, "fuzz"), "fuzz");
  for (const auto& row : data.a.file.rows) squint::eval::row_line(row);
  squint::eval::report_json(data);
  squint::eval::report_text(data, {.color = true});
  data.b = data.a;
  data.comparison = squint::eval::compare(data.a, *data.b, {.resamples = 2});
  squint::eval::report_json(data);
  squint::eval::report_text(data, {});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  try {
    use({reinterpret_cast<const char*>(data), size});
  } catch (const squint::Error&) {
    // What bytes from outside may cause; anything else is a finding.
  }
  return 0;
}
