// report_html.cpp: the page of a report. Every text that is not ours goes through escaped().
#include <fmt/format.h>

#include <algorithm>

#include "quantize/report_charts.h"
#include "quantize/report_style.h"
#include "quantize/report_view.h"
#include "squint/version.h"
#include "text/html.h"

namespace squint {
namespace {

using namespace quantize;
using text::escaped;

constexpr size_t kWorst = 7;
constexpr ChartSize kPanel{.width = 340, .height = 180};

struct KeyEntry {
  const char* style;
  const char* mark;  // a path in 14 x 14
  const char* meaning;
};
constexpr const char* kDot = "M4 7a3 3 0 1 0 6 0a3 3 0 1 0-6 0";
constexpr const char* kSquare = "M1 1h12v12h-12z";

std::string key(std::initializer_list<KeyEntry> entries) {
  std::string out = "<div class=\"key\">";
  for (const KeyEntry& e : entries) {
    out += fmt::format(R"(<span><svg viewBox="0 0 14 14"><path class="{}" d="{}"/></svg>{}</span>)",
                       e.style, e.mark, e.meaning);
  }
  return out + "</div>\n";
}

std::string fact(std::string_view name, const std::string& value) {
  return fmt::format("<dt>{}</dt><dd>{}</dd>\n", name, value);
}

std::string code(std::string_view text) { return "<code>" + escaped(text) + "</code>"; }

std::string bar(const std::string& name, std::initializer_list<double> shares,
                const std::string& value) {
  std::string out = fmt::format("<span>{}</span><i>", escaped(name));
  for (const double share : shares)
    out += fmt::format(R"(<u style="width:{:.2f}%"></u>)", 100 * share);
  return out + "</i><b>" + value + "</b>\n";
}

std::string folder_name(const std::filesystem::path& folder) {
  return folder.has_filename() ? folder.filename().string() : folder.string();
}

std::string header(const QuantizeReport& r, const ErrorTable& table) {
  std::string out = fmt::format(
      "<header>\n<h1>{}</h1>\n<p class=\"lead\">{} in {} bits: {}. {} parameters, {} text "
      "layers.</p>\n<div class=\"tiles\">\n",
      escaped(folder_name(r.options.output)), escaped(folder_name(r.options.model)), r.options.bits,
      options_text(r.options), count_text(r.parameters), r.plan.layers);
  out += tile("Size", bytes_text(r.output_bytes),
              fmt::format("{} of {}", percent_text(share_of(r.output_bytes, r.source_bytes), 1),
                          bytes_text(r.source_bytes)));
  const ErrorMean mean = mean_error(table.all());
  out += tile(fmt::format("Mean error of {}", error_of(r)), percent_text(mean.error, 2),
              "plain rounding " + percent_text(mean.plain, 2));
  if (r.held_out) {
    const HeldOutReport& h = *r.held_out;
    out += tile("KL divergence, held out", fmt::format("{:.4f}", h.quantized.kl),
                h.plain ? fmt::format("nats; plain rounding {:.4f}", h.plain->kl) : "nats");
  }
  out += tile("Time", seconds_text(r.run.seconds), fmt::format("{} threads", r.run.threads));
  if (r.run.memory_bytes > 0) {
    out += tile("Peak memory", bytes_text(r.run.memory_bytes),
                "planned " + bytes_text(r.plan.peak_bytes));
  }
  return out + "</div>\n</header>\n";
}

std::string held_out(const HeldOutReport& h) {
  std::string out = fmt::format(
      "<section id=\"held-out\">\n<h2>Predictions on held-out rows</h2>\n<p>{} tokens of {} "
      "calibration rows that the run did not use. Kullback-Leibler divergence from the unquantized "
      "model in nats per token; top-1: the most probable token is the same.</p>\n<table>\n",
      count_text(h.quantized.tokens), count_text(h.rows));
  out += table_row({"", "mean", "median", "p99", "top-1"}, "th");
  const auto line = [](const char* name, const TokenDivergence& d) {
    return table_row({name, fmt::format("{:.5f}", d.kl), fmt::format("{:.5f}", d.median),
                      fmt::format("{:.4f}", d.p99), percent_text(d.top1, 2)});
  };
  out += line("this model", h.quantized);
  if (h.plain) out += line("plain rounding", *h.plain);
  return out + "</table>\n</section>\n";
}

// A chart over the whole width: scaled down to a phone's, its text could not be read.
template <class Draw>
std::string in_both_sizes(Draw draw) {
  return "<div class=\"on-desk\">" + draw(ChartSize{.width = 900, .height = 250}) +
         "</div>\n<div class=\"on-phone\">" + draw(ChartSize{.width = 360, .height = 230}) +
         "</div>\n";
}

std::string overview_chart(const ErrorTable& table, const ErrorAxis& axis) {
  std::vector<ErrorMark> marks;
  for (const int64_t layer : table.layers()) {
    const ErrorMean mean = mean_error(table.of_layer(layer));
    marks.push_back({.layer = layer,
                     .error = mean.error,
                     .plain = mean.plain,
                     .what = fmt::format("layer {}, mean", layer)});
  }
  return "<h3>Mean of each layer</h3>\n" + in_both_sizes([&](ChartSize size) {
           return error_chart(marks, axis, size, "Mean error of each layer");
         });
}

std::string worst_table(const ErrorTable& table) {
  std::string out = "<div class=\"fill\"><h3>Largest errors</h3>\n<table class=\"named\">\n" +
                    table_row({"layer", "linear", "error", "plain"}, "th");
  for (const LinearReport* l : table.worst(kWorst)) {
    const Place place = place_of(l->module);
    out += table_row({fmt::format("{}", place.layer), escaped(place.role),
                      percent_text(l->error, 2), percent_text(l->plain_error, 2)});
  }
  return out + "</table></div>\n";
}

std::string role_panels(const ErrorTable& table, const ErrorAxis& axis) {
  std::string out = "<div class=\"panels\">\n";
  for (const std::string& role : table.roles()) {
    std::vector<ErrorMark> marks;
    const std::vector<const LinearReport*> linears = table.of_role(role);
    for (const LinearReport* l : linears) {
      const int64_t layer = place_of(l->module).layer;
      marks.push_back({.layer = layer,
                       .error = l->error,
                       .plain = l->plain_error,
                       .what = fmt::format("layer {} {}", layer, role)});
    }
    const ErrorMean mean = mean_error(linears);
    out += fmt::format("<div><h3>{} <span>{}, plain {}</span></h3>\n{}</div>\n", escaped(role),
                       percent_text(mean.error, 2), percent_text(mean.plain, 2),
                       error_chart(marks, axis, kPanel, "Error of " + role + " by layer"));
  }
  return out + worst_table(table) + "</div>\n";
}

std::string all_errors(const ErrorTable& table) {
  std::string out =
      "<details><summary>All numbers in percent, with those of plain rounding</summary>\n"
      "<table class=\"all\">\n<tr><th>layer</th>";
  for (const std::string& role : table.roles()) {
    out += "<th>" + escaped(role.substr(0, role.find("_proj"))) + "</th>";
  }
  out += "</tr>\n";
  for (const int64_t layer : table.layers()) {
    out += fmt::format("<tr><td>{}</td>", layer);
    for (const std::string& role : table.roles()) {
      const LinearReport* l = table.find(layer, role);
      out += l == nullptr ? "<td></td>"
                          : fmt::format("<td>{:.2f}<small>{:.2f}</small></td>", 100 * l->error,
                                        100 * l->plain_error);
    }
    out += "</tr>\n";
  }
  return out + "</table></details>\n";
}

std::string errors(const QuantizeReport& r, const ErrorTable& table) {
  const ErrorAxis axis = ErrorAxis::over(r.linears);
  return fmt::format(
             "<section id=\"errors\">\n<h2>Error of {}</h2>\n<p>Length of the error by length of "
             "the original, for each linear layer{}. The scale is logarithmic.</p>\n{}",
             error_of(r), r.plan.rows > 0 ? ", on the calibration rows" : "",
             key({{"now", kDot, "this model"},
                  {"plain", "M2 7h10", "plain rounding, whole ranges"}})) +
         overview_chart(table, axis) + role_panels(table, axis) + all_errors(table) +
         "</section>\n";
}

std::string rolled_back(const std::vector<SmoothingReport>& smoothing) {
  std::string rows;
  for (const SmoothingReport& s : smoothing) {
    if (!s.rolled_back) continue;
    rows +=
        table_row({fmt::format("{}", s.layer), escaped(s.group), fmt::format("{:.2f}", s.ratio)});
  }
  if (rows.empty()) {
    return "<p id=\"rolled-back\" class=\"below\">No group was rolled back.</p>\n";
  }
  return "<h3 id=\"rolled-back\" class=\"below\">Rolled back, where smoothing did worse than plain "
         "rounding</h3>\n<table class=\"named\">\n" +
         table_row({"layer", "group", "strength tried"}, "th") + rows + "</table>\n";
}

std::string smoothing(const std::vector<SmoothingReport>& all) {
  std::string out = fmt::format(
      "<section id=\"smoothing\">\n<h2>Smoothing</h2>\n<p>Strength with which input channels with "
      "large activations were rescaled before rounding, as the search chose it for each group of "
      "layers that share an input.</p>\n{}<div class=\"panels\">\n",
      key({{"now", kDot, "duo: activations and weights"},
           {"ring", kDot, "activations alone; at 0: unchanged"},
           {"cross", "M4 4l6 6m0-6l-6 6", "rolled back"}}));
  std::vector<std::string> names;
  for (const SmoothingReport& s : all) {
    if (std::ranges::find(names, s.group) == names.end()) names.push_back(s.group);
  }
  for (const std::string& name : names) {
    std::vector<const SmoothingReport*> group;
    double left = 0;
    for (const SmoothingReport& s : all) {
      if (s.group != name) continue;
      group.push_back(&s);
      left += loss_left(s);
    }
    out += fmt::format("<div><h3>{} <span>{} of the loss is left</span></h3>\n{}</div>\n",
                       escaped(name), percent_text(left / static_cast<double>(group.size()), 1),
                       strength_chart(group, kPanel, "Strength for " + name + " by layer"));
  }
  return out + "</div>\n" + rolled_back(all) + "</section>\n";
}

std::string scales(const ScaleHistogram& histogram) {
  return "<section id=\"scales\">\n<h2>Scales</h2>\n<p>Steps between neighbouring integers, one "
         "for "
         "each group of columns: how many lie between two values.</p>\n" +
         in_both_sizes([&](ChartSize size) {
           return scale_chart(histogram, size, "How often each scale occurs");
         }) +
         "</section>\n";
}

std::string size(const QuantizeReport& r) {
  const int64_t rest_before = r.source_bytes - r.layers_source_bytes;
  const int64_t rest_after = r.output_bytes - r.layers_output_bytes;
  const auto line = [&](const char* name, int64_t layers, int64_t rest) {
    return bar(name, {share_of(layers, r.source_bytes), share_of(rest, r.source_bytes)},
               bytes_text(layers + rest));
  };
  return fmt::format(
             "<section id=\"size\">\n<h2>Size</h2>\n<p>The text layers shrink from {} to {}, "
             "{}; everything else, {}, {}.</p>\n{}<div class=\"bars\">\n",
             bytes_text(r.layers_source_bytes), bytes_text(r.layers_output_bytes),
             percent_text(share_of(r.layers_output_bytes, r.layers_source_bytes), 1),
             bytes_text(rest_before),
             rest_after == rest_before ? "stays as it was" : "to " + bytes_text(rest_after),
             key({{"bar", kSquare, "text layers"}, {"rest", kSquare, "everything else"}})) +
         line("before", r.layers_source_bytes, rest_before) +
         line("after", r.layers_output_bytes, rest_after) + "</div>\n</section>\n";
}

std::string memory(const QuantizeReport& r) {
  const int64_t most =
      std::max({r.plan.peak_bytes, r.run.memory_bytes, r.run.resident_bytes, int64_t{1}});
  const auto line = [&](const char* name, int64_t bytes) {
    return bar(name, {share_of(bytes, most)}, bytes_text(bytes));
  };
  return "<section id=\"memory\">\n<h2>Memory</h2>\n<p>Planned and reached: beside the mapped "
         "model, whose pages the system may drop.</p>\n<div class=\"bars\">\n" +
         line("planned", r.plan.peak_bytes) + line("reached", r.run.memory_bytes) +
         line("with mapped files", r.run.resident_bytes) + "</div>\n</section>\n";
}

std::string time(const QuantizeReport& r) {
  std::string out =
      "<section id=\"time\">\n<h2>Time</h2>\n<p>" + seconds_text(r.run.seconds) + " in all";
  if (r.plan.resumed_layers > 0) {
    out += fmt::format(
        ", after an interruption: {} of {} layers were done before it, and their time is not "
        "counted",
        r.plan.resumed_layers, r.plan.layers);
  }
  out += ".</p>\n<div class=\"bars\">\n";
  double longest = 1e-9;
  for (const RunReport::Phase& p : r.run.phases) longest = std::max(longest, p.seconds);
  for (const RunReport::Phase& p : r.run.phases) {
    out += bar(p.name, {p.seconds / longest}, seconds_text(p.seconds));
  }
  return out + "</div>\n</section>\n";
}

std::string calibration_text(const QuantizeReport& r) {
  if (r.plan.rows == 0) return "none";
  std::string out;
  for (const CalibrationSource& source : r.options.calibration) {
    out += escaped(source.path.string()) + "<br/>";
  }
  out += fmt::format("{} rows, {} tokens, {} of them of images", count_text(r.plan.rows),
                     count_text(r.plan.tokens), count_text(r.plan.image_tokens));
  if (r.plan.cut_rows > 0) out += fmt::format(", {} rows cut short", r.plan.cut_rows);
  if (r.plan.left_out_rows > 0) out += fmt::format(", {} rows left out", r.plan.left_out_rows);
  return out;
}

std::string what_ran(const QuantizeReport& r) {
  const QuantizeOptions& o = r.options;
  std::string out = "<section id=\"run\">\n<h2>What ran</h2>\n<dl>\n";
  out += fact("Program", fmt::format("squint {}", kVersion));
  out += fact("Machine", escaped(fmt::format("{}, {} kernels, {} threads", r.run.backend,
                                             r.run.kernels, r.run.threads)));
  out += fact("Finished", r.run.finished);
  out += fact("Model", escaped(o.model.string()) + ", " + escaped(r.architecture));
  out += fact("Output", escaped(o.output.string()));
  out += fact("Method", options_text(o));
  out += fact("Bits per weight", fmt::format("{:.3f}, scales counted", r.bits_per_weight));
  for (const std::string& line : other_bits(r)) out += fact("Other layers", line);
  if (o.method == QuantizeMethod::awq || o.method == QuantizeMethod::awq_gptq) {
    out += fact("Smoothing",
                fmt::format("duo scaling {}, {} factors tried", name(o.duo_scaling), o.grid));
  }
  if (o.method == QuantizeMethod::gptq || o.method == QuantizeMethod::awq_gptq) {
    out += fact("Feedback", fmt::format("dampening {}, shrinkage {}, rounds {}, propagation {}",
                                        o.dampening, o.shrinkage, o.rounds, o.propagation));
    out +=
        fact("An image token counts",
             o.image_weight ? fmt::format("{} of a text token", *o.image_weight) : "as measured");
  }
  out += fact("Calibration", calibration_text(r));
  return out + "</dl>\n<details><summary>recipe.yaml</summary>\n<pre>" + escaped(r.recipe) +
         "</pre></details>\n</section>\n";
}

std::string hashes(const QuantizeReport& r) {
  std::string out =
      "<section id=\"hashes\">\n<h2>Hashes</h2>\n<p>The same inputs and options give the same "
      "files, whatever the number of threads, interrupted or not.</p>\n<dl>\n";
  out += fact("Model", code(r.model_hash) + "<br/>of config.json and samples of every tensor");
  if (!r.calibration_hash.empty()) {
    out += fact("Calibration", code(r.calibration_hash) + "<br/>of token ids and pixels");
  }
  out += fact("Options", code(r.options_hash) + "<br/>sha256 of recipe.yaml");
  out += "</dl>\n<h3 class=\"below\">Files, sha256</h3>\n<dl>\n";
  for (const FileHash& f : r.outputs) {
    out += fact(escaped(f.name), code(f.sha256) + "<br/>" + bytes_text(f.bytes));
  }
  return out + "</dl>\n</section>\n";
}

}  // namespace

std::string QuantizeReport::to_html() const {
  const ErrorTable table(*this);
  std::string out = fmt::format(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\"/>\n<meta "
      "name=\"viewport\" content=\"width=device-width, initial-scale=1\"/>\n<title>{}: "
      "quantized</title>\n<style>",
      escaped(folder_name(options.output)));
  out += kReportStyle;
  out += "</style>\n</head>\n<body>\n" + header(*this, table) + "<main>\n";
  if (held_out) out += squint::held_out(*held_out);
  if (!linears.empty()) out += errors(*this, table);
  if (!smoothing.empty()) out += squint::smoothing(smoothing);
  if (!scales.empty()) out += squint::scales(scales);
  out += "<div class=\"half\">\n<div>\n" + size(*this) + memory(*this) + "</div>\n" + time(*this) +
         "</div>\n" + what_ran(*this) + hashes(*this);
  return out + "</main>\n<footer>squint " + kVersion +
         ". The same as numbers: report.json beside this page.</footer>\n</body>\n</html>\n";
}

}  // namespace squint
