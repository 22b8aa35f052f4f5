#include "quantize/image_answers.h"

#include <gtest/gtest.h>

#include <optional>
#include <string>

#include "io/error_of.h"
#include "support/paths.h"
#include "support/tiny_checkpoint.h"

namespace squint::quantize {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

class ImageAnswersTest : public ::testing::Test {
 protected:
  ImageAnswersTest() {
    open_model(7);
    for (const char* name : {"a", "b", "c"}) test::write_text(image(name), name);
  }
  void open_model(uint64_t seed) {
    fs::create_directories(dir_.path() / "model");
    test::tiny_checkpoint(seed).write(dir_.path() / "model");
    model_.emplace(io::Checkpoint::open(dir_.path() / "model"));
  }
  fs::path image(const std::string& name) const { return dir_.path() / name; }
  fs::path file() const { return dir_.path() / "out.answers.jsonl"; }
  ImageAnswers answers() {
    return {file(), *model_, [this](const fs::path& path, const std::string& prompt) {
              EXPECT_EQ(prompt, kReadingPrompt);
              if (path.filename() == stop_at_) throw Error(ErrorCode::interrupted, "stopped");
              asked_ += path.filename().string();
              return "reads " + test::read_text(path);
            }};
  }

  test::TempDir dir_;
  std::optional<io::Checkpoint> model_;
  std::string asked_;
  std::string stop_at_ = "none";
};

TEST_F(ImageAnswersTest, AnswersAreKeptFromRunToRun) {
  ImageAnswers first = answers();
  EXPECT_EQ(first.read(image("a")), "reads a");
  EXPECT_EQ(first.read(image("b")), "reads b");
  EXPECT_EQ(first.read(image("a")), "reads a");
  EXPECT_EQ(asked_, "ab");
  first.save();
  ImageAnswers second = answers();
  EXPECT_EQ(second.read(image("b")), "reads b");
  EXPECT_EQ(second.read(image("c")), "reads c");
  EXPECT_EQ(asked_, "abc");
  second.save();
  second.remove();
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(ImageAnswersTest, AnInterruptionKeepsWhatIsThere) {
  stop_at_ = "b";
  ImageAnswers first = answers();
  first.read(image("a"));
  EXPECT_TRUE(says(error_of(ErrorCode::interrupted, [&] { first.read(image("b")); }),
                   "interrupted; 1 answers are kept in " + file().string()));
  stop_at_ = "none";
  ImageAnswers second = answers();
  second.read(image("a"));
  EXPECT_EQ(asked_, "a");
}

TEST_F(ImageAnswersTest, ImagesAreKnownByTheirContent) {
  ImageAnswers kept = answers();
  kept.read(image("a"));
  test::write_text(image("b"), "a");
  EXPECT_EQ(kept.read(image("b")), "reads a");
  test::write_text(image("a"), "new");
  EXPECT_EQ(kept.read(image("a")), "reads new");
  EXPECT_EQ(asked_, "aa");
}

TEST_F(ImageAnswersTest, AnotherModelIsAskedAnew) {
  ImageAnswers first = answers();
  first.read(image("a"));
  first.save();
  open_model(8);
  ImageAnswers second = answers();
  second.read(image("a"));
  EXPECT_EQ(asked_, "aa");
}

TEST_F(ImageAnswersTest, SomebodysFileIsLeftAlone) {
  test::write_text(file(), "my notes\n");
  ImageAnswers kept = answers();
  const std::string message = error_of(ErrorCode::bad_input, [&] { kept.read(image("a")); });
  EXPECT_TRUE(says(message, "out.answers.jsonl line 1"));
  EXPECT_TRUE(says(message, "move the file away"));
  EXPECT_EQ(test::read_text(file()), "my notes\n");
  // One that was not asked for an answer is nobody's business.
  answers().remove();
  EXPECT_TRUE(fs::exists(file()));
}

}  // namespace
}  // namespace squint::quantize
