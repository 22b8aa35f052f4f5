// report_html.cpp: the page of a report: one file that loads nothing. Every text that is not ours
// goes through escaped().
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "eval/report_rows.h"
#include "eval/report_words.h"
#include "io/base64.h"
#include "io/mapped_file.h"
#include "quantize/report_style.h"
#include "squint/error.h"
#include "squint/version.h"
#include "text/html.h"

namespace squint::eval {
namespace {

using quantize::table_row;
using quantize::tile;
using text::escaped;

constexpr int64_t kLargestPicture = 1 << 20;  // of a file; larger ones would bury the page
constexpr int64_t kAllPictures = 48 << 20;

constexpr std::string_view kStyle = R"(
.tools { display: flex; flex-wrap: wrap; gap: 8px 16px; margin: 12px 0 20px; align-items: center; font-size: 14.5px; }
.tools select, .tools button { font: inherit; color: inherit; background: var(--card);
  border: 1px solid var(--rule); border-radius: 8px; padding: 5px 10px; cursor: pointer; }
.tools button[aria-pressed=true] { background: var(--now); border-color: var(--now); color: var(--paper); }
.cases { display: grid; gap: 14px; grid-template-columns: repeat(auto-fill, minmax(min(100%, 330px), 1fr)); }
.case { background: var(--card); border-radius: 10px; padding: 12px 14px; font-size: 14px; break-inside: avoid; }
.case[hidden] { display: none; }
.case img { display: block; max-width: 100%; max-height: 190px; margin: 0 auto 10px; border-radius: 4px;
  background: #fff; object-fit: contain; }
.case h3 { display: flex; gap: 8px; align-items: baseline; font-size: 14px; }
.case h3 small { color: var(--soft); font-weight: 400; margin-left: auto; text-align: right; }
.tag { font-size: 12px; font-weight: 600; border-radius: 6px; padding: 1px 7px; border: 1.5px solid currentColor;
  white-space: nowrap; flex: none; }
.tag.lost { color: var(--plain); } .tag.gained { color: var(--now); } .tag.missed { color: var(--soft); }
.case dl { grid-template-columns: max-content minmax(0, 1fr); gap: 2px 12px; font-size: 13.5px; margin-top: 6px; }
.case dd { white-space: pre-wrap; margin: 0; }
.case dd.hit { color: var(--now); } .case dd.miss { color: var(--plain); }
.verdict { font-size: 19px; color: var(--ink); margin: 24px 0 4px; }
.scroll { overflow-x: auto; }
.scroll th { white-space: nowrap; }
header + p { margin-top: 18px; }
@media screen and (max-width: 760px) { .scroll :is(th, td):nth-child(2):not(:nth-last-child(4)) { display: none; } }
@media screen and (max-width: 480px) { .scroll td:last-child { white-space: normal; } }
@media print { .tools { display: none; } .case { border: 1px solid var(--rule); } .case[hidden] { display: block; } }
)";

// Without it all rows stay visible.
constexpr std::string_view kScript = R"(<script>
const type = document.querySelector('#type'), kinds = [...document.querySelectorAll('[data-kind]')];
function show() {
  const on = kinds.filter(b => b.getAttribute('aria-pressed') === 'true').map(b => b.dataset.kind);
  let count = 0;
  for (const c of document.querySelectorAll('.case')) {
    c.hidden = (type.value && c.dataset.type !== type.value) || (kinds.length && !on.includes(c.dataset.is));
    count += !c.hidden;
  }
  document.querySelector('#count').textContent = count + ' shown';
}
type.onchange = show;
for (const b of kinds) b.onclick = () => { b.setAttribute('aria-pressed', b.getAttribute('aria-pressed') !== 'true'); show(); };
document.querySelector('.tools').hidden = false;
show();
</script>
)";

std::string table(const std::string& head, const std::string& body) {
  return "<div class=\"scroll\"><table>\n<thead>" + head + "</thead>\n<tbody>" + body +
         "</tbody></table></div>\n";
}

std::string score_tile(std::string_view label, const Summary& run) {
  return tile(label, fmt::format("{} of {}", run.total.hits, run.total.max),
              fmt::format("{} %, 95 % interval {} %", percent_text(run.total.share()),
                          interval_text(run.total.interval())));
}

std::string facts(const Summary& run) {
  std::string out;
  for (const std::string& text : run.warnings) {
    out += "<p><b>Warning:</b> " + escaped(text) + "</p>\n";
  }
  return out;
}

// A picture as a data URL, or nothing where browsers do not show it.
std::string data_url(const std::string& bytes) {
  static const std::map<std::string_view, std::string_view> kForms = {{"\x89PNG", "png"},
                                                                      {"\xFF\xD8\xFF", "jpeg"},
                                                                      {"GIF8", "gif"},
                                                                      {"RIFF", "webp"},
                                                                      {"BM", "bmp"}};
  for (const auto& [magic, form] : kForms) {
    if (bytes.starts_with(magic)) {
      return fmt::format("data:image/{};base64,{}", form, io::encode_base64(bytes));
    }
  }
  return "";
}

class Page {
 public:
  Page(const ReportData& data, std::span<const Sample> samples) : data_(data) {
    for (const Sample& sample : samples) samples_[sample.index] = &sample;
  }

  std::string render() {
    const Summary& shown = data_.b ? *data_.b : data_.a;
    std::string out = fmt::format(
        "<!doctype html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n<meta "
        "name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n<title>OCRBench: "
        "{}</title>\n<style>{}{}</style>\n</head>\n<body>\n",
        escaped(name_of(shown)), quantize::kReportStyle, kStyle);
    out += data_.comparison ? comparison() : single();
    out += cases() + settings();
    return out + fmt::format("<footer>squint {}</footer>\n</body>\n</html>\n", kVersion);
  }

 private:
  std::string incomplete() const {
    return data_.a.complete ? ""
                            : "<p>These are not the 1000 rows of OCRBench v1: do not compare with "
                              "published scores.</p>\n";
  }

  std::string single() const {
    const Summary& run = data_.a;
    std::string out = fmt::format(
        "<header>\n<h1>{}</h1>\n<p class=\"lead\">OCRBench, {} questions.</p>\n"
        "<div class=\"tiles\">\n",
        escaped(name_of(run)), run.total.max);
    out += score_tile("Score", run);
    if (run.model_bytes) out += tile("Size", bytes_text(*run.model_bytes), "weights");
    if (run.tokens_per_s()) {
      out += tile("Decoding", fmt::format("{:.0f} tokens/s", *run.tokens_per_s()),
                  fmt::format("{:.2f} images/s", run.images_per_s().value_or(0)));
    }
    out += tile("Missed", std::to_string(run.failures.size()),
                fmt::format("{} near misses, {} failed, {} cut", run.near_misses, run.total.errors,
                            run.total.truncated));
    out += "</div>\n</header>\n" + facts(run) + incomplete() + "<h2>By group and type</h2>\n";
    std::string body;
    const auto add = [&](const Tally& t, bool strong) {
      const std::string name = escaped(t.name);
      body += table_row({strong ? "<b>" + name + "</b>" : name, std::to_string(t.hits),
                         std::to_string(t.max), percent_text(t.share()),
                         t.max == 0 ? "-" : interval_text(t.interval())});
    };
    for (const Tally& group : run.groups) {
      if (group.max > 0) add(group, true);
    }
    for (const Tally& type : run.types) add(type, false);
    return out + table(table_row({"", "score", "of", "%", "95 % interval"}, "th"), body);
  }

  std::string comparison() const {
    const Comparison& c = *data_.comparison;
    const Summary& b = *data_.b;
    std::string out = fmt::format(
        "<header>\n<h1>{}</h1>\n<p class=\"lead\">B, beside A, {}: {} questions, row by row.</p>\n"
        "<p class=\"verdict\"><b>{}</b>: {} of {} rows; {}</p>\n<div class=\"tiles\">\n",
        escaped(name_of(b)), escaped(name_of(data_.a)), c.total.n, to_string(c.verdict),
        signed_text(c.total.c - c.total.b), c.total.n,
        fmt::format("{}: B may lose {:g} points of 1000", c.non_inferior ? "passed" : "not passed",
                    c.options.margin));
    out += score_tile("A", data_.a) + score_tile("B", b);
    out += tile("B - A", signed_percent(c.total.difference()) + " %",
                "95 % interval " + signed_interval(c.total.interval) + " %");
    out += tile("McNemar", "p = " + escaped(p_text(c.total.p)),
                fmt::format("{} lost, {} gained", c.total.b, c.total.c));
    if (const auto ratio = size_ratio(data_)) {
      out += tile(
          "Size", fmt::format("1 : {:.2f}", *ratio),
          fmt::format("{} of {}", bytes_text(*b.model_bytes), bytes_text(*data_.a.model_bytes)));
    }
    const auto rate_a = data_.a.tokens_per_s();
    const auto rate_b = b.tokens_per_s();
    if (rate_a && rate_b) {
      out += tile("Decoding", fmt::format("{:.0f} tokens/s", *rate_b),
                  fmt::format("A {:.0f}", *rate_a));
    }
    out += "</div>\n</header>\n" + facts(data_.a) + facts(b);
    for (const HeaderDifference& d : c.setting_differences) {
      out += fmt::format("<p><b>Settings differ</b> in {}: {} against {}.</p>\n", escaped(d.key),
                         escaped(d.expected), escaped(d.found));
    }
    return out + incomplete() + "<h2>By group and type</h2>\n" + pair_table(c);
  }

  static std::string pair_table(const Comparison& c) {
    std::string body;
    for (const PairTally& t : c.groups) {
      body +=
          table_row({"<b>" + escaped(t.name) + "</b>", std::to_string(t.n),
                     std::to_string(t.a_hits), std::to_string(t.b_hits), signed_text(t.c - t.b),
                     std::to_string(t.b), std::to_string(t.c), signed_interval(t.interval) + " %"});
    }
    for (const PairTally& t : c.types) {
      body += table_row({escaped(t.name), std::to_string(t.n), std::to_string(t.a_hits),
                         std::to_string(t.b_hits), signed_text(t.c - t.b), std::to_string(t.b),
                         std::to_string(t.c), "p " + escaped(p_text(t.p_holm)) + " (Holm)"});
    }
    return table(
        table_row({"", "rows", "A", "B", "B - A", "lost", "gained", "95 % interval"}, "th"), body);
  }

  std::string picture(const ResultRow& result) {
    const auto found = samples_.find(result.index);
    if (found == samples_.end() || found->second->question != result.question) return "";
    try {
      const SampleImage& image = found->second->image;
      const std::string bytes =
          image.bytes ? image.bytes() : io::read_file(image.path, kLargestPicture);
      const auto size = static_cast<int64_t>(bytes.size());
      if (size > kLargestPicture || size > kAllPictures - picture_bytes_) return "";
      const std::string url = data_url(bytes);
      if (url.empty()) return "";
      picture_bytes_ += size;
      return fmt::format("<img loading=\"lazy\" alt=\"row {}\" src=\"{}\">\n", result.index, url);
    } catch (const Error&) {
      return "";  // The report stands without it.
    }
  }

  std::string one_case(const ReportRow& r) {
    const auto said = [](std::string_view name, const ResultRow& result) {
      return fmt::format("<dt>{}</dt><dd class=\"{}\">{}</dd>\n", name, result.hit ? "hit" : "miss",
                         escaped(output_of(result)));
    };
    std::string out = fmt::format(
        "<article class=\"case\" data-is=\"{0}\" data-type=\"{1}\">\n{2}<h3>"
        "<span class=\"tag {0}\">{0}</span>row {3}<small>{1}</small></h3>\n<dl>\n",
        to_string(r.kind), escaped(r.row->type), picture(*r.row), r.row->index);
    out += "<dt>asked</dt><dd>" + escaped(r.row->question) + "</dd>\n<dt>expected</dt><dd>" +
           escaped(joined(r.row->answers)) + "</dd>\n";
    if (r.reference != nullptr) out += said("A", *r.reference);
    out += said(r.reference != nullptr ? "B" : "found", *r.row);
    if (r.reason) out += fmt::format("<dt>why</dt><dd>{}</dd>\n", to_string(*r.reason));
    return out + "</dl>\n</article>\n";
  }

  std::string cases() {
    const std::vector<ReportRow> rows = rows_to_show(data_);
    if (rows.empty()) return "<h2>Every row was hit</h2>\n";
    std::map<std::string, int64_t> types;
    std::map<RowKind, int64_t> kinds;
    for (const ReportRow& r : rows) {
      ++types[r.row->type];
      ++kinds[r.kind];
    }
    std::string out = data_.comparison ? "<h2>Rows that flipped or were missed</h2>\n"
                                       : "<h2>Rows that were missed</h2>\n";
    out +=
        "<div class=\"tools\" hidden>\n<select id=\"type\" aria-label=\"type\"><option "
        "value=\"\">all "
        "types</option>";
    for (const auto& [type, count] : types) {
      out += fmt::format("<option value=\"{0}\">{0} ({1})</option>", escaped(type), count);
    }
    out += "</select>\n";
    if (data_.comparison) {
      for (const auto& [kind, count] : kinds) {
        // What both missed says nothing about the difference: hidden at first.
        out += fmt::format("<button data-kind=\"{0}\" aria-pressed=\"{1}\">{0} ({2})</button>\n",
                           to_string(kind), kind != RowKind::missed, count);
      }
    }
    out += "<span id=\"count\"></span>\n</div>\n<div class=\"cases\">\n";
    for (const ReportRow& r : rows) out += one_case(r);
    return out + "</div>\n" + std::string(kScript);
  }

  std::string settings() const {
    std::string out = "<h2>Settings</h2>\n<dl>\n";
    const auto fact = [&](std::string_view name, const std::string& value) {
      out += fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, escaped(value));
    };
    fact(data_.b ? "A" : "results", data_.a.path);
    if (data_.b) fact("B", data_.b->path);
    for (const std::string& setting : settings_of(data_.a)) {
      const size_t at = setting.find('=');
      fact(escaped(setting.substr(0, at)), setting.substr(at + 1));
    }
    return out + "</dl>\n";
  }

  const ReportData& data_;
  std::map<int64_t, const Sample*> samples_;
  int64_t picture_bytes_ = 0;
};

}  // namespace

std::string report_html(const ReportData& data, std::span<const Sample> samples) {
  return Page(data, samples).render();
}

}  // namespace squint::eval
