#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "eval/ocrbench.h"
#include "eval/report.h"
#include "eval/report_words.h"
#include "eval/table.h"
#include "eval/utf8.h"

namespace squint::eval {
namespace {

constexpr int kLabelWidth = 12;  // of "  expected  "
constexpr int kLeastWidth = 72;  // what the widest table needs

Paint change_paint(int64_t difference) {
  return difference < 0 ? Paint::red : difference > 0 ? Paint::green : Paint::plain;
}

class TextReport {
 public:
  TextReport(const ReportData& data, const ReportStyle& style)
      : data_(data),
        width_(std::max(style.width, kLeastWidth)),
        color_(style.color),
        max_rows_(static_cast<size_t>(std::max<int64_t>(0, style.max_rows))) {}

  std::string render() {
    data_.comparison ? comparison() : single();
    return std::move(out_);
  }

 private:
  void line(std::string_view text, Paint paint = Paint::plain) {
    out_ += painted(clip(text, width_), paint, color_) + "\n";
  }
  void heading(std::string_view text) {
    out_ += "\n";
    line(text, Paint::bold);
  }
  void warning(std::string_view text) {
    out_ += painted("warning:", Paint::yellow, color_) + " " + wrapped(text, width_, 9);
  }
  // "name   text", clipped; names in one list have one width.
  void field(std::string_view name, std::string_view text) {
    out_ += label(name) + clip(one_line(text), width_ - kLabelWidth) + "\n";
  }
  std::string label(std::string_view name) {
    return painted(fmt::format("  {:<{}}", name, kLabelWidth - 2), Paint::dim, color_);
  }
  void table(const Table& table) {
    if (!table.empty()) out_ += "\n" + table.render(width_, color_);
  }

  void single();
  void scores(const std::vector<Tally>& tallies, const Tally* total);
  void details(const char* title, const std::vector<Tally>& tallies);
  void throughput(const Summary& run);
  void quality(const Summary& run);
  void warnings(const Summary& run, std::string_view prefix);
  void failures(const Summary& run);

  void comparison();
  void runs();
  void verdict();
  void pair_groups();
  void pair_types();
  void agreement();
  void changes(const char* title, const std::vector<Change>& changes);

  const ReportData& data_;
  int width_;
  bool color_;
  size_t max_rows_;
  std::string out_;
};

void TextReport::single() {
  const Summary& run = data_.a;
  line("OCRBench report", Paint::bold);
  if (!run.model_name.empty()) field("model", run.model_name);
  if (run.model_bytes) field("size", bytes_text(*run.model_bytes));
  field("results", run.path);
  std::string settings;
  for (const std::string& setting : settings_of(run)) {
    settings += (settings.empty() ? "" : ", ") + setting;
  }
  if (!settings.empty()) {
    out_ += label("settings") + wrapped(one_line(settings), width_, kLabelWidth);
  }
  out_ += "\n";
  const std::string score = fmt::format("{} of {} ({} %)", run.total.hits, run.total.max,
                                        percent_text(run.total.share()));
  out_ += painted(score, Paint::bold, color_) +
          fmt::format(", 95 % interval {} %\n", interval_text(run.total.interval()));
  if (run.official_hits != run.lmms_hits) {
    line(fmt::format("by the official rule {}, by the lmms rule {}", run.official_hits,
                     run.lmms_hits));
  }
  if (!run.complete) {
    line("Not the 1000 rows of OCRBench v1: do not compare with published scores.", Paint::dim);
  }
  warnings(run, "");
  scores(run.groups, &run.total);
  details("Type", run.types);
  details("Source data set", run.datasets);
  throughput(run);
  quality(run);
  failures(run);
}

void TextReport::scores(const std::vector<Tally>& tallies, const Tally* total) {
  Table rows({"Group", "score", "max", "%", "95 % interval"});
  const auto add = [&](const Tally& tally, Paint paint) {
    rows.add({{one_line(tally.name), paint},
              {std::to_string(tally.hits), paint},
              {std::to_string(tally.max), paint},
              {percent_text(tally.share()), paint},
              {tally.max == 0 ? "-" : interval_text(tally.interval()), paint}});
  };
  for (const Tally& tally : tallies) {
    if (tally.max > 0) add(tally, Paint::plain);
  }
  add(*total, Paint::bold);
  table(rows);
}

void TextReport::details(const char* title, const std::vector<Tally>& tallies) {
  Table rows({title, "hits", "of", "%", "tokens", "cut", "failed"});
  for (const Tally& tally : tallies) {
    rows.add({{one_line(tally.name)},
              {std::to_string(tally.hits)},
              {std::to_string(tally.max)},
              {percent_text(tally.share())},
              {number_text(tally.mean_output_tokens())},
              {std::to_string(tally.truncated)},
              {std::to_string(tally.errors), tally.errors > 0 ? Paint::red : Paint::plain}});
  }
  table(rows);
}

void TextReport::throughput(const Summary& run) {
  if (run.total_s() <= 0) return;
  heading("Throughput");
  line(fmt::format("  {} tokens/s decoding, {:.2f} images/s, {:.1f} s in all",
                   number_text(run.tokens_per_s()), run.images_per_s().value_or(0), run.total_s()));
}

void TextReport::quality(const Summary& run) {
  heading("Data quality");
  line(fmt::format("  {} empty, {} cut by the token limit, {} failed, {} missing", run.empty,
                   run.total.truncated, run.total.errors, run.total.missing()));
  line(fmt::format("  near misses: {}, hits by a later answer: {}", run.near_misses,
                   run.later_answer_hits));
}

void TextReport::warnings(const Summary& run, std::string_view prefix) {
  for (const std::string& text : run.warnings) warning(fmt::format("{}{}", prefix, text));
}

void TextReport::failures(const Summary& run) {
  if (run.failures.empty()) return;
  std::map<FailureClass, int64_t> classes;
  for (const Failure& failure : run.failures) ++classes[failure.reason];
  std::string counts;
  for (const auto& [reason, count] : classes) {
    counts += fmt::format("{}{} {}", counts.empty() ? "" : ", ", count, to_string(reason));
  }
  heading(fmt::format("Missed: {} ({})", run.failures.size(), counts));
  const size_t shown = std::min(max_rows_, run.failures.size());
  for (size_t i = 0; i < shown; ++i) {
    const Failure& failure = run.failures[i];
    const ResultRow& row = run.file.rows[failure.row];
    line(fmt::format("row {}, {}: {}", row.index, to_string(failure.reason), one_line(row.type)));
    field("question", row.question);
    field("expected", joined(row.answers));
    if (row.finish_reason == "error") {
      field("error", row.error);
    } else {
      field("found", row.prediction_scored);
    }
  }
  if (shown < run.failures.size()) {
    line(fmt::format("... and {} more", run.failures.size() - shown), Paint::dim);
  }
}

void TextReport::comparison() {
  line("OCRBench comparison", Paint::bold);
  runs();
  verdict();
  warnings(data_.a, "A: ");
  warnings(*data_.b, "B: ");
  pair_groups();
  pair_types();
  agreement();
  changes("Regressions", data_.comparison->regressions);
  changes("Gains", data_.comparison->gains);
}

void TextReport::runs() {
  const auto run = [&](std::string_view name, const Summary& summary) {
    std::string text = summary.model_name;
    if (summary.model_bytes) {
      text += (text.empty() ? "" : ", ") + bytes_text(*summary.model_bytes);
    }
    field(name, text.empty() ? summary.path : text);
    if (!text.empty()) field("", summary.path);
  };
  run("A", data_.a);
  run("B", *data_.b);
  if (const auto ratio = size_ratio(data_)) field("size", fmt::format("A / B = {:.2f}", *ratio));
  const Comparison& c = *data_.comparison;
  for (const HeaderDifference& d : c.setting_differences) {
    warning(fmt::format("{} differs: {} against {}", one_line(d.key), d.expected, d.found));
  }
  if (!c.only_a.empty() || !c.only_b.empty()) {
    line(fmt::format("Left out: rows that only A has ({}), rows that only B has ({}).",
                     c.only_a.size(), c.only_b.size()));
  }
}

void TextReport::verdict() {
  const Comparison& c = *data_.comparison;
  const PairTally& total = c.total;
  static const std::map<Verdict, Paint> kPaints = {{Verdict::regression, Paint::red},
                                                   {Verdict::within_noise, Paint::yellow},
                                                   {Verdict::improvement, Paint::green}};
  out_ += "\n" + painted(to_string(c.verdict), kPaints.at(c.verdict), color_) +
          fmt::format(": B - A = {} of {} rows ({} %)\n", signed_text(total.c - total.b), total.n,
                      signed_percent(total.difference()));
  out_ += painted(c.non_inferior ? "passed" : "not passed",
                  c.non_inferior ? Paint::green : Paint::red, color_) +
          fmt::format(": B may lose {:g} points of 1000{}\n", c.options.margin,
                      data_.b->total.missing() > 0 ? ", and is not finished" : "");
  line(fmt::format("bootstrap: 95 % interval {} % ({} resamples, seed {})",
                   signed_interval(total.interval), c.options.resamples, c.options.seed));
  line(fmt::format("McNemar: {} lost, {} gained, exact p = {}{}", total.b, total.c, p_text(total.p),
                   c.chi2 ? fmt::format(", chi2 = {:.4f}", *c.chi2) : ""));
}

void TextReport::pair_groups() {
  Table rows({"Group", "n", "A", "B", "B - A", "lost", "gained", "95 % interval"});
  const auto add = [&](const PairTally& t, Paint paint) {
    const int64_t gap = t.c - t.b;
    rows.add({{one_line(t.name), paint},
              {std::to_string(t.n), paint},
              {std::to_string(t.a_hits), paint},
              {std::to_string(t.b_hits), paint},
              {signed_text(gap), gap == 0 ? paint : change_paint(gap)},
              {std::to_string(t.b), paint},
              {std::to_string(t.c), paint},
              {signed_interval(t.interval), paint}});
  };
  for (const PairTally& group : data_.comparison->groups) add(group, Paint::plain);
  add(data_.comparison->total, Paint::bold);
  table(rows);
}

void TextReport::pair_types() {
  Table rows({"Type", "A", "B", "B - A", "lost", "gained", "p", "p (Holm)"});
  for (const PairTally& t : data_.comparison->types) {
    const int64_t gap = t.c - t.b;
    rows.add({{one_line(t.name)},
              {std::to_string(t.a_hits)},
              {std::to_string(t.b_hits)},
              {signed_text(gap), change_paint(gap)},
              {std::to_string(t.b)},
              {std::to_string(t.c)},
              {p_text(t.p)},
              {p_text(t.p_holm)}});
  }
  table(rows);
}

void TextReport::agreement() {
  const Comparison& c = *data_.comparison;
  const auto n = static_cast<double>(c.total.n);
  heading("Agreement");
  line(fmt::format("  {:.1f} % same verdict, {:.1f} % same text, mean edit distance {:.4f}",
                   100 * static_cast<double>(c.identical_verdicts) / n,
                   100 * static_cast<double>(c.identical_texts) / n, c.mean_edit_distance));
}

void TextReport::changes(const char* title, const std::vector<Change>& changes) {
  if (changes.empty()) return;
  heading(fmt::format("{}: {}", title, changes.size()));
  const size_t shown = std::min(max_rows_, changes.size());
  for (size_t i = 0; i < shown; ++i) {
    const ResultRow& a = data_.a.file.rows[changes[i].a];
    const ResultRow& b = data_.b->file.rows[changes[i].b];
    const auto at = changes[i].first_difference;
    line(fmt::format("row {}{}: {}", a.index, at ? fmt::format(", from character {}", *at) : "",
                     one_line(a.type)));
    field("question", a.question);
    field("expected", joined(a.answers));
    field("A", output_of(a));
    field("B", output_of(b));
  }
  if (shown < changes.size()) {
    line(fmt::format("... and {} more", changes.size() - shown), Paint::dim);
  }
}

}  // namespace

std::string report_text(const ReportData& data, const ReportStyle& style) {
  return TextReport(data, style).render();
}

}  // namespace squint::eval
