#include "eval/report_rows.h"

#include <algorithm>
#include <map>

namespace squint::eval {
namespace {

std::vector<ReportRow> missed_rows(const Summary& run) {
  std::vector<ReportRow> out;
  for (const Failure& failure : run.failures) {
    out.push_back({.row = &run.file.rows[failure.row], .reason = failure.reason});
  }
  std::ranges::sort(out, {}, [](const ReportRow& r) { return r.row->index; });
  return out;
}

}  // namespace

std::string_view to_string(RowKind kind) {
  return kind == RowKind::lost ? "lost" : kind == RowKind::gained ? "gained" : "missed";
}

std::vector<ReportRow> rows_to_show(const ReportData& data) {
  if (!data.comparison) return missed_rows(data.a);
  std::map<int64_t, ReportRow> missed;
  for (const ReportRow& row : missed_rows(*data.b)) missed[row.row->index] = row;
  std::vector<ReportRow> out;
  const auto add = [&](RowKind kind, const Change& change) {
    ReportRow row{.kind = kind,
                  .row = &data.b->file.rows[change.b],
                  .reference = &data.a.file.rows[change.a],
                  .reason = {}};
    const auto known = missed.find(row.row->index);
    if (known != missed.end()) {
      row.reason = known->second.reason;
      missed.erase(known);
    }
    out.push_back(row);
  };
  for (const Change& change : data.comparison->regressions) add(RowKind::lost, change);
  for (const Change& change : data.comparison->gains) add(RowKind::gained, change);
  for (auto& [index, row] : missed) {
    const auto at = std::ranges::find(data.a.file.rows, index, &ResultRow::index);
    if (at == data.a.file.rows.end()) continue;
    row.reference = &*at;
    out.push_back(row);
  }
  return out;
}

}  // namespace squint::eval
