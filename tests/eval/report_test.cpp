// Two small runs, told apart by a few rows, and what is said about them.
#include "eval/report.h"

#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>

#include "eval/ocrbench.h"
#include "eval/runner.h"
#include "eval/utf8.h"
#include "squint/error.h"
#include "squint/evaluate.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::eval {
namespace {
namespace fs = std::filesystem;

// Four rows of each of the ten types; rows 2k and 2k + 1 share an image.
std::vector<Sample> forty_rows() {
  std::vector<Sample> samples;
  for (const QuestionType& type : question_types()) {
    for (int i = 0; i < 4; ++i) {
      Sample sample;
      sample.index = static_cast<int64_t>(samples.size());
      sample.type = type.name;
      sample.dataset = is_formula("", type.name) ? "HME100k" : i < 2 ? "First" : "Second";
      sample.question = "what is written in the image?";
      sample.answers = {"Word" + std::to_string(sample.index), "other"};
      sample.image_key = std::to_string(sample.index / 2);
      samples.push_back(sample);
    }
  }
  return samples;
}

Answer plain(std::string text) {
  Answer answer;
  answer.text = std::move(text);
  answer.prompt_tokens = 20;
  answer.image_tokens = 16;
  answer.output_tokens = 4;
  answer.ms_prefill = 20;
  answer.ms_decode = 5;
  return answer;
}

Answer reference(const Sample& sample) {
  switch (sample.index) {
    case 3:
      return plain("  \n");
    case 8:
      throw Error(ErrorCode::io, "8.png: cannot be read");
    case 11: {
      Answer answer = plain("and on and on");
      answer.finish_reason = "length";
      return answer;
    }
    case 20:
      return plain("OTHER");
    case 30:
      return plain("Wqrd30");
    case 37:
      return plain("word37");
    default:
      return plain("It reads " + sample.answers[0]);
  }
}

Answer candidate(const Sample& sample) {
  if (sample.index == 3) return plain("word3");
  if (sample.index == 25 || sample.index == 26) return plain("It reads \u4E2D\u6587\x1b[31m\n");
  return reference(sample);
}

class Report : public ::testing::Test {
 protected:
  fs::path run(const char* name, const AnswerSample& answer, int64_t bytes,
               const std::vector<Sample>& samples = forty_rows()) {
    Json header = settings_;
    header["model_name"] = name;
    header["model_bytes"] = bytes;
    const fs::path path = folder_.path() / (std::string(name) + ".jsonl");
    run_ocrbench({.samples = samples, .header = header, .results = path}, answer);
    return path;
  }
  fs::path a() { return run("tiny", reference, 35'000'000); }
  fs::path b() { return run("tiny-awq", candidate, 20'000'000); }

  // Text without the name of the temporary folder.
  std::string text(const EvaluationReport& report, const ReportStyle& style = {}) {
    std::string out = report.to_text(style);
    const std::string prefix = folder_.path().string() + "/";
    for (size_t at = 0; (at = out.find(prefix)) != std::string::npos;) out.erase(at, prefix.size());
    return out;
  }

  test::TempDir folder_;
  Json settings_ = {{"settings", {{"prompt", "raw"}, {"max_new_tokens", 256}}}};
};

Json parsed(const EvaluationReport& report) { return test::json_of(report.to_json()); }

void expect_snapshot(const std::string& text, const char* name) {
  const fs::path path = test::repo_dir() / "tests/data/eval" / name;
  if (text != test::read_text(path)) {
    const fs::path found = fs::temp_directory_path() / name;
    test::write_text(found, text);
    ADD_FAILURE() << "differs from " << path << "; what was found stands in " << found;
  }
}

TEST_F(Report, TextOfOneRun) { expect_snapshot(text(report_results(a())), "report.txt"); }

TEST_F(Report, TextOfAComparison) {
  expect_snapshot(text(compare_results(a(), b())), "comparison.txt");
}

TEST_F(Report, LinesKeepToTheWidthInColourToo) {
  const EvaluationReport report = compare_results(a(), b());
  for (const int width : {0, 72, 80, 200}) {
    const std::string plain_text = report.to_text({.width = width});
    EXPECT_EQ(plain_text.find('\x1b'), std::string::npos);  // Not even the one in an output.
    for (size_t at = 0; at < plain_text.size();) {
      const size_t end = plain_text.find('\n', at);
      EXPECT_LE(display_width(plain_text.substr(at, end - at)), std::max(width, 72));
      at = end + 1;
    }
    std::string coloured = report.to_text({.width = width, .color = true});
    EXPECT_NE(coloured, plain_text);
    for (size_t at = 0; (at = coloured.find('\x1b')) != std::string::npos;) {
      coloured.erase(at, coloured.find('m', at) - at + 1);
    }
    EXPECT_EQ(coloured, plain_text);
  }
}

TEST_F(Report, ListsAreAsLongAsAskedFor) {
  const EvaluationReport report = report_results(a());
  EXPECT_NE(report.to_text({.max_rows = 2}).find("... and 3 more"), std::string::npos);
  EXPECT_EQ(report.to_text({.max_rows = 0}).find("row 3"), std::string::npos);
}

TEST_F(Report, JsonOfOneRun) {
  const EvaluationReport report = report_results(a());
  EXPECT_FALSE(report.is_comparison());
  EXPECT_TRUE(report.passed());
  EXPECT_EQ(report.changes_jsonl(), "");
  const Json json = parsed(report);
  EXPECT_EQ(json["kind"], "report");
  const Json& run = json["run"];
  EXPECT_EQ(run["score"], 35);
  EXPECT_EQ(run["max"], 40);
  EXPECT_EQ(run["final_score"], 35);
  EXPECT_DOUBLE_EQ(run["final_score_norm_vlmevalkit"], 87.5);
  EXPECT_DOUBLE_EQ(run["final_score_norm_lmms_eval"], 0.875);
  EXPECT_EQ(run["rules"]["official"], 35);
  EXPECT_EQ(run["rules"]["lmms"], 35);
  EXPECT_EQ(run["complete"], false);
  EXPECT_EQ(run["model_bytes"], 35'000'000);
  ASSERT_EQ(run["groups"].size(), 5u);
  EXPECT_EQ(run["groups"][0]["name"], "Text Recognition");
  EXPECT_EQ(run["groups"][0]["max"], 24);
  EXPECT_EQ(run["groups"][0]["score"], 21);
  ASSERT_EQ(run["types"].size(), 10u);
  EXPECT_EQ(run["types"][2]["name"], "Artistic Text Recognition");
  EXPECT_EQ(run["types"][2]["errors"], 1);
  EXPECT_EQ(run["types"][2]["truncated"], 1);
  EXPECT_DOUBLE_EQ(run["types"][2]["mean_output_tokens"], 3);
  EXPECT_EQ(run["types"][2]["group"], "Text Recognition");
  ASSERT_EQ(run["datasets"].size(), 3u);
  EXPECT_EQ(run["datasets"][2]["name"], "HME100k");
  EXPECT_EQ(run["quality"]["empty"], 1);
  EXPECT_EQ(run["quality"]["later_answer_hits"], 1);
  EXPECT_EQ(run["quality"]["near_misses"], 1);
  EXPECT_EQ(run["quality"]["failures"]["case"], 1);
  EXPECT_EQ(run["quality"]["failures"]["wrong"], 0);
  EXPECT_NEAR(run["throughput"]["total_s"], 39 * 0.025, 1e-12);
  EXPECT_NEAR(run["throughput"]["tokens_per_s"], 800, 1e-9);
  ASSERT_EQ(run["failures"].size(), 5u);
  EXPECT_EQ(run["failures"][1]["class"], "error");
  EXPECT_EQ(run["failures"][1]["error"], "8.png: cannot be read");
  EXPECT_EQ(run["failures"][3]["class"], "near");
  EXPECT_TRUE(run["failures"][3]["error"].is_null());
}

TEST_F(Report, JsonOfAComparison) {
  const EvaluationReport report = compare_results(a(), b());
  EXPECT_TRUE(report.is_comparison());
  const Json json = parsed(report);
  EXPECT_EQ(json["a"]["score"], 35);
  EXPECT_EQ(json["b"]["score"], 34);
  const Json& c = json["comparison"];
  EXPECT_EQ(c["n"], 40);
  EXPECT_EQ(c["b"], 2);
  EXPECT_EQ(c["c"], 1);
  EXPECT_DOUBLE_EQ(c["d"], -1.0 / 40);
  EXPECT_DOUBLE_EQ(c["mcnemar_exact_p"], 1);
  EXPECT_TRUE(c["mcnemar_chi2"].is_null());
  EXPECT_EQ(c["bootstrap"]["resamples"], 10'000);
  EXPECT_LT(c["bootstrap"]["low"], -0.01);
  EXPECT_EQ(c["verdict"], "within noise");
  EXPECT_EQ(c["non_inferior"], false);
  EXPECT_FALSE(report.passed());
  EXPECT_DOUBLE_EQ(c["size_ratio"], 1.75);
  EXPECT_DOUBLE_EQ(c["agreement"]["identical_verdicts"], 37.0 / 40);
  EXPECT_DOUBLE_EQ(c["agreement"]["identical_text"], 37.0 / 40);
  ASSERT_EQ(c["regressions"].size(), 2u);
  EXPECT_EQ(c["regressions"][0]["index"], 25);
  EXPECT_EQ(c["regressions"][0]["first_difference"], 9);
  EXPECT_EQ(c["regressions"][0]["prediction_a"], "It reads Word25");
  ASSERT_EQ(c["gains"].size(), 1u);
  EXPECT_EQ(c["gains"][0]["index"], 3);
  ASSERT_EQ(c["types"].size(), 10u);
  EXPECT_EQ(c["types"][6]["b"], 2);
  EXPECT_DOUBLE_EQ(c["types"][6]["p"], 0.5);
  EXPECT_DOUBLE_EQ(c["types"][6]["p_holm"], 1);
  EXPECT_EQ(c["groups"][1]["d"], -0.5);
  // Images 12 and 13 lose one row of two each: however they are drawn, half is lost.
  EXPECT_EQ(c["groups"][1]["low"], -0.5);
  EXPECT_EQ(c["groups"][1]["high"], -0.5);
}

size_t count(std::string_view text, std::string_view part) {
  size_t n = 0;
  for (size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++n;
  return n;
}

TEST_F(Report, PageOfAComparison) {
  const std::string page = compare_results(a(), b()).to_html();
  EXPECT_TRUE(page.starts_with("<!doctype html>"));
  EXPECT_TRUE(page.ends_with("</html>\n"));
  // Two were lost and one was gained; four more were missed by both.
  EXPECT_EQ(count(page, "<article class=\"case\" data-is=\"lost\""), 2u);
  EXPECT_EQ(count(page, "<article class=\"case\" data-is=\"gained\""), 1u);
  EXPECT_EQ(count(page, "<article class=\"case\" data-is=\"missed\""), 4u);
  EXPECT_EQ(count(page, "<img"), 0u);
  EXPECT_EQ(page.find("http"), std::string::npos);  // It loads nothing.
  EXPECT_EQ(page.find('\x1b'), std::string::npos);
}

TEST_F(Report, PageOfOneRunWithItsPictures) {
  std::vector<Sample> samples = forty_rows();
  fs::create_directories(folder_.path() / "images");
  fs::copy_file(test::repo_dir() / "tests/data/images/rgb.png", folder_.path() / "images/3.png");
  test::write_text(folder_.path() / "images/11.png", "damaged");
  Json rows = Json::array();
  for (const Sample& s : samples) {
    const std::string image = s.index == 11 ? "11.png" : "3.png";
    rows.push_back({{"dataset", s.dataset},
                    {"type", s.type},
                    {"question", s.question},
                    {"answers", s.answers},
                    {"image_path", image}});
  }
  test::write_text(folder_.path() / "OCRBench.json", rows.dump());
  const std::string page = report_results(a()).to_html(folder_.path());
  EXPECT_EQ(count(page, "<article class=\"case\""), 5u);
  EXPECT_EQ(count(page, "src=\"data:image/png;base64,"), 4u);
}

TEST_F(Report, NothingOfARunIsMarkup) {
  std::vector<Sample> samples = forty_rows();
  samples[0].question = "<script>alert('q')</script> | [a](b)";
  samples[0].type = "T\"><b>";
  const fs::path path = run(
      "<i>m</i>", [](const Sample&) { return plain("</dd><img src=x>"); }, 35'000'000, samples);
  const EvaluationReport report = report_results(path);
  const std::string page = report.to_html();
  EXPECT_EQ(page.find("alert('q')</script>"), std::string::npos);
  EXPECT_EQ(page.find("<img"), std::string::npos);
  EXPECT_EQ(page.find("T\"><b>"), std::string::npos);
  EXPECT_EQ(page.find("<i>m"), std::string::npos);
  const std::string markdown = report.to_markdown();
  EXPECT_EQ(markdown.find("<script"), markdown.find("\\<script") + 1);
  EXPECT_NE(markdown.find("\\| \\[a\\](b)"), std::string::npos);
}

TEST_F(Report, MarkdownOfBoth) {
  const std::string one = report_results(a()).to_markdown();
  EXPECT_TRUE(one.starts_with("# OCRBench: tiny\n"));
  EXPECT_NE(one.find("| **All** | 35 | 40 |"), std::string::npos) << one;
  EXPECT_NE(one.find("| 8 | error |"), std::string::npos) << one;
  const std::string two = compare_results(a(), b()).to_markdown();
  EXPECT_TRUE(two.starts_with("# OCRBench: tiny-awq beside tiny\n"));
  EXPECT_NE(two.find("| **All** | 40 | 35 | 34 | -1 | 2 | 1 |"), std::string::npos) << two;
  EXPECT_NE(two.find("| 25 | lost |"), std::string::npos) << two;
}

TEST_F(Report, TableForSpreadsheets) {
  const std::string one = report_results(a()).to_csv();
  EXPECT_EQ(count(one, "\r\n"), 41u);
  EXPECT_NE(one.find("24,\"First\",\"Scene Text-centric VQA\""), std::string::npos) << one;
  const std::string two = compare_results(a(), b()).to_csv();
  EXPECT_NE(two.find("25,"), std::string::npos);
  const fs::path path = run(
      "formula", [](const Sample&) { return plain("=1+\"2\""); }, 1);
  EXPECT_NE(report_results(path).to_csv().find("\"'=1+\"\"2\"\"\""), std::string::npos);
}

TEST_F(Report, ChangesAsLines) {
  const std::string lines = compare_results(a(), b()).changes_jsonl();
  EXPECT_EQ(std::ranges::count(lines, '\n'), 3);
  const Json first = Json::parse(lines.substr(0, lines.find('\n')));
  EXPECT_EQ(first["kind"], "regression");
  EXPECT_EQ(first["index"], 25);
  EXPECT_NE(lines.find("\"kind\":\"gain\""), std::string::npos);
}

TEST_F(Report, SameInputSameBytes) {
  const fs::path x = a();
  const fs::path y = b();
  EXPECT_EQ(compare_results(x, y).to_json(), compare_results(x, y).to_json());
  EXPECT_NE(compare_results(x, y, {.resamples = 100, .seed = 1}).to_json(),
            compare_results(x, y, {.resamples = 100, .seed = 2}).to_json());
}

TEST_F(Report, VerdictFollowsTheInterval) {
  const auto wrong = [](const Sample& sample) {
    return plain(sample.index % 2 == 0 ? "no" : "It reads " + sample.answers[0]);
  };
  const auto right = [](const Sample& sample) { return plain("It reads " + sample.answers[0]); };
  const fs::path good = run("good", right, 1);
  const fs::path bad = run("bad", wrong, 1);
  Json c = parsed(compare_results(good, bad))["comparison"];
  EXPECT_EQ(c["verdict"], "regression");
  EXPECT_EQ(c["non_inferior"], false);
  EXPECT_EQ(c["bootstrap"]["high"], -0.5);
  c = parsed(compare_results(bad, good))["comparison"];
  EXPECT_EQ(c["verdict"], "improvement");
  EXPECT_EQ(c["non_inferior"], true);
  c = parsed(compare_results(good, good))["comparison"];
  EXPECT_EQ(c["verdict"], "within noise");
  EXPECT_EQ(c["non_inferior"], true);
  EXPECT_EQ(c["agreement"]["mean_edit_distance"], 0);
  // Half the rows are 500 points of 1000: the margin is not reached, it has to be exceeded.
  EXPECT_TRUE(compare_results(good, bad, {.margin = 501}).passed());
  EXPECT_FALSE(compare_results(good, bad, {.margin = 500}).passed());
  EXPECT_THROW(compare_results(good, bad, {.margin = -1}), Error);
}

TEST_F(Report, ManyDiscordantRowsHaveAChiSquare) {
  const auto never = [](const Sample&) { return plain("no"); };
  const auto always = [](const Sample& sample) { return plain(sample.answers[0]); };
  const fs::path x = run("always", always, 1);
  const fs::path y = run("never", never, 1);
  const Json json = parsed(compare_results(x, y));
  EXPECT_DOUBLE_EQ(json["comparison"]["mcnemar_chi2"], 39.0 * 39 / 40);
  EXPECT_EQ(json["a"]["wilson"][1], 1);
  EXPECT_EQ(json["b"]["wilson"][0], 0);
  EXPECT_EQ(json["b"]["warnings"].size(), 11u);  // As a whole, and each type.
}

TEST_F(Report, RowsOfOneRunOnlyAreLeftOut) {
  const std::vector<Sample> all = forty_rows();
  const std::vector<Sample> front(all.begin(), all.begin() + 30);
  const std::vector<Sample> back(all.begin() + 28, all.end());
  const fs::path x = run("front", reference, 1, front);
  const fs::path y = run("back", reference, 1, back);
  const EvaluationReport report = compare_results(x, y);
  const Json c = parsed(report)["comparison"];
  EXPECT_EQ(c["n"], 2);
  EXPECT_EQ(c["only_in_a"].size(), 28u);
  EXPECT_EQ(c["only_in_b"].size(), 10u);
  EXPECT_NE(report.to_text().find("only A has (28), rows that only B has (10)"), std::string::npos);
  const fs::path z = run("end", reference, 1, {all.begin() + 30, all.end()});
  EXPECT_THROW(compare_results(x, z), Error);
}

TEST_F(Report, RunsOverOtherQuestionsCannotBeCompared) {
  std::vector<Sample> other = forty_rows();
  other[5].answers = {"something else"};
  const fs::path x = a();
  EXPECT_THROW(compare_results(x, run("other", reference, 1, other)), Error);
  other = forty_rows();
  other[5].question = "why?";
  EXPECT_THROW(compare_results(x, run("another", reference, 1, other), {.force = true}), Error);
}

TEST_F(Report, OtherSettingsNeedForce) {
  const fs::path x = a();
  settings_["settings"]["max_new_tokens"] = 100;
  settings_["precision"] = "fast";  // What answers may differ: that is what is compared.
  const fs::path y = b();
  try {
    compare_results(x, y);
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::bad_input);
    EXPECT_NE(std::string(e.what()).find("settings.max_new_tokens: 256 against 100"),
              std::string::npos)
        << e.what();
    EXPECT_EQ(std::string(e.what()).find("precision"), std::string::npos);
  }
  const EvaluationReport forced = compare_results(x, y, {.force = true});
  const Json differences = parsed(forced)["comparison"]["setting_differences"];
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0]["key"], "settings.max_new_tokens");
  EXPECT_NE(forced.to_text().find("max_new_tokens differs: 256 against 100"), std::string::npos);
}

TEST_F(Report, UnfinishedRunsCountMissingRowsAsMissed) {
  const fs::path path = run(
      "half",
      [](const Sample& sample) {
        if (sample.index == 12) throw Error(ErrorCode::interrupted, "stop");
        return plain(sample.answers[0]);
      },
      1);
  const Json run = parsed(report_results(path))["run"];
  EXPECT_EQ(run["score"], 12);
  EXPECT_EQ(run["max"], 40);
  EXPECT_EQ(run["missing"], 28);
  EXPECT_EQ(run["types"][9]["missing"], 4);
  EXPECT_NE(run["warnings"][0].get<std::string>().find("28 of 40 rows are missing"),
            std::string::npos);
}

TEST_F(Report, AnUnfinishedCandidateDoesNotPass) {
  const auto stops = [](const Sample& sample) {
    if (sample.index == 12) throw Error(ErrorCode::interrupted, "stop");
    return reference(sample);
  };
  const fs::path whole = a();
  const fs::path part = run("part", stops, 1);
  const EvaluationReport report = compare_results(whole, part);
  EXPECT_FALSE(report.passed());
  EXPECT_EQ(parsed(report)["comparison"]["verdict"], "within noise");
  EXPECT_FALSE(parsed(report)["comparison"]["non_inferior"]);
  EXPECT_NE(text(report).find("not passed: B may lose 10 points of 1000, and is not finished"),
            std::string::npos);
  EXPECT_EQ(text(report).find("missing and count as missed"), std::string::npos);
  // What the reference has not answered cannot be lost.
  EXPECT_TRUE(compare_results(part, whole).passed());
}

TEST_F(Report, ARunWithoutRows) {
  const fs::path path = folder_.path() / "empty.jsonl";
  test::write_text(path, "{\"kind\":\"run\",\"format\":1}\n");
  const EvaluationReport report = report_results(path);
  const Json run = parsed(report)["run"];
  EXPECT_EQ(run["max"], 0);
  EXPECT_TRUE(run["percent"].is_null());
  EXPECT_TRUE(run["throughput"]["tokens_per_s"].is_null());
  EXPECT_TRUE(run["model_bytes"].is_null());
  EXPECT_NE(report.to_text().find("0 of 0 (- %)"), std::string::npos);
}

// A file without a plan is complete as it stands; types that OCRBench does not have form a group.
TEST_F(Report, AFileWithoutPlanAndWithStrangeTypes) {
  std::vector<Sample> samples = forty_rows();
  samples[0].type = "Speech";
  std::string lines = test::read_text(run("odd", reference, 1, samples));
  lines = "{\"kind\":\"run\",\"format\":1}" + lines.substr(lines.find('\n'));
  const fs::path path = folder_.path() / "odd2.jsonl";
  test::write_text(path, lines);
  const Json run = parsed(report_results(path))["run"];
  EXPECT_EQ(run["max"], 40);
  ASSERT_EQ(run["groups"].size(), 6u);
  EXPECT_EQ(run["groups"][5]["name"], "Other");
  EXPECT_EQ(run["types"][10]["name"], "Speech");
}

TEST_F(Report, FilesThatContradictThemselves) {
  const std::string lines = test::read_text(a());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = lines;
    text.replace(text.find(from), from.size(), to);
    const fs::path path = folder_.path() / "edited.jsonl";
    test::write_text(path, text);
    return path;
  };
  EXPECT_THROW(report_results(with("\"rows\":2", "\"rows\":1")), Error);
  EXPECT_THROW(report_results(with("\"rule\":\"official\"", "\"rule\":\"mine\"")), Error);
  const Json run = parsed(report_results(with("It reads Word0\",\"hit\"", "no\",\"hit\"")))["run"];
  EXPECT_NE(run["warnings"].back().get<std::string>().find("claims 35 hits, its outputs score 34"),
            std::string::npos);
}

}  // namespace
}  // namespace squint::eval
