// report_rows.h: the rows that a report shows one by one, whatever its form.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>
#include <vector>

#include "eval/report.h"

namespace squint::eval {

enum class RowKind : uint8_t {
  lost,    // the reference hit it
  gained,  // the reference missed it
  missed,  // by both, or by the only run
};
std::string_view to_string(RowKind kind);

struct ReportRow {
  RowKind kind = RowKind::missed;
  const ResultRow* row = nullptr;        // of the run, or of the candidate
  const ResultRow* reference = nullptr;  // the reference's, in a comparison
  std::optional<FailureClass> reason;    // of a miss
};

// Lost, gained, then missed ones, each by ascending index. The data must outlive them.
std::vector<ReportRow> rows_to_show(const ReportData& data);

}  // namespace squint::eval
