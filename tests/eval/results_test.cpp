#include "eval/results.h"

#include <gtest/gtest.h>
#include <sys/resource.h>

#include <csignal>
#include <nlohmann/json.hpp>

#include "squint/error.h"
#include "support/paths.h"

namespace squint::eval {
namespace {
namespace fs = std::filesystem;

ResultRow example(int64_t index) {
  ResultRow row;
  row.index = index;
  row.dataset = "IIIT5K";
  row.type = "Regular Text Recognition";
  row.question = "what is written in the image?";
  row.answers = {"CENTRE", "Center"};
  row.image_key = "IIIT5K/a.png";
  row.prediction_raw = "<think>\n</think>A \"Center\"\n";
  row.prediction_scored = "A \"Center\"\n";
  row.hit = true;
  row.hit_answer = 1;
  row.normalized_prediction = "a \"center\"";
  row.prompt_tokens = 120;
  row.image_tokens = 100;
  row.output_tokens = 9;
  row.finish_reason = "stop";
  row.ms_prefill = 12.5;
  row.ms_decode = 0.1;
  return row;
}

Json example_header() {
  return {{"settings", {{"rule", "official"}, {"max_new_tokens", 256}}},
          {"about", {{"started", "today"}}},
          {"model_name", "tiny"},
          {"model_bytes", 1000}};
}

// The message of the Error(code) that `act` throws.
template <class Act>
std::string failure(ErrorCode code, const Act& act) {
  try {
    act();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), code) << e.what();
    return e.what();
  }
  ADD_FAILURE() << "nothing thrown";
  return "";
}

bool has(const std::string& text, std::string_view part) {
  return text.find(part) != std::string::npos;
}

// Other programs read these bytes. If this test fails, the file format has changed.
TEST(Results, LinesArePinned) {
  EXPECT_EQ(header_line(example_header()),
            R"({"kind":"run","format":1,"about":{"started":"today"},"model_bytes":1000,)"
            R"("model_name":"tiny","settings":{"max_new_tokens":256,"rule":"official"}})"
            "\n");
  EXPECT_EQ(row_line(example(7)),
            R"({"index":7,"dataset":"IIIT5K","type":"Regular Text Recognition",)"
            R"("question":"what is written in the image?","answers":["CENTRE","Center"],)"
            R"("image_key":"IIIT5K/a.png","prediction_raw":"<think>\n</think>A \"Center\"\n",)"
            R"("prediction_scored":"A \"Center\"\n","hit":1,"hit_answer":1,)"
            R"("normalized_prediction":"a \"center\"","prompt_tokens":120,"image_tokens":100,)"
            R"("output_tokens":9,"finish_reason":"stop","ms_prefill":12.5,"ms_decode":0.1,)"
            R"("error":null})"
            "\n");
}

TEST(Results, RowsComeBackSortedAndWhole) {
  ResultRow failed = example(2);
  failed.hit = false;
  failed.hit_answer = -1;
  failed.finish_reason = "error";
  failed.error = "image: no";
  const std::string text = header_line(example_header()) + row_line(example(7)) + row_line(failed);
  const ResultsFile file = parse_results(text, "r");
  ASSERT_EQ(file.rows.size(), 2u);
  EXPECT_FALSE(file.torn);
  EXPECT_EQ(file.intact_bytes, static_cast<int64_t>(text.size()));
  EXPECT_EQ(file.rows[0].index, 2);
  EXPECT_EQ(row_line(file.rows[0]), row_line(failed));
  EXPECT_EQ(row_line(file.rows[1]), row_line(example(7)));
}

TEST(Results, ATornLastLineIsLeftOut) {
  const std::string whole = header_line(example_header()) + row_line(example(0));
  const std::string next = row_line(example(1));
  for (size_t keep = 1; keep < next.size(); ++keep) {
    const ResultsFile file = parse_results(whole + next.substr(0, keep), "r");
    ASSERT_TRUE(file.torn);
    ASSERT_EQ(file.rows.size(), 1u);
    ASSERT_EQ(file.intact_bytes, static_cast<int64_t>(whole.size()));
  }
}

TEST(Results, BytesThatAreNoTextAreReplaced) {
  ResultRow row = example(0);
  row.prediction_raw = "a\xFF";
  EXPECT_EQ(parse_results(header_line({}) + row_line(row), "r").rows[0].prediction_raw, "a\uFFFD");
}

TEST(Results, ReaderNamesLineAndFault) {
  const std::string head = header_line(example_header());
  const auto fault = [&](const std::string& text) {
    return failure(ErrorCode::bad_input, [&] { parse_results(text, "r.jsonl"); });
  };
  EXPECT_TRUE(has(fault(""), "r.jsonl"));
  EXPECT_TRUE(has(fault("{\"kind\":\"run\",\"format\":1}"), "no complete line"));
  EXPECT_TRUE(has(fault("{\"kind\":\"walk\"}\n"), "r.jsonl line 1"));
  EXPECT_TRUE(has(fault("[]\n"), "line 1"));
  EXPECT_TRUE(has(fault("{\"kind\":\"run\",\"format\":2}\n"), "format"));
  EXPECT_TRUE(has(fault("{\"kind\":\"run\",\"format\":1,\"settings\":3}\n"), "settings"));
  EXPECT_TRUE(has(fault("{\"kind\":\"run\",\"format\":1,\"model_bytes\":-3}\n"), "model_bytes"));
  EXPECT_TRUE(has(fault(head + row_line(example(1)) + "{oops}\n"), "r.jsonl line 3"));
  EXPECT_TRUE(has(fault(head + "\n" + row_line(example(1))), "line 2"));
  EXPECT_TRUE(has(fault(head + row_line(example(1)) + row_line(example(1))), "already in line 2"));
}

TEST(Results, ReaderChecksEveryMember) {
  const auto fault = [&](const std::string& from, const std::string& to) {
    std::string row = row_line(example(1));
    const size_t at = row.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    row.replace(at, from.size(), to);
    return failure(ErrorCode::bad_input,
                   [&] { parse_results(header_line(example_header()) + row, "r"); });
  };
  for (const char* key :
       {"index", "dataset", "type", "question", "answers", "prediction_raw", "prediction_scored",
        "hit", "hit_answer", "normalized_prediction", "prompt_tokens", "image_tokens",
        "output_tokens", "finish_reason", "ms_prefill", "ms_decode"}) {
    const std::string quoted = '"' + std::string(key) + '"';
    EXPECT_TRUE(has(fault(quoted + ":", "\"x\":"), key)) << key;
    EXPECT_TRUE(has(fault(quoted + ":", quoted + ":{},\"x\":"), key)) << key;
  }
  fault("\"index\":1", "\"index\":-1");
  fault("\"index\":1", "\"index\":9223372036854775808");
  fault("\"answers\":[\"CENTRE\",\"Center\"]", "\"answers\":[]");
  // Sums over all rows must not overflow.
  for (const char* tokens :
       {"\"prompt_tokens\":120", "\"image_tokens\":100", "\"output_tokens\":9"}) {
    const std::string key(tokens, std::string_view(tokens).find(':') + 1);
    EXPECT_TRUE(has(fault(tokens, key + "9223372036854775807"), "should be at most 4294967296"));
  }
  fault("\"hit\":1", "\"hit\":2");
  fault("\"hit\":1", "\"hit\":0");                // A miss that names an answer.
  fault("\"hit_answer\":1", "\"hit_answer\":2");  // There are two.
  fault("\"hit_answer\":1", "\"hit_answer\":null");
  fault("\"stop\"", "\"done\"");
  fault("\"stop\"", "\"error\"");  // A failed row cannot be a hit.
  fault("12.5", "-1");
  fault("12.5", "1e999");
}

TEST(Results, PlanIsChecked) {
  Json header = example_header();
  header["plan"] = {{{"type", "a"}, {"dataset", "d"}, {"rows", 3}}};
  EXPECT_EQ(plan_of(parse_json(parse_results(header_line(header), "r").header, "r")),
            (std::vector<RowCount>{{"a", "d", 3}}));
  const auto fault = [&](const Json& plan) {
    header["plan"] = plan;
    failure(ErrorCode::bad_input, [&] { parse_results(header_line(header), "r"); });
  };
  const Json part = {{"type", "a"}, {"dataset", "d"}, {"rows", INT64_MAX}};
  Json other = part;
  other["type"] = "b";
  fault(Json::array({part, other}));
  fault(Json::array({part, part}));
  fault(5);
  fault(Json::array({5}));
}

TEST(Results, HeaderDifferencesAreListed) {
  Json a = example_header();
  Json b = a;
  b["about"] = {{"started", "tomorrow"}};
  EXPECT_TRUE(header_differences(a, b).empty());
  b["settings"]["rule"] = "lmms";
  b["settings"].erase("max_new_tokens");
  b["precision"] = "fast";
  const auto differences = header_differences(a, b);
  ASSERT_EQ(differences.size(), 3u);
  EXPECT_EQ(differences[0].key, "precision");
  EXPECT_EQ(differences[0].expected, "nothing");
  EXPECT_EQ(differences[0].found, "\"fast\"");
  EXPECT_EQ(differences[1].key, "settings.max_new_tokens");
  EXPECT_EQ(differences[1].found, "nothing");
  EXPECT_EQ(differences[2].key, "settings.rule");
}

class Writer : public ::testing::Test {
 protected:
  test::TempDir folder_;
  fs::path path_ = folder_.path() / "results.jsonl";
};

TEST_F(Writer, BeginsAndContinues) {
  {
    ResultsWriter writer(path_, example_header());
    EXPECT_TRUE(writer.finished().empty());
    writer.append(example(3));
    // On disk at once: whoever kills the process now loses nothing.
    EXPECT_EQ(test::read_text(path_), header_line(example_header()) + row_line(example(3)));
  }
  Json later = example_header();
  later["about"]["started"] = "tomorrow";
  ResultsWriter writer(path_, later);
  ASSERT_EQ(writer.finished().size(), 1u);
  writer.append(example(1));
  EXPECT_EQ(read_results(path_).rows.size(), 2u);
}

TEST_F(Writer, CutsATornLine) {
  const std::string whole = header_line(example_header()) + row_line(example(0));
  test::write_text(path_, whole + "{\"index\":1,\"da");
  ResultsWriter writer(path_, example_header());
  EXPECT_EQ(test::read_text(path_), whole);
  writer.append(example(1));
  EXPECT_EQ(test::read_text(path_), whole + row_line(example(1)));
}

TEST_F(Writer, BeginsAgainAfterATornHeader) {
  for (const char* begun : {"", "{\"ki", "{\"kind\":\"run\",\"format\":1,\"ab"}) {
    test::write_text(path_, begun);
    ResultsWriter writer(path_, example_header());
    EXPECT_EQ(test::read_text(path_), header_line(example_header()));
  }
}

TEST_F(Writer, LeavesAStrangersFileAlone) {
  for (const char* text : {"my notes", "my notes\n", "{\"kind\":\"report\"}\n"}) {
    test::write_text(path_, text);
    failure(ErrorCode::bad_input, [&] { ResultsWriter writer(path_, example_header()); });
    EXPECT_EQ(test::read_text(path_), text);
  }
}

TEST_F(Writer, RefusesOtherSettings) {
  { ResultsWriter writer(path_, example_header()); }
  Json other = example_header();
  other["settings"]["max_new_tokens"] = 100;
  other["model_name"] = "large";
  const std::string message =
      failure(ErrorCode::bad_input, [&] { ResultsWriter writer(path_, other); });
  EXPECT_TRUE(has(message, "settings.max_new_tokens: expected 100, found 256")) << message;
  EXPECT_TRUE(has(message, "model_name: expected \"large\", found \"tiny\"")) << message;
}

TEST_F(Writer, MakesItsFolder) {
  const fs::path path = folder_.path() / "new" / "folder" / "r.jsonl";
  { ResultsWriter writer(path, example_header()); }
  EXPECT_EQ(test::read_text(path), header_line(example_header()));
  ResultsWriter again(path, example_header());
}

TEST_F(Writer, RefusesASecondWriter) {
  ResultsWriter writer(path_, example_header());
  failure(ErrorCode::io, [&] { ResultsWriter second(path_, example_header()); });
}

TEST_F(Writer, RefusesWhatIsNoFile) {
  failure(ErrorCode::io, [&] { ResultsWriter writer(folder_.path(), example_header()); });
  test::write_text(folder_.path() / "file", "");
  failure(ErrorCode::io,
          [&] { ResultsWriter writer(folder_.path() / "file/r", example_header()); });
  failure(ErrorCode::io, [&] { ResultsWriter writer("/dev/null", example_header()); });
  failure(ErrorCode::bad_input, [&] { read_results(folder_.path()); });
  failure(ErrorCode::io, [&] { read_results(path_); });
}

// A limit on the size of files stands in for a full disk.
TEST_F(Writer, AFullDiskLeavesWholeLines) {
  ResultsWriter writer(path_, example_header());
  writer.append(example(0));
  const std::string whole = test::read_text(path_);
  rlimit before{};
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &before), 0);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit tight{static_cast<rlim_t>(whole.size() + 20), before.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &tight), 0);
  const std::string message = failure(ErrorCode::io, [&] { writer.append(example(1)); });
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &before), 0);
  std::signal(SIGXFSZ, handler);
  EXPECT_TRUE(has(message, "results.jsonl")) << message;
  EXPECT_EQ(test::read_text(path_), whole);
}

}  // namespace
}  // namespace squint::eval
