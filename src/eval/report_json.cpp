#include <map>
#include <nlohmann/json.hpp>

#include "eval/ocrbench.h"
#include "eval/report.h"

namespace squint::eval {
namespace {

constexpr int64_t kFormat = 1;

OrderedJson or_null(const std::optional<double>& value, double scale = 1) {
  return value ? OrderedJson(*value * scale) : OrderedJson();
}

std::string dump(const OrderedJson& value, int indent) {
  return value.dump(indent, ' ', false, OrderedJson::error_handler_t::replace);
}

void add_tally(const Tally& tally, OrderedJson& out) {
  const Interval wilson = tally.interval();
  out["score"] = tally.hits;
  out["max"] = tally.max;
  out["percent"] = or_null(tally.share(), 100);
  out["wilson"] = {wilson.low, wilson.high};
  out["rows"] = tally.done;
  out["missing"] = tally.missing();
  out["errors"] = tally.errors;
  out["truncated"] = tally.truncated;
  out["mean_output_tokens"] = or_null(tally.mean_output_tokens());
}

OrderedJson tallies_json(const std::vector<Tally>& tallies, bool with_group) {
  OrderedJson out = OrderedJson::array();
  for (const Tally& tally : tallies) {
    OrderedJson entry = {{"name", tally.name}};
    if (with_group) entry["group"] = group_of(tally.name);
    add_tally(tally, entry);
    out.push_back(std::move(entry));
  }
  return out;
}

OrderedJson throughput_json(const Summary& run) {
  return {{"total_s", run.total_s()},
          {"prefill_s", run.prefill_s},
          {"decode_s", run.decode_s},
          {"output_tokens", run.total.output_tokens},
          {"tokens_per_s", or_null(run.tokens_per_s())},
          {"images_per_s", or_null(run.images_per_s())}};
}

OrderedJson quality_json(const Summary& run) {
  OrderedJson classes = OrderedJson::object();
  for (int i = 0; i <= static_cast<int>(FailureClass::wrong); ++i) {
    classes[std::string(to_string(static_cast<FailureClass>(i)))] = 0;
  }
  for (const Failure& failure : run.failures) {
    OrderedJson& count = classes[std::string(to_string(failure.reason))];
    count = count.get<int64_t>() + 1;
  }
  return {{"empty", run.empty},
          {"later_answer_hits", run.later_answer_hits},
          {"near_misses", run.near_misses},
          {"failures", std::move(classes)}};
}

OrderedJson question_json(const ResultRow& row) {
  return {{"index", row.index},
          {"type", row.type},
          {"question", row.question},
          {"answers", row.answers}};
}

OrderedJson failures_json(const Summary& run) {
  OrderedJson out = OrderedJson::array();
  for (const Failure& failure : run.failures) {
    const ResultRow& row = run.file.rows[failure.row];
    OrderedJson entry = question_json(row);
    entry["prediction"] = row.prediction_scored;
    entry["finish_reason"] = row.finish_reason;
    entry["error"] = row.error.empty() ? OrderedJson() : OrderedJson(row.error);
    entry["class"] = to_string(failure.reason);
    out.push_back(std::move(entry));
  }
  return out;
}

OrderedJson run_json(const Summary& run) {
  OrderedJson out;
  out["path"] = run.path;
  out["header"] = parse_ordered_json(run.file.header, run.path);
  out["model_name"] = run.model_name;
  out["model_bytes"] = run.model_bytes ? OrderedJson(*run.model_bytes) : OrderedJson();
  out["rule"] = to_string(run.rule);
  out["complete"] = run.complete;
  add_tally(run.total, out);
  out["final_score"] = run.total.hits;
  out["final_score_norm_vlmevalkit"] = or_null(run.total.share(), 100);
  out["final_score_norm_lmms_eval"] = or_null(run.total.share());
  out["rules"] = {{"official", run.official_hits}, {"lmms", run.lmms_hits}};
  out["groups"] = tallies_json(run.groups, false);
  out["types"] = tallies_json(run.types, true);
  out["datasets"] = tallies_json(run.datasets, false);
  out["throughput"] = throughput_json(run);
  out["quality"] = quality_json(run);
  out["warnings"] = run.warnings;
  out["failures"] = failures_json(run);
  return out;
}

OrderedJson pair_json(const PairTally& tally) {
  return {{"name", tally.name}, {"n", tally.n}, {"a_hits", tally.a_hits}, {"b_hits", tally.b_hits},
          {"b", tally.b},       {"c", tally.c}, {"d", tally.difference()}};
}

OrderedJson change_json(const ReportData& data, const Change& change) {
  const ResultRow& a = data.a.file.rows[change.a];
  OrderedJson out = question_json(a);
  out["prediction_a"] = a.prediction_scored;
  out["prediction_b"] = data.b->file.rows[change.b].prediction_scored;
  out["first_difference"] =
      change.first_difference ? OrderedJson(*change.first_difference) : OrderedJson();
  return out;
}

OrderedJson changes_json(const ReportData& data, const std::vector<Change>& changes) {
  OrderedJson out = OrderedJson::array();
  for (const Change& change : changes) out.push_back(change_json(data, change));
  return out;
}

OrderedJson groups_json(const Comparison& comparison) {
  OrderedJson out = OrderedJson::array();
  for (const PairTally& group : comparison.groups) {
    OrderedJson entry = pair_json(group);
    entry["low"] = group.interval.low;
    entry["high"] = group.interval.high;
    out.push_back(std::move(entry));
  }
  return out;
}

OrderedJson types_json(const Comparison& comparison) {
  OrderedJson out = OrderedJson::array();
  for (const PairTally& type : comparison.types) {
    OrderedJson entry = pair_json(type);
    entry["group"] = group_of(type.name);
    entry["p"] = type.p;
    entry["p_holm"] = type.p_holm;
    out.push_back(std::move(entry));
  }
  return out;
}

OrderedJson agreement_json(const Comparison& comparison) {
  const auto n = static_cast<double>(comparison.total.n);
  return {{"identical_verdicts", static_cast<double>(comparison.identical_verdicts) / n},
          {"identical_text", static_cast<double>(comparison.identical_texts) / n},
          {"mean_edit_distance", comparison.mean_edit_distance}};
}

OrderedJson comparison_json(const ReportData& data) {
  const Comparison& comparison = *data.comparison;
  const PairTally& total = comparison.total;
  OrderedJson out = {{"n", total.n}, {"b", total.b}, {"c", total.c}, {"d", total.difference()}};
  out["mcnemar_exact_p"] = total.p;
  out["mcnemar_chi2"] = or_null(comparison.chi2);
  out["bootstrap"] = {{"low", total.interval.low},
                      {"high", total.interval.high},
                      {"resamples", comparison.options.resamples},
                      {"seed", comparison.options.seed},
                      {"confidence", 0.95}};
  out["verdict"] = to_string(comparison.verdict);
  out["margin_points"] = comparison.options.margin;
  out["non_inferior"] = comparison.non_inferior;
  out["size_ratio"] = or_null(size_ratio(data));
  out["groups"] = groups_json(comparison);
  out["types"] = types_json(comparison);
  out["agreement"] = agreement_json(comparison);
  out["only_in_a"] = comparison.only_a;
  out["only_in_b"] = comparison.only_b;
  out["setting_differences"] = OrderedJson::array();
  for (const HeaderDifference& d : comparison.setting_differences) {
    out["setting_differences"].push_back({{"key", d.key}, {"a", d.expected}, {"b", d.found}});
  }
  out["regressions"] = changes_json(data, comparison.regressions);
  out["gains"] = changes_json(data, comparison.gains);
  return out;
}

void append_changes(const ReportData& data, const char* kind, const std::vector<Change>& changes,
                    std::string& out) {
  for (const Change& change : changes) {
    OrderedJson line = {{"kind", kind}};
    line.update(change_json(data, change));
    out += dump(line, -1) + "\n";
  }
}

}  // namespace

std::string report_json(const ReportData& data) {
  OrderedJson out = {{"kind", data.comparison ? "comparison" : "report"}, {"format", kFormat}};
  if (data.comparison) {
    out["a"] = run_json(data.a);
    out["b"] = run_json(*data.b);
    out["comparison"] = comparison_json(data);
  } else {
    out["run"] = run_json(data.a);
  }
  return dump(out, 2) + "\n";
}

std::string changes_jsonl(const ReportData& data) {
  std::string out;
  if (!data.comparison) return out;
  append_changes(data, "regression", data.comparison->regressions, out);
  append_changes(data, "gain", data.comparison->gains, out);
  return out;
}

}  // namespace squint::eval
