#include "eval/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>
#include <utility>

#include "eval/ocrbench.h"
#include "eval/utf8.h"
#include "squint/error.h"

namespace squint::eval {
namespace {

std::optional<double> quotient(double a, double b) {
  return b > 0 ? std::optional<double>(a / b) : std::nullopt;
}

Tally& tally_named(std::vector<Tally>& tallies, std::string_view name) {
  const auto found = std::ranges::find(tallies, name, &Tally::name);
  if (found != tallies.end()) return *found;
  Tally tally;
  tally.name = name;
  return tallies.emplace_back(std::move(tally));
}

void add_row(const ResultRow& row, Tally& tally) {
  ++tally.done;
  tally.hits += row.hit ? 1 : 0;
  tally.errors += row.finish_reason == "error" ? 1 : 0;
  tally.truncated += row.finish_reason == "length" ? 1 : 0;
  tally.output_tokens += row.output_tokens;
}

void read_header(Summary& summary) {
  const Json header = parse_json(summary.file.header, summary.path);
  summary.model_name = header.value("model_name", Json()).is_string()
                           ? header["model_name"].get<std::string>()
                           : std::string();
  if (header.contains("model_bytes")) summary.model_bytes = header["model_bytes"].get<int64_t>();
  const Json settings = header.value("settings", Json::object());
  if (!settings.contains("rule")) return;
  const std::string rule = string_member(settings, "rule", summary.path);
  const std::optional<ScoringRule> known = scoring_rule_named(rule);
  if (!known) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: settings.rule: expected official or lmms, found \"{}\"",
                            summary.path, one_line(rule)));
  }
  summary.rule = *known;
}

// What the run set out to do; for a header without a plan, what it did.
std::vector<RowCount> planned_rows(const Summary& summary) {
  std::map<std::pair<std::string, std::string>, int64_t> done;
  std::vector<RowCount> found;
  for (const ResultRow& row : summary.file.rows) {
    if (++done[{row.type, row.dataset}] == 1) found.push_back({row.type, row.dataset, 0});
  }
  for (RowCount& count : found) count.rows = done[{count.type, count.dataset}];
  const Json header = parse_json(summary.file.header, summary.path);
  if (!header.contains("plan")) return found;
  std::vector<RowCount> plan = plan_of(header);
  for (const RowCount& count : found) {
    const auto part = std::ranges::find_if(plan, [&](const RowCount& p) {
      return p.type == count.type && p.dataset == count.dataset;
    });
    if (part == plan.end() || part->rows < count.rows) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: {} rows of type \"{}\", data set \"{}\", where the plan has {}",
                              summary.path, count.rows, one_line(count.type),
                              one_line(count.dataset), part == plan.end() ? 0 : part->rows));
    }
  }
  return plan;
}

void tally_rows(Summary& summary) {
  const std::vector<RowCount> plan = planned_rows(summary);
  summary.complete = is_complete(plan);
  summary.total.name = "Total";
  for (const std::string_view group : groups()) tally_named(summary.groups, group);
  for (const QuestionType& type : question_types()) tally_named(summary.types, type.name);
  for (const RowCount& part : plan) {
    summary.total.max += part.rows;
    tally_named(summary.groups, group_of(part.type)).max += part.rows;
    tally_named(summary.types, part.type).max += part.rows;
    tally_named(summary.datasets, part.dataset).max += part.rows;
  }
  for (const ResultRow& row : summary.file.rows) {
    add_row(row, summary.total);
    add_row(row, tally_named(summary.groups, group_of(row.type)));
    add_row(row, tally_named(summary.types, row.type));
    add_row(row, tally_named(summary.datasets, row.dataset));
  }
  std::erase_if(summary.types, [](const Tally& type) { return type.max == 0; });
}

void judge_rows(Summary& summary) {
  for (size_t i = 0; i < summary.file.rows.size(); ++i) {
    const ResultRow& row = summary.file.rows[i];
    summary.prefill_s += row.ms_prefill / 1000;
    summary.decode_s += row.ms_decode / 1000;
    const ScoreInput input = {.formula = is_formula(row.dataset, row.type),
                              .answers = row.answers,
                              .prediction = row.prediction_scored};
    const bool failed = row.finish_reason == "error";
    summary.official_hits += !failed && score(input, ScoringRule::official).hit ? 1 : 0;
    summary.lmms_hits += !failed && score(input, ScoringRule::lmms).hit ? 1 : 0;
    summary.empty += !failed && strip(row.prediction_scored).empty() ? 1 : 0;
    summary.later_answer_hits += row.hit_answer > 0 ? 1 : 0;
    if (row.hit) continue;
    const FailureClass reason = classify_failure({input, row.finish_reason}, summary.rule);
    summary.near_misses += reason == FailureClass::near ? 1 : 0;
    summary.failures.push_back({i, reason});
  }
  std::map<std::string_view, size_t> place;
  for (size_t i = 0; i < summary.types.size(); ++i) place[summary.types[i].name] = i;
  std::ranges::stable_sort(summary.failures, {}, [&](const Failure& failure) {
    return place[summary.file.rows[failure.row].type];
  });
}

// The gates of §1.7, scaled to the number of rows.
void add_warnings(Summary& summary) {
  const Tally& total = summary.total;
  auto& warnings = summary.warnings;
  if (total.missing() > 0) {
    warnings.push_back(fmt::format("{} of {} rows are missing: the run is not finished",
                                   total.missing(), total.max));
  }
  if (total.errors > 0) {
    warnings.push_back(
        fmt::format("{} of {} rows failed and count as missed", total.errors, total.done));
  }
  if (total.done > 0 && 10 * total.hits < total.done) {
    warnings.push_back("less than a tenth of the rows hit: is the pipeline broken?");
  }
  for (const Tally& type : summary.types) {
    if (type.done > 0 && type.hits == 0) {
      warnings.push_back(fmt::format("not one hit in {}", one_line(type.name)));
    }
  }
  const int64_t again =
      summary.rule == ScoringRule::official ? summary.official_hits : summary.lmms_hits;
  if (again != total.hits) {
    warnings.push_back(fmt::format("the file claims {} hits, its outputs score {}: was it edited?",
                                   total.hits, again));
  }
}

}  // namespace

std::optional<double> Tally::share() const {
  return quotient(static_cast<double>(hits), static_cast<double>(max));
}

std::optional<double> Tally::mean_output_tokens() const {
  return quotient(static_cast<double>(output_tokens), static_cast<double>(done));
}

std::optional<double> Summary::tokens_per_s() const {
  return quotient(static_cast<double>(total.output_tokens), decode_s);
}

std::optional<double> Summary::images_per_s() const {
  return quotient(static_cast<double>(total.done), total_s());
}

Summary summarize(ResultsFile file, std::string path) {
  Summary summary;
  summary.path = std::move(path);
  summary.file = std::move(file);
  read_header(summary);
  tally_rows(summary);
  judge_rows(summary);
  add_warnings(summary);
  return summary;
}

}  // namespace squint::eval
