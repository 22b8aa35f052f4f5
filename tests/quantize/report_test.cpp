#include <gtest/gtest.h>

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>

#include "base/json.h"
#include "quantize/report_charts.h"
#include "quantize/report_view.h"
#include "quantize/sample_report.h"
#include "squint/quantize.h"

namespace squint {
namespace {

using quantize::ErrorAxis;
using test::sample_report;

size_t count(const std::string& text, std::string_view part) {
  size_t found = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++found;
  return found;
}

// The first thing that is wrong with the tags of a page: nothing where each is closed in order, and
// every attribute is quoted.
std::optional<std::string> badly_formed(const std::string& html) {
  std::vector<std::string> open;
  size_t at = html.find('\n') + 1;  // after the doctype
  for (at = html.find('<', at); at != std::string::npos; at = html.find('<', at)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "a tag that does not end";
    const std::string tag = html.substr(at + 1, end - at - 1);
    at = end;
    if (tag.find('<') != std::string::npos) return "<" + tag;
    if (static_cast<size_t>(std::ranges::count(tag, '"')) != 2 * count(tag, "=\"")) {
      return "quotes: " + tag;
    }
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (tag.back() == '/') continue;
    if (name.front() != '/') {
      open.push_back(name);
    } else if (open.empty() || name.substr(0, 1) + open.back() != tag) {
      return "</" + tag + "> where " + (open.empty() ? "nothing" : open.back()) + " is open";
    } else {
      open.pop_back();
    }
  }
  return open.empty() ? std::nullopt : std::optional("open at the end: " + open.back());
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

TEST(ReportPage, IsWellFormedSmallAndLoadsNothing) {
  for (const int64_t layers : {0, 1, 6, 36, 94}) {
    const std::string html = sample_report(layers).to_html();
    EXPECT_EQ(badly_formed(html), std::nullopt) << layers << " layers";
    for (const char* loads : {"http", "src=", "<script", "<link", "@import", "url("}) {
      EXPECT_FALSE(has(html, loads)) << loads;
    }
    EXPECT_FALSE(has(html, "nan") || has(html, "inf,") || has(html, "inf\""));
    if (layers <= 36) {
      EXPECT_LT(html.size(), 200'000u);
    }
  }
  EXPECT_EQ(badly_formed(QuantizeReport().to_html()), std::nullopt);
  EXPECT_TRUE(badly_formed("x\n<a><b></a></b>"));  // the check itself
  EXPECT_TRUE(badly_formed("x\n<a title=\"\"\">"));
}

TEST(ReportPage, ShowsEveryLayerOfEveryKind) {
  const std::string html = sample_report(36).to_html();
  for (const char* role :
       {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}) {
    EXPECT_EQ(count(html, std::string(" ") + role + ": "), 36u) << role;
  }
  EXPECT_EQ(count(html, "of the loss is left</title>"), 3u * 36 - 1);
  EXPECT_EQ(count(html, "of the loss is left; rolled back</title>"), 1u);
  EXPECT_TRUE(has(html, "layer 6 down_proj: "));
  EXPECT_TRUE(has(html, "(plain rounding 93.00 %)"));
  EXPECT_TRUE(has(html, "7 of 36 layers were done before it"));
}

TEST(ReportPage, NamesAreEscaped) {
  QuantizeReport report = sample_report(1);
  report.options.output = "out/<b>\"&'\xff";
  report.options.model = "<i>model";
  report.smoothing[0].group = "a<b";
  report.linears[0].module = "model.layers.0.<u>";
  report.recipe = "<script>";
  report.outputs[0].name = "<s>";
  const std::string html = report.to_html();
  EXPECT_EQ(badly_formed(html), std::nullopt);
  EXPECT_TRUE(has(html, "<h1>&lt;b&gt;&quot;&amp;'\uFFFD</h1>"));
  for (const char* raw : {"<b>\"", "<i>model", "a<b", "<u>", "<script>", "<s>"}) {
    EXPECT_FALSE(has(html, raw)) << raw;
  }
}

TEST(ReportPage, SectionsWithoutDataAreAbsent) {
  QuantizeReport report = sample_report(2);
  const char* sections[] = {"id=\"held-out\"", "id=\"errors\"", "id=\"smoothing\"",
                            "id=\"scales\""};
  for (const char* section : sections) EXPECT_TRUE(has(report.to_html(), section)) << section;
  report.held_out.reset();
  report.linears.clear();
  report.smoothing.clear();
  report.scales.clear();
  for (const char* section : sections) EXPECT_FALSE(has(report.to_html(), section)) << section;
  EXPECT_FALSE(has(report.to_html(), "KL divergence"));
}

TEST(ReportPage, SaysWhatWasRolledBack) {
  QuantizeReport report = sample_report(6);
  EXPECT_FALSE(has(report.to_html(), "No group was rolled back"));
  for (SmoothingReport& s : report.smoothing) s.rolled_back = false;
  EXPECT_TRUE(has(report.to_html(), "No group was rolled back"));
}

TEST(ReportJson, HasItsKeysInOrderAndWhatChangesInOnePlace) {
  QuantizeReport report = sample_report(6);
  const OrderedJson json = OrderedJson::parse(report.to_json());
  std::vector<std::string> keys;
  for (const auto& [key, value] : json.items()) keys.push_back(key);
  EXPECT_EQ(keys,
            (std::vector<std::string>{"kind", "format", "squint", "model", "options",
                                      "options_sha256", "recipe", "calibration", "size", "linears",
                                      "smoothing", "scales", "held_out", "outputs", "run"}));
  EXPECT_EQ(json["linears"][13]["layer"], 1);
  EXPECT_EQ(json["linears"][13]["role"], "down_proj");
  EXPECT_EQ(json["scales"][1]["log2"], -11.5);
  EXPECT_EQ(json["smoothing"][11]["rolled_back"], true);
  EXPECT_EQ(json["held_out"]["plain"]["mean_kl"], 0.0612);
  EXPECT_EQ(json["run"]["memory"]["planned_bytes"], 3'400'000'000);

  report.run = {};
  report.plan.resumed_layers = 0;
  report.plan.peak_bytes = 1;
  report.options.output = "elsewhere";
  report.options.model = "linked";
  OrderedJson other = OrderedJson::parse(report.to_json());
  EXPECT_NE(other, json);
  other["run"] = json["run"];
  EXPECT_EQ(other, json);
}

TEST(ReportJson, WhatIsNotThereIsAbsent) {
  QuantizeReport report = sample_report(1);
  report.options.method = QuantizeMethod::rtn;
  report.plan.rows = 0;
  report.held_out->plain.reset();
  Json json = Json::parse(report.to_json());
  EXPECT_FALSE(json.contains("calibration"));
  EXPECT_FALSE(json["options"].contains("dampening"));
  EXPECT_FALSE(json["held_out"].contains("plain"));
  report.held_out.reset();
  EXPECT_FALSE(Json::parse(report.to_json()).contains("held_out"));
}

TEST(ReportJson, PathsNeedNotBeUtf8) {
  QuantizeReport report;
  report.options.output = "out-\xff";
  EXPECT_EQ(Json::parse(report.to_json())["run"]["output"], "out-\uFFFD");
}

TEST(ReportText, FitsATerminalAndNamesTheWorst) {
  const std::string text = sample_report(36).to_text(80);
  size_t begin = 0;
  for (size_t end = text.find('\n'); end != std::string::npos; end = text.find('\n', begin)) {
    const std::string line = text.substr(begin, end - begin);
    const auto columns = std::ranges::count_if(line, [](char c) { return (c & 0xc0) != 0x80; });
    EXPECT_LE(columns, 80) << line;
    begin = end + 1;
  }
  QuantizeReport report = sample_report(4);
  report.linears[9].error = 0.77;
  EXPECT_TRUE(has(report.to_text(), "    1  v_proj"));
  EXPECT_TRUE(has(report.to_text(), "  layer 3, up_proj → down_proj\n"));
  EXPECT_EQ(count(report.to_text(), "Smoothing"), 1u);
  report.smoothing.clear();
  EXPECT_EQ(count(report.to_text(), "Smoothing"), 0u);
}

LinearReport linear(double error, double plain) {
  return {.module = "m.layers.0.q_proj", .error = error, .plain_error = plain};
}

TEST(ErrorAxisTest, EndsAtRoundNumbersAroundTheValues) {
  const std::vector<LinearReport> linears = {linear(0.023, 0.93), linear(0.011, 0.5)};
  const ErrorAxis axis = ErrorAxis::over(linears);
  EXPECT_DOUBLE_EQ(axis.low, 0.01);
  EXPECT_DOUBLE_EQ(axis.high, 1);
  EXPECT_DOUBLE_EQ(axis.at(0.1), 0.5);
  EXPECT_EQ(axis.at(0), 0);
  EXPECT_EQ(axis.at(3), 1);
  ASSERT_EQ(axis.ticks().size(), 7u);  // 1 2 5 10 20 50 100 %
  EXPECT_NEAR(axis.ticks()[2], 0.05, 1e-12);
  EXPECT_NEAR(axis.ticks()[6], 1, 1e-12);
}

TEST(ErrorAxisTest, ValuesThatAreTicksAndZeroes) {
  const ErrorAxis exact = ErrorAxis::over(std::vector{linear(0.02, 0.05)});
  EXPECT_LE(exact.low, 0.02);
  EXPECT_GT(exact.high, 0.05);
  const ErrorAxis none = ErrorAxis::over(std::vector{linear(0, 0)});
  EXPECT_LT(none.low, none.high);
  const ErrorAxis tiny = ErrorAxis::over(std::vector{linear(0, 1e-12), linear(0.3, 0.4)});
  EXPECT_GT(tiny.low, 1e-5);
  EXPECT_LE(tiny.ticks().size(), 6u);
}

TEST(ScaleChart, BarsAreAsHighAsTheirShare) {
  const std::string svg =
      quantize::scale_chart({{-4, 30}, {-2, 60}, {-1, 10}}, {.width = 200, .height = 144}, "x");
  EXPECT_EQ(count(svg, "class=\"bar\""), 3u);
  EXPECT_TRUE(has(svg, "height=\"100.0\"/>"));  // 144 less margins
  EXPECT_TRUE(has(svg, "height=\"50.0\"/>"));
  EXPECT_TRUE(has(svg, "2^-2 to 2^-1.5: 30 scales, 30.00 %"));
}

TEST(ReportView, NumbersAsPeopleReadThem) {
  EXPECT_EQ(quantize::seconds_text(0.0123), "12 ms");
  EXPECT_EQ(quantize::seconds_text(59.96), "60.0 s");
  EXPECT_EQ(quantize::seconds_text(125), "2:05 min");
  EXPECT_EQ(quantize::seconds_text(3725), "1:02:05 h");
  EXPECT_EQ(quantize::bytes_text(774), "0.8 kB");
  EXPECT_EQ(quantize::bytes_text(20'183'608), "20.2 MB");
  EXPECT_EQ(quantize::bytes_text(17'534'247'392), "17.53 GB");
  EXPECT_EQ(quantize::count_text(999), "999");
  EXPECT_EQ(quantize::count_text(10'240), "10,240");
  EXPECT_EQ(quantize::count_text(17'700'000), "17.7 million");
}

}  // namespace
}  // namespace squint
