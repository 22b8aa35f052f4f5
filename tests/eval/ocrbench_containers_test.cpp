#include "eval/ocrbench_containers.h"

#include <gtest/gtest.h>

#include "io/error_of.h"
#include "io/fingerprint.h"
#include "support/paths.h"

namespace squint::eval {
namespace {
namespace fs = std::filesystem;

using test::error_of;
using test::says;

// 66 characters: longer than an index.
const std::string kImage = "aW1hZ2Ugb25lIGltYWdlIG9uZSBpbWFnZSBvbmUgaW1hZ2Ugb25lIGltYWdlIG9uZQ==";
const std::string kImageBytes = "image one image one image one image one image one";

class Tsv : public ::testing::Test {
 protected:
  std::vector<Sample> load(const std::string& text) {
    test::write_text(dir_.path() / "OCRBench.tsv", text);
    return load_ocrbench(dir_.path());
  }
  std::string refusal(const std::string& text) {
    return error_of(ErrorCode::bad_input, [&] { load(text); });
  }
  test::TempDir dir_;
};

TEST_F(Tsv, ColumnsInAnyOrder) {
  const auto samples = load(
      "index\tcategory\tanswer\textra\tquestion\timage\n7\tDoc-oriented VQA\t\"['164', "
      "'39']\"\t\t" +
      std::string("\"how much?\"\t") + kImage + "\n8\tT\tplain\t\tq\t7\n");
  ASSERT_EQ(samples.size(), 2u);
  EXPECT_EQ(samples[0].index, 0);
  EXPECT_EQ(samples[0].type, "Doc-oriented VQA");
  EXPECT_EQ(samples[0].question, "how much?");
  EXPECT_EQ(samples[0].answers, (std::vector<std::string>{"164", "39"}));
  EXPECT_EQ(samples[0].image.bytes(), kImageBytes);
  EXPECT_EQ(samples[0].image_key, io::sha256(kImageBytes));
  EXPECT_EQ(samples[1].answers, std::vector<std::string>{"plain"});
  EXPECT_EQ(samples[1].image.bytes(), kImageBytes);  // by the index of the other row
  EXPECT_EQ(samples[1].image_key, samples[0].image_key);
}

TEST_F(Tsv, SaysWhatIsWrongWithARow) {
  const std::string header = "index\timage\tquestion\tanswer\tcategory\n";
  EXPECT_TRUE(says(refusal("index\timage\tquestion\tanswer\n"), "no column \"category\""));
  EXPECT_TRUE(says(refusal(header), "has no rows"));
  EXPECT_TRUE(says(refusal(header + "0\t9\tq\ta\tT\n"), "line 2: the image should be in base64"));
  EXPECT_TRUE(says(refusal(header + "0\t0\tq\ta\tT\n"), "the index of a row that has one"));
  EXPECT_TRUE(
      says(refusal(header + "0\t" + kImage + "?\tq\ta\tT\n"), "line 2, image: expected base64"));
  EXPECT_TRUE(says(refusal(header + "0\t" + kImage + "\tq\t[]\tT\n"), "there is no answer"));
  EXPECT_TRUE(says(refusal(header + "0\t" + kImage + "\tq\t \tT\n"), "blank answer"));
  EXPECT_TRUE(says(refusal(header + "0\t" + kImage + "\tq\ta\tT\n0\t0\tq\ta\tT\n"), "there twice"));
}

TEST(OcrBenchParquet, AsTheHubHasIt) {
  const fs::path file = test::repo_dir() / "tests/data/parquet/ocrbench.parquet";
  const auto samples = load_ocrbench(file);
  ASSERT_EQ(samples.size(), 3u);
  EXPECT_EQ(samples[1].index, 1);
  EXPECT_EQ(samples[1].dataset, "SROIE");
  EXPECT_EQ(samples[1].type, "Key Information Extraction");
  EXPECT_EQ(samples[1].question, "total?");
  EXPECT_EQ(samples[1].answers, (std::vector<std::string>{"164", "39"}));
  EXPECT_EQ(samples[2].answers, std::vector<std::string>{"y_2 = - 1\n"});
  EXPECT_EQ(samples[2].image_key, samples[0].image_key);
  EXPECT_NE(samples[1].image_key, samples[0].image_key);
  for (const size_t row : {2, 0, 1}) {  // in any order
    EXPECT_EQ(io::sha256(samples[row].image.bytes()), samples[row].image_key);
  }
}

TEST(OcrBenchParquet, ShardsInAFolder) {
  const test::TempDir dir;
  fs::create_directories(dir.path() / "data");
  const fs::path file = test::repo_dir() / "tests/data/parquet/ocrbench.parquet";
  fs::copy_file(file, dir.path() / "data/test-00000-of-00002.parquet");
  fs::copy_file(file, dir.path() / "data/test-00001-of-00002.parquet");
  const auto samples = load_ocrbench(dir.path());
  ASSERT_EQ(samples.size(), 6u);
  EXPECT_EQ(samples[4].index, 4);
  EXPECT_EQ(samples[4].dataset, "SROIE");
}

TEST(OcrBenchParquet, AnotherTableIsNamed) {
  const std::string message = error_of(ErrorCode::bad_input, [] {
    load_ocrbench(test::repo_dir() / "tests/data/parquet/chats.parquet");
  });
  EXPECT_TRUE(says(message, "without a column \"dataset\""));
}

TEST(OcrBenchData, AFolderWithoutDataIsNamed) {
  const test::TempDir dir;
  EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { load_ocrbench(dir.path()); }),
                   "expected OCRBench.json, OCRBench.tsv or Parquet files"));
}

}  // namespace
}  // namespace squint::eval
