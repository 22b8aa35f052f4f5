#include "eval/report.h"

#include <utility>

#include "base/check.h"
#include "eval/ocrbench.h"
#include "eval/results.h"
#include "io/atomic_file.h"

namespace squint {
namespace {

eval::Summary summary_of(const std::filesystem::path& path) {
  return eval::summarize(eval::read_results(path), path.string());
}

}  // namespace

std::optional<double> eval::size_ratio(const ReportData& data) {
  if (!data.b || !data.a.model_bytes || !data.b->model_bytes || *data.b->model_bytes == 0) {
    return std::nullopt;
  }
  return static_cast<double>(*data.a.model_bytes) / static_cast<double>(*data.b->model_bytes);
}

EvaluationReport::EvaluationReport(std::shared_ptr<const eval::ReportData> data)
    : data_(std::move(data)) {
  SQUINT_CHECK(data_ != nullptr && data_->b.has_value() == data_->comparison.has_value());
}

std::string EvaluationReport::to_json() const { return eval::report_json(*data_); }

std::string EvaluationReport::to_text(const ReportStyle& style) const {
  return eval::report_text(*data_, style);
}

std::string EvaluationReport::to_html(const std::filesystem::path& data) const {
  return eval::report_html(*data_,
                           data.empty() ? std::vector<eval::Sample>() : eval::load_ocrbench(data));
}

std::string EvaluationReport::to_markdown() const { return eval::report_markdown(*data_); }

std::string EvaluationReport::to_csv() const { return eval::report_csv(*data_); }

std::string EvaluationReport::changes_jsonl() const { return eval::changes_jsonl(*data_); }

bool EvaluationReport::is_comparison() const { return data_->comparison.has_value(); }

bool EvaluationReport::passed() const {
  return !data_->comparison || data_->comparison->non_inferior;
}

void write_report(const std::filesystem::path& file, std::string_view text) {
  io::write_file_atomically(file, text);
}

EvaluationReport report_results(const std::filesystem::path& results) {
  auto data = std::make_shared<eval::ReportData>();
  data->a = summary_of(results);
  return EvaluationReport(std::move(data));
}

EvaluationReport compare_results(const std::filesystem::path& reference,
                                 const std::filesystem::path& candidate,
                                 const ReportOptions& options) {
  auto data = std::make_shared<eval::ReportData>();
  data->a = summary_of(reference);
  data->b = summary_of(candidate);
  data->comparison = eval::compare(data->a, *data->b, options);
  return EvaluationReport(std::move(data));
}

}  // namespace squint
