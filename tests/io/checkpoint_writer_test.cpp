#include "io/checkpoint_writer.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <csignal>
#include <nlohmann/json.hpp>
#include <string>
#include <utility>
#include <vector>

#include "io/as_nobody.h"
#include "io/checkpoint.h"
#include "io/error_of.h"
#include "io/tiny_disk.h"
#include "support/paths.h"

namespace squint::io {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

std::vector<std::string> files_in(const fs::path& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) names.push_back(entry.path().filename());
  std::ranges::sort(names);
  return names;
}

Tensor bytes_tensor(int64_t count, uint8_t value) {
  const std::vector<uint8_t> values(static_cast<size_t>(count), value);
  return Tensor::copy_of<uint8_t>(values, {count});
}

// 40, 40, 100, 10 and 50 bytes, added in another order than that of their names.
void add_five(CheckpointWriter& writer) {
  writer.add({"e", bytes_tensor(50, 5)});
  writer.add({"a", bytes_tensor(40, 1)});
  writer.add({"c", bytes_tensor(100, 3)});
  writer.add({"b", bytes_tensor(40, 2)});
  writer.add({"d", bytes_tensor(10, 4)});
}

TEST(CheckpointWriter, SmallCheckpointsAreOneFile) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  CheckpointWriter writer(out);
  add_five(writer);
  writer.write_side_file(kConfigFileName, "{}");
  EXPECT_FALSE(fs::exists(out));
  writer.publish(240);
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
  EXPECT_EQ(files_in(out), (std::vector<std::string>{kConfigFileName, kSingleFileName}));
  const Checkpoint checkpoint = Checkpoint::open(out);
  EXPECT_EQ(checkpoint.get("c").span<const uint8_t>()[99], 3);
}

TEST(CheckpointWriter, WhatIsSaidOfTheWeightsAppearsWithThem) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  CheckpointWriter writer(out);
  add_five(writer);
  writer.write_side_file(kConfigFileName, "{}");
  writer.write_weights(240);
  EXPECT_FALSE(fs::exists(out));
  const uintmax_t bytes = fs::file_size(writer.working_folder() / kSingleFileName);
  writer.write_side_file("size.txt", std::to_string(bytes));
  EXPECT_THROW(writer.write_weights(240), InternalError);
  writer.publish(240);
  EXPECT_EQ(files_in(out),
            (std::vector<std::string>{kConfigFileName, kSingleFileName, "size.txt"}));
  EXPECT_EQ(test::read_text(out / "size.txt"),
            std::to_string(fs::file_size(out / kSingleFileName)));
}

TEST(CheckpointWriter, ShardsAreFilledGreedilyInTheOrderOfNames) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  CheckpointWriter writer(out, 80);
  add_five(writer);
  writer.write_side_file(kConfigFileName, "{}");
  writer.publish(777);
  EXPECT_EQ(test::read_text(out / kIndexFileName), R"({
  "metadata": {
    "total_parameters": 777,
    "total_size": 240
  },
  "weight_map": {
    "a": "model-00001-of-00003.safetensors",
    "b": "model-00001-of-00003.safetensors",
    "c": "model-00002-of-00003.safetensors",
    "d": "model-00003-of-00003.safetensors",
    "e": "model-00003-of-00003.safetensors"
  }
}
)");
  const Checkpoint checkpoint = Checkpoint::open(out);
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a", "b", "c", "d", "e"}));
  EXPECT_EQ(checkpoint.get("e").span<const uint8_t>()[49], 5);
  EXPECT_EQ(checkpoint.tensor_bytes(), 240);
}

TEST(CheckpointWriter, TheSameTensorsGiveTheSameBytes) {
  const test::TempDir dir;
  CheckpointWriter first(dir.path() / "first", 80);
  add_five(first);
  first.publish(1);
  CheckpointWriter second(dir.path() / "second", 80);
  for (const auto& [name, size, value] :
       {std::tuple{"a", 40, 1}, {"b", 40, 2}, {"c", 100, 3}, {"d", 10, 4}, {"e", 50, 5}}) {
    second.add({name, bytes_tensor(size, static_cast<uint8_t>(value))});
  }
  second.publish(1);
  const std::vector<std::string> files = files_in(dir.path() / "first");
  EXPECT_EQ(files.size(), 4u);
  EXPECT_EQ(files_in(dir.path() / "second"), files);
  for (const std::string& file : files) {
    EXPECT_EQ(test::read_text(dir.path() / "first" / file),
              test::read_text(dir.path() / "second" / file))
        << file;
  }
}

StreamedTensor in_pieces(const std::string& name, const Tensor& tensor, size_t piece) {
  StreamedTensor out = streamed({name, tensor});
  out.produce = [whole = out.produce, piece](const StreamedTensor::Sink& sink) {
    whole([&](std::span<const std::byte> bytes) {
      for (; !bytes.empty(); bytes = bytes.subspan(std::min(piece, bytes.size()))) {
        sink(bytes.first(std::min(piece, bytes.size())));
      }
    });
  };
  return out;
}

TEST(CheckpointWriter, StreamedTensorsAreWrittenLikeThoseInMemory) {
  const test::TempDir dir;
  CheckpointWriter held(dir.path() / "held", 80);
  CheckpointWriter made(dir.path() / "made", 80);
  for (const auto& [name, size] : {std::pair{"a", 40}, {"b", 40}, {"c", 100}}) {
    held.add({name, bytes_tensor(size, 7)});
    made.add(in_pieces(name, bytes_tensor(size, 7), 9));
  }
  held.publish(1);
  made.publish(1);
  for (const std::string& file : files_in(dir.path() / "held")) {
    EXPECT_EQ(test::read_text(dir.path() / "held" / file),
              test::read_text(dir.path() / "made" / file))
        << file;
  }
}

TEST(CheckpointWriter, AStreamThatFailsLeavesNothing) {
  const test::TempDir dir;
  const std::string said = error_of(ErrorCode::interrupted, [&] {
    CheckpointWriter writer(dir.path() / "out");
    StreamedTensor tensor = streamed({"a", bytes_tensor(40, 1)});
    tensor.produce = [](const StreamedTensor::Sink& sink) {
      sink(std::as_bytes(std::span("half")));
      throw Error(ErrorCode::interrupted, "stopped");
    };
    writer.add(std::move(tensor));
    writer.publish(1);
  });
  EXPECT_TRUE(says(said, "stopped"));
  EXPECT_TRUE(files_in(dir.path()).empty());
}

TEST(CheckpointWriter, AStreamMustHaveTheBytesItsShapeSays) {
  for (const size_t bytes : {39, 41}) {
    const test::TempDir dir;
    CheckpointWriter writer(dir.path() / "out");
    StreamedTensor tensor = streamed({"a", bytes_tensor(40, 1)});
    tensor.produce = [&](const StreamedTensor::Sink& sink) { sink(std::vector<std::byte>(bytes)); };
    writer.add(std::move(tensor));
    EXPECT_THROW(writer.publish(1), InternalError) << bytes;
  }
}

TEST(CheckpointWriter, CopiesEveryFileThatIsNeitherWeightsNorIndexNorHidden) {
  const test::TempDir dir;
  const fs::path source = dir.path() / "source";
  fs::create_directories(source / "folder.json");
  for (const char* name : {"config.json", "tokenizer.json", "chat_template.jinja", "modeling.py",
                           "model.safetensors", "model.safetensors.index.json", "pytorch_model.bin",
                           "pytorch_model.bin.index.json", "x.gguf", ".hidden"}) {
    test::write_text(source / name, name);
  }
  test::write_text(source / "empty.txt", "");
  test::write_text(dir.path() / "blob", "linked");
  fs::create_symlink(dir.path() / "blob", source / "vocab.json");
  fs::create_symlink(dir.path() / "nowhere", source / "broken.json");

  const fs::path out = dir.path() / "out";
  CheckpointWriter writer(out);
  writer.write_side_file("config.json", "ours");
  writer.copy_side_files(source);
  writer.write_side_file("modeling.py", "ours too");
  writer.add({"a", bytes_tensor(1, 1)});
  writer.publish(1);
  EXPECT_EQ(files_in(out),
            (std::vector<std::string>{"chat_template.jinja", "config.json", "empty.txt",
                                      "model.safetensors", "modeling.py", "tokenizer.json",
                                      "vocab.json"}));
  EXPECT_EQ(test::read_text(out / "config.json"), "ours");
  EXPECT_EQ(test::read_text(out / "modeling.py"), "ours too");
  EXPECT_EQ(test::read_text(out / "tokenizer.json"), "tokenizer.json");
  EXPECT_EQ(test::read_text(out / "vocab.json"), "linked");
  EXPECT_FALSE(fs::is_symlink(out / "vocab.json"));
}

TEST(CheckpointWriter, WithoutPublishNothingStays) {
  const test::TempDir dir;
  {
    CheckpointWriter writer(dir.path() / "out");
    writer.add({"a", bytes_tensor(1, 1)});
    writer.write_side_file(kConfigFileName, "{}");
    EXPECT_TRUE(fs::exists(writer.working_folder() / kConfigFileName));
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(CheckpointWriter, EmptyFolderIsFilledAndParentsAreMade) {
  const test::TempDir dir;
  fs::create_directory(dir.path() / "empty");
  for (const char* name : {"empty", "new/deep/", "./dots"}) {
    CheckpointWriter writer(dir.path() / name);
    writer.add({"a", bytes_tensor(1, 1)});
    writer.publish(1);
    EXPECT_TRUE(fs::exists(dir.path() / name / kSingleFileName)) << name;
  }
}

TEST(CheckpointWriter, OccupiedFolderIsRefusedAndUntouched) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  fs::create_directory(out);
  test::write_text(out / "mine", "precious");
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { CheckpointWriter writer(out); }),
                   "exists and is not empty"));
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { CheckpointWriter writer(out / "mine"); }),
                   "exists and is not empty"));
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
  EXPECT_EQ(test::read_text(out / "mine"), "precious");
}

TEST(CheckpointWriter, FolderFilledMeanwhileIsRefusedAndUntouched) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  {
    CheckpointWriter writer(out);
    writer.add({"a", bytes_tensor(1, 1)});
    fs::create_directory(out);
    test::write_text(out / "other", "result");
    EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { writer.publish(1); }),
                     "exists and is not empty"));
  }
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
  EXPECT_EQ(files_in(out), std::vector<std::string>{"other"});
}

TEST(CheckpointWriter, TwoWritersOfOneFolderAreRefused) {
  const test::TempDir dir;
  CheckpointWriter first(dir.path() / "out");
  EXPECT_TRUE(
      says(error_of(ErrorCode::bad_input, [&] { CheckpointWriter second(dir.path() / "out"); }),
           "another writer is filling it"));
  first.add({"a", bytes_tensor(1, 1)});
  first.publish(1);
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
}

// Begins to fill `out` in a process that ends without cleaning up.
void die_writing(const fs::path& out) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    CheckpointWriter writer(out);
    writer.write_side_file("stale", "half a file");
    fs::create_directory(writer.working_folder() / "folder");
    test::write_text(writer.working_folder() / "folder" / "stale", "more");
    raise(SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFSIGNALED(status));
}

// Twice: a later process may well have the same id.
TEST(CheckpointWriter, WhatAKilledWriterLeftIsReplaced) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  die_writing(out);
  die_writing(out);
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out.partial"});
  EXPECT_TRUE(is_vacant(out));
  CheckpointWriter writer(out);
  EXPECT_TRUE(fs::is_empty(writer.working_folder()));
  writer.add({"a", bytes_tensor(1, 1)});
  writer.publish(1);
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
  EXPECT_EQ(files_in(out), std::vector<std::string>{kSingleFileName});
}

TEST(CheckpointWriter, WhatStandsInTheWorkingFoldersPlaceIsUntouched) {
  const test::TempDir dir;
  fs::create_directory(dir.path() / "elsewhere");
  test::write_text(dir.path() / "elsewhere" / "mine", "precious");
  fs::create_directory_symlink(dir.path() / "elsewhere", dir.path() / "out.partial");
  EXPECT_TRUE(
      says(error_of(ErrorCode::io, [&] { CheckpointWriter writer(dir.path() / "out"); }), "open"));
  EXPECT_EQ(test::read_text(dir.path() / "elsewhere" / "mine"), "precious");
  test::write_text(dir.path() / "file.partial", "precious");
  error_of(ErrorCode::io, [&] { CheckpointWriter writer(dir.path() / "file"); });
  EXPECT_EQ(test::read_text(dir.path() / "file.partial"), "precious");
}

TEST(IsVacant, SaysWhatAWriterWouldAccept) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  EXPECT_TRUE(is_vacant(out));
  fs::create_directory(out);
  EXPECT_TRUE(is_vacant(out));
  fs::create_directory(out / ".partial");
  test::write_text(out / ".partial" / "x", "x");
  EXPECT_TRUE(is_vacant(out));
  test::write_text(out / "x", "x");
  EXPECT_FALSE(is_vacant(out));
  EXPECT_FALSE(is_vacant(out / "x"));
}

TEST(IsVacant, UnreadableFolderIsAnIoError) {
  const test::TempDir dir;
  fs::create_directories(dir.path() / "closed" / "out");
  ASSERT_EQ(chmod((dir.path() / "closed").c_str(), 0), 0);
  const test::AsNobody nobody;
  if (!nobody.ok()) GTEST_SKIP() << test::kNoNobody;
  for (const char* name : {"closed", "closed/out"}) {
    EXPECT_TRUE(
        says(error_of(ErrorCode::io, [&] { is_vacant(dir.path() / name); }), "Permission denied"))
        << name;
  }
}

TEST(CheckpointWriter, MissingSourceIsAnIoError) {
  const test::TempDir dir;
  CheckpointWriter writer(dir.path() / "out");
  EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { writer.copy_side_files(dir.path() / "none"); }),
                   "No such file"));
}

TEST(CheckpointWriter, UnwritableParentIsAnIoError) {
  const test::TempDir dir;
  ASSERT_EQ(chmod(dir.path().c_str(), 0555), 0);
  const test::AsNobody nobody;
  if (!nobody.ok()) GTEST_SKIP() << test::kNoNobody;
  for (const char* name : {"out", "new/out"}) {
    EXPECT_TRUE(says(error_of(ErrorCode::io, [&] { CheckpointWriter writer(dir.path() / name); }),
                     "Permission denied"));
  }
}

TEST(CheckpointWriter, FullDiskSaysWhatIsNeededAndLeavesNothingBehind) {
  const test::TempDir dir;
  const test::TinyDisk disk(dir.path());
  if (!disk.ok()) GTEST_SKIP() << test::kNoMount;
  {
    CheckpointWriter writer(dir.path() / "out");
    writer.add({"a", bytes_tensor(1 << 20, 1)});
    const std::string message = error_of(ErrorCode::io, [&] { writer.publish(1); });
    EXPECT_TRUE(says(message, "the disk is full; 1048576 bytes are needed"));
  }
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

// The volume of a container: neither can it be renamed, nor is there room for a folder beside it.
TEST(CheckpointWriter, MountPointIsFilled) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  fs::create_directory(out);
  const test::TinyDisk disk(out);
  if (!disk.ok()) GTEST_SKIP() << test::kNoMount;
  {
    CheckpointWriter abandoned(out);
    abandoned.write_side_file(kConfigFileName, "{}");
  }
  EXPECT_TRUE(fs::is_empty(out));
  CheckpointWriter writer(out, 100);
  add_five(writer);
  writer.write_side_file(kConfigFileName, "{}");
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
  writer.publish(240);
  EXPECT_EQ(files_in(out).size(), 5u);
  EXPECT_EQ(Checkpoint::open(out).tensor_bytes(), 240);
}

TEST(CheckpointWriter, WhatAKilledWriterLeftInAMountPointIsReplaced) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  fs::create_directory(out);
  const test::TinyDisk disk(out);
  if (!disk.ok()) GTEST_SKIP() << test::kNoMount;
  die_writing(out);
  EXPECT_EQ(files_in(out), std::vector<std::string>{".partial"});
  EXPECT_TRUE(is_vacant(out));
  CheckpointWriter writer(out);
  error_of(ErrorCode::bad_input, [&] { CheckpointWriter second(out); });
  writer.add({"a", bytes_tensor(1, 1)});
  writer.publish(1);
  EXPECT_EQ(files_in(out), std::vector<std::string>{kSingleFileName});
}

// The volume of a container that was killed, seen from outside.
TEST(CheckpointWriter, WhatWasLeftInsideAPlainFolderIsReplaced) {
  const test::TempDir dir;
  const fs::path out = dir.path() / "out";
  fs::create_directories(out / ".partial");
  test::write_text(out / ".partial" / "stale", "half a file");
  CheckpointWriter writer(out);
  writer.add({"a", bytes_tensor(1, 1)});
  writer.publish(1);
  EXPECT_EQ(files_in(dir.path()), std::vector<std::string>{"out"});
  EXPECT_EQ(files_in(out), std::vector<std::string>{kSingleFileName});
}

TEST(CheckpointWriter, MisuseIsABug) {
  const test::TempDir dir;
  EXPECT_THROW(CheckpointWriter(dir.path() / "x", 0), InternalError);
  CheckpointWriter empty(dir.path() / "empty");
  EXPECT_THROW(empty.publish(1), InternalError);
  CheckpointWriter twice(dir.path() / "twice");
  twice.add({"a", bytes_tensor(1, 1)});
  twice.add({"a", bytes_tensor(1, 1)});
  EXPECT_THROW(twice.publish(1), InternalError);
  CheckpointWriter done(dir.path() / "done");
  done.add({"a", bytes_tensor(1, 1)});
  done.publish(1);
  EXPECT_THROW(done.publish(1), InternalError);
  EXPECT_THROW(done.write_side_file("late", "x"), InternalError);
}

}  // namespace
}  // namespace squint::io
