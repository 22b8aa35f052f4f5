#include "eval/ocrbench.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <functional>

#include "squint/error.h"
#include "support/paths.h"

namespace squint::eval {
namespace {
namespace fs = std::filesystem;

// A folder with one image, IIIT5K/a.png, below `images`.
class OcrBench : public ::testing::Test {
 protected:
  void SetUp() override { put("images/IIIT5K/a.png"); }

  void put(const fs::path& image) {
    fs::create_directories((folder_.path() / image).parent_path());
    test::write_text(folder_.path() / image, "pixels");
  }
  std::vector<Sample> load(const std::string& json) {
    test::write_text(folder_.path() / "OCRBench.json", json);
    return load_ocrbench(folder_.path());
  }
  // The message of the Error(code) that loading throws.
  std::string failure(const std::string& json, ErrorCode code = ErrorCode::bad_input) {
    try {
      load(json);
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), code) << e.what();
      return e.what();
    }
    ADD_FAILURE() << "loaded: " << json;
    return "";
  }

  test::TempDir folder_;
};

constexpr const char* kRow =
    R"({"dataset_name":"IIIT5K","id":2843,"image_path":"IIIT5K/a.png","question":"what?",)"
    R"("answers":"CENTRE","type":"Regular Text Recognition"})";

std::string with(const std::string& from, const std::string& to) {
  std::string row = kRow;
  return "[" + row.replace(row.find(from), from.size(), to) + "]";
}

TEST_F(OcrBench, ReadsARow) {
  const auto samples = load(std::string("[") + kRow + "," + kRow + "]");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].index, 0);
  EXPECT_EQ(samples[1].index, 1);
  EXPECT_EQ(samples[0].source_id, 2843);
  EXPECT_EQ(samples[0].dataset, "IIIT5K");
  EXPECT_EQ(samples[0].type, "Regular Text Recognition");
  EXPECT_EQ(samples[0].question, "what?");
  EXPECT_EQ(samples[0].answers, std::vector<std::string>{"CENTRE"});
  EXPECT_EQ(samples[0].image.path, folder_.path() / "images/IIIT5K/a.png");
  EXPECT_EQ(samples[0].image_key, "IIIT5K/a.png");
}

TEST_F(OcrBench, ReadsOtherSpellings) {
  const auto samples =
      load(R"([{"dataset":"D","image_path":"IIIT5K/a.png","question":"q","answer":["x","y"],)"
           R"("question_type":"T","extra":null}])");
  EXPECT_EQ(samples[0].source_id, -1);
  EXPECT_EQ(samples[0].dataset, "D");
  EXPECT_EQ(samples[0].type, "T");
  EXPECT_EQ(samples[0].answers, (std::vector<std::string>{"x", "y"}));
  EXPECT_EQ(load(with("\"type\"", "\"category\""))[0].type, "Regular Text Recognition");
}

TEST_F(OcrBench, TakesTheFileItself) {
  test::write_text(folder_.path() / "rows.json", std::string("[") + kRow + "]");
  EXPECT_EQ(load_ocrbench(folder_.path() / "rows.json").size(), 1u);
}

TEST_F(OcrBench, FindsImagesWhereTheyMayBe) {
  put("HME100K/1.jpg");
  EXPECT_EQ(load(with("IIIT5K/a.png", "HME100k/1.jpg"))[0].image.path,
            folder_.path() / "HME100K/1.jpg");
  put("OCRBench_Images/ct80/x/1.jpg");
  EXPECT_EQ(load(with("IIIT5K/a.png", "CT80/x/1.jpg"))[0].image.path,
            folder_.path() / "OCRBench_Images/ct80/x/1.jpg");
  put("IIIT5K/a.png");  // The spelling as it stands comes first, next to the file before below.
  EXPECT_EQ(load(with("q", "q"))[0].image.path, folder_.path() / "IIIT5K/a.png");
}

TEST_F(OcrBench, SaysWhichImageIsMissing) {
  const std::string message = failure(with("a.png", "b.png"), ErrorCode::io);
  EXPECT_NE(message.find("row 0"), std::string::npos) << message;
  EXPECT_NE(message.find("IIIT5K/b.png"), std::string::npos) << message;
}

TEST_F(OcrBench, ImagesStayInTheirFolder) {
  for (const char* path : {"../a.png", "/etc/passwd", "IIIT5K/../../a.png", "", "a\\u0000b"}) {
    EXPECT_NE(failure(with("IIIT5K/a.png", path)).find("image_path"), std::string::npos) << path;
  }
}

TEST_F(OcrBench, SaysWhatIsWrongWithARow) {
  for (const char* key : {"dataset_name", "image_path", "question", "answers", "type"}) {
    const std::string message = failure(with('"' + std::string(key) + '"', "\"other\""));
    EXPECT_NE(message.find("OCRBench.json row 0"), std::string::npos) << message;
    EXPECT_NE(message.find(key), std::string::npos) << message;
  }
  for (const char* answers : {"[]", "[\"a\",3]", "7", "null", "\" \\n\"", "[\"a\",\"\"]"}) {
    EXPECT_NE(failure(with("\"CENTRE\"", answers)).find("answers"), std::string::npos) << answers;
  }
  EXPECT_NE(failure(with("2843", "\"x\"")).find("id"), std::string::npos);
  EXPECT_NE(failure(with("\"what?\"", "5")).find("question"), std::string::npos);
  failure("[]");
  failure("{}");
  failure("[5]");
  failure("[");
  failure("");
}

TEST_F(OcrBench, MissingFile) {
  try {
    load_ocrbench(folder_.path() / "nowhere");
    FAIL();
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::io);
  }
}

TEST(OcrBenchTypes, GroupsAndFormulas) {
  EXPECT_EQ(group_of("Digit String Recognition"), "Text Recognition");
  EXPECT_EQ(group_of("Doc-oriented VQA"), "Doc-oriented VQA");
  EXPECT_EQ(group_of("Speech"), kOtherGroup);
  EXPECT_TRUE(is_formula("HME100k", "anything"));
  EXPECT_TRUE(is_formula("SynthHandwritten", kFormulaType));
  EXPECT_FALSE(is_formula("IAM", "Handwriting Recognition"));
  int64_t rows = 0;
  for (const QuestionType& type : question_types()) rows += type.official_rows;
  EXPECT_EQ(rows, 1000);
}

TEST(OcrBenchTypes, CompleteMeansEveryTypeHasItsRows) {
  std::vector<RowCount> counts;
  for (const QuestionType& type : question_types()) {
    counts.push_back({std::string(type.name), "first", type.official_rows - 5});
    counts.push_back({std::string(type.name), "second", 5});
  }
  EXPECT_TRUE(is_complete(counts));
  counts[0].rows += 1;
  EXPECT_FALSE(is_complete(counts));
  counts[0].rows -= 1;
  counts.push_back({"Speech", "third", 1});
  EXPECT_FALSE(is_complete(counts));
  EXPECT_FALSE(is_complete({}));
}

TEST(OcrBenchTypes, CountsInOrderOfAppearance) {
  std::vector<Sample> samples(3);
  samples[0].type = samples[2].type = "b";
  samples[1].type = "a";
  EXPECT_EQ(count_rows(samples), (std::vector<RowCount>{{"b", "", 2}, {"a", "", 1}}));
}

}  // namespace
}  // namespace squint::eval
