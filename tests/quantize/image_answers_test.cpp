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
    return {file(), *model_, [this](const ImageQuestion& question) {
              const std::string name = fs::path(question.name).filename().string();
              if (name == stop_at_) throw Error(ErrorCode::interrupted, "stopped");
              asked_ += name;
              return "reads " + question.bytes;
            }};
  }
  static std::string read(ImageAnswers& answers, const fs::path& image,
                          const std::string& prompt = "what?") {
    return answers.read({.path = image}, prompt);
  }

  test::TempDir dir_;
  std::optional<io::Checkpoint> model_;
  std::string asked_;
  std::string stop_at_ = "none";
};

TEST_F(ImageAnswersTest, AnswersAreKeptFromRunToRun) {
  ImageAnswers first = answers();
  EXPECT_EQ(read(first, image("a")), "reads a");
  EXPECT_EQ(read(first, image("b")), "reads b");
  EXPECT_EQ(read(first, image("a")), "reads a");
  EXPECT_EQ(asked_, "ab");
  first.save();
  ImageAnswers second = answers();
  EXPECT_EQ(read(second, image("b")), "reads b");
  EXPECT_EQ(read(second, image("c")), "reads c");
  EXPECT_EQ(asked_, "abc");
  second.save();
  second.remove();
  EXPECT_FALSE(fs::exists(file()));
}

TEST_F(ImageAnswersTest, AnInterruptionKeepsWhatIsThere) {
  stop_at_ = "b";
  ImageAnswers first = answers();
  read(first, image("a"));
  EXPECT_TRUE(says(error_of(ErrorCode::interrupted, [&] { read(first, image("b")); }),
                   "interrupted; 1 answers are kept in " + file().string()));
  stop_at_ = "none";
  ImageAnswers second = answers();
  read(second, image("a"));
  EXPECT_EQ(asked_, "a");
}

TEST_F(ImageAnswersTest, ImagesAreKnownByTheirContent) {
  ImageAnswers kept = answers();
  read(kept, image("a"));
  test::write_text(image("b"), "a");
  EXPECT_EQ(read(kept, image("b")), "reads a");
  test::write_text(image("a"), "new");
  EXPECT_EQ(read(kept, image("a")), "reads new");
  EXPECT_EQ(asked_, "aa");
}

TEST_F(ImageAnswersTest, AnotherModelIsAskedAnew) {
  ImageAnswers first = answers();
  read(first, image("a"));
  first.save();
  open_model(8);
  ImageAnswers second = answers();
  read(second, image("a"));
  EXPECT_EQ(asked_, "aa");
}

TEST_F(ImageAnswersTest, SomebodysFileIsLeftAlone) {
  test::write_text(file(), "my notes\n");
  ImageAnswers kept = answers();
  const std::string message = error_of(ErrorCode::bad_input, [&] { read(kept, image("a")); });
  EXPECT_TRUE(says(message, "out.answers.jsonl line 1"));
  EXPECT_TRUE(says(message, "move the file away"));
  EXPECT_EQ(test::read_text(file()), "my notes\n");
  // One that was not asked for an answer is nobody's business.
  answers().remove();
  EXPECT_TRUE(fs::exists(file()));
}

}  // namespace
}  // namespace squint::quantize
