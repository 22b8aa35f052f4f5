// report_markdown.cpp: a report to keep beside a model card, and its rows as a table for
// spreadsheets.
#include <fmt/format.h>

#include <algorithm>

#include "eval/report_rows.h"
#include "eval/report_words.h"
#include "eval/utf8.h"

namespace squint::eval {
namespace {

constexpr size_t kMostRows = 40;
constexpr int kMostColumns = 120;  // of a text in a table

// In a table's cell: nothing of it is markup.
std::string cell(std::string_view text) {
  std::string out;
  for (const char c : clip(one_line(text), kMostColumns)) {
    static constexpr std::string_view kMarkup = "\\|`*_{}[]<>#$~&!";
    if (kMarkup.find(c) != kMarkup.npos) out += '\\';
    out += c;
  }
  return out;
}

std::string row(std::initializer_list<std::string> cells) {
  std::string out = "|";
  for (const std::string& text : cells) out += " " + text + " |";
  return out + "\n";
}

std::string facts(std::string_view name, const Summary& run) {
  std::string out = fmt::format("* {}: **{}**", name, cell(name_of(run)));
  if (run.model_bytes) out += ", " + bytes_text(*run.model_bytes);
  out += fmt::format(", `{}`", cell(run.path));
  if (const auto rate = run.tokens_per_s()) out += fmt::format("; {:.1f} tokens/s", *rate);
  out += fmt::format("; {} failed, {} cut, {} missing\n", run.total.errors, run.total.truncated,
                     run.total.missing());
  for (const std::string& text : run.warnings) out += "  * warning: " + cell(text) + "\n";
  return out;
}

std::string settings(const Summary& run) {
  std::string out = "\n## Settings\n\n";
  for (const std::string& setting : settings_of(run)) out += "* " + cell(setting) + "\n";
  return out;
}

std::string score_tables(const Summary& run) {
  std::string out =
      "\n## Score\n\n| Group | Score | Of | % | 95 % interval |\n|---|--:|--:|--:|---|\n";
  const auto add = [&](const Tally& t, std::string_view mark) {
    out += row({fmt::format("{0}{1}{0}", mark, cell(t.name)), std::to_string(t.hits),
                std::to_string(t.max), percent_text(t.share()),
                t.max == 0 ? "-" : interval_text(t.interval())});
  };
  for (const Tally& group : run.groups) {
    if (group.max > 0) add(group, "");
  }
  Tally total = run.total;
  total.name = "All";
  add(total, "**");
  out += "\n| Type | Score | Of | % |\n|---|--:|--:|--:|\n";
  for (const Tally& t : run.types) {
    out +=
        row({cell(t.name), std::to_string(t.hits), std::to_string(t.max), percent_text(t.share())});
  }
  return out;
}

std::string pair_tables(const Comparison& c) {
  std::string out =
      "\n## Score\n\n| Group | Rows | A | B | B - A | Lost | Gained | 95 % interval, % |\n"
      "|---|--:|--:|--:|--:|--:|--:|---|\n";
  const auto add = [&](const PairTally& t, const std::string& name) {
    out += row({name, std::to_string(t.n), std::to_string(t.a_hits), std::to_string(t.b_hits),
                signed_text(t.c - t.b), std::to_string(t.b), std::to_string(t.c),
                signed_interval(t.interval)});
  };
  for (const PairTally& group : c.groups) add(group, cell(group.name));
  add(c.total, "**All**");
  out += "\n| Type | A | B | B - A | p | p (Holm) |\n|---|--:|--:|--:|--:|--:|\n";
  for (const PairTally& t : c.types) {
    out += row({cell(t.name), std::to_string(t.a_hits), std::to_string(t.b_hits),
                signed_text(t.c - t.b), p_text(t.p), p_text(t.p_holm)});
  }
  return out;
}

std::string verdict(const Comparison& c) {
  return fmt::format(
      "\n**{}**: B - A = {} of {} rows ({} %, 95 % interval {} % by bootstrap); {} lost, {} "
      "gained, "
      "exact McNemar p = {}. {}: B may lose {:g} points of 1000.\n",
      to_string(c.verdict), signed_text(c.total.c - c.total.b), c.total.n,
      signed_percent(c.total.difference()), signed_interval(c.total.interval), c.total.b, c.total.c,
      p_text(c.total.p), c.non_inferior ? "Passed" : "Not passed", c.options.margin);
}

std::string rows_table(const ReportData& data) {
  const std::vector<ReportRow> rows = rows_to_show(data);
  if (rows.empty()) return "";
  std::string out = data.comparison
                        ? "\n## Rows that flipped or were missed\n\n| Row | | Type | Question | "
                          "Expected | A | B |\n|--:|---|---|---|---|---|---|\n"
                        : "\n## Rows that were missed\n\n| Row | Why | Type | Question | Expected "
                          "| Found |\n|--:|---|---|---|---|---|\n";
  for (const ReportRow& r : std::span(rows).first(std::min(rows.size(), kMostRows))) {
    const std::string index = std::to_string(r.row->index);
    if (r.reference != nullptr) {
      out += row({index, std::string(to_string(r.kind)), cell(r.row->type), cell(r.row->question),
                  cell(joined(r.row->answers)), cell(output_of(*r.reference)),
                  cell(output_of(*r.row))});
    } else {
      out += row({index, r.reason ? std::string(to_string(*r.reason)) : "", cell(r.row->type),
                  cell(r.row->question), cell(joined(r.row->answers)), cell(output_of(*r.row))});
    }
  }
  if (rows.size() > kMostRows) out += fmt::format("\n{} more.\n", rows.size() - kMostRows);
  return out;
}

// RFC 4180. A text that a spreadsheet would take for a formula gets a quote in front.
std::string csv_field(std::string_view text) {
  std::string out = "\"";
  if (!text.empty() && std::string_view("=+-@\t\r").find(text[0]) != std::string_view::npos)
    out += '\'';
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + "\"";
}

}  // namespace

std::string report_markdown(const ReportData& data) {
  std::string out;
  if (data.comparison) {
    out =
        fmt::format("# OCRBench: {} beside {}\n\n", cell(name_of(*data.b)), cell(name_of(data.a)));
    out += facts("A", data.a) + facts("B", *data.b);
    for (const HeaderDifference& d : data.comparison->setting_differences) {
      out += fmt::format("* settings differ in {}: {} against {}\n", cell(d.key), cell(d.expected),
                         cell(d.found));
    }
    out += verdict(*data.comparison) + pair_tables(*data.comparison);
  } else {
    out = fmt::format("# OCRBench: {}\n\n", cell(name_of(data.a))) + facts("Model", data.a);
    out += score_tables(data.a);
  }
  if (!data.a.complete) {
    out += "\nThese are not the 1000 rows of OCRBench v1: do not compare with published scores.\n";
  }
  return out + rows_table(data) + settings(data.a);
}

std::string report_csv(const ReportData& data) {
  const bool pair = data.b.has_value();
  std::string out = pair ? "index,dataset,type,question,answers,a,a_hit,b,b_hit\r\n"
                         : "index,dataset,type,question,answers,prediction,hit,finish_reason\r\n";
  for (const ResultRow& r : data.a.file.rows) {
    std::string line =
        fmt::format("{},{},{},{},{},{},{}", r.index, csv_field(r.dataset), csv_field(r.type),
                    csv_field(r.question), csv_field(joined(r.answers)), csv_field(output_of(r)),
                    r.hit ? 1 : 0);
    if (pair) {
      const auto other = std::ranges::find(data.b->file.rows, r.index, &ResultRow::index);
      if (other == data.b->file.rows.end()) continue;
      line += fmt::format(",{},{}", csv_field(output_of(*other)), other->hit ? 1 : 0);
    } else {
      line += "," + r.finish_reason;
    }
    out += line + "\r\n";
  }
  return out;
}

}  // namespace squint::eval
