#include "quantize/journal.h"

#include <gtest/gtest.h>

#include <array>
#include <string>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::quantize {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

QuantizedBlock example(int64_t layer) {
  const std::array<float, 3> values = {1.5f, -2.0f, static_cast<float>(layer)};
  QuantizedBlock block;
  block.tensors.push_back({"t", Tensor::copy_of<float>(values, {3})});
  block.linears.push_back({.module = "m", .error = 0.25, .plain_error = 0.5});
  block.smoothing.push_back({.layer = layer,
                             .group = "norm → q, k, v",
                             .ratio = 0.35,
                             .duo = true,
                             .loss = 1e-7,
                             .identity_loss = 3e-7,
                             .rolled_back = true});
  block.scales = {{-17, 3}, {-16, 1'000'000'000'000}};
  return block;
}

class JournalTest : public ::testing::Test {
 protected:
  Journal journal(const std::string& identity = "this run") const {
    return {dir_.path() / "out", identity};
  }
  fs::path file(int64_t layer) const {
    return folder_ / ("layer-0000" + std::to_string(layer) + ".safetensors");
  }
  void write_layers(int64_t count) const {
    for (int64_t layer = 0; layer < count; ++layer) journal().write(layer, example(layer));
  }

  test::TempDir dir_;
  fs::path folder_ = dir_.path() / "out.journal";
};

TEST_F(JournalTest, LayersComeBackWithTheirReports) {
  write_layers(2);
  EXPECT_FALSE(journal().find(2));
  const std::optional<QuantizedBlock> found = journal().find(1);
  ASSERT_TRUE(found);
  ASSERT_EQ(found->tensors.size(), 1u);
  EXPECT_EQ(found->tensors[0].name, "t");
  EXPECT_EQ(found->tensors[0].tensor.span<const float>()[2], 1.0f);
  ASSERT_EQ(found->linears.size(), 1u);
  EXPECT_EQ(found->linears[0].module, "m");
  EXPECT_EQ(found->linears[0].plain_error, 0.5);
  ASSERT_EQ(found->smoothing.size(), 1u);
  EXPECT_EQ(found->smoothing[0].group, "norm → q, k, v");
  EXPECT_EQ(found->smoothing[0].ratio, 0.35);
  EXPECT_TRUE(found->smoothing[0].duo);
  EXPECT_EQ(found->smoothing[0].identity_loss, 3e-7);
  EXPECT_TRUE(found->smoothing[0].rolled_back);
  EXPECT_EQ(found->scales, example(1).scales);
}

TEST_F(JournalTest, ADamagedLayerIsNotFinished) {
  write_layers(3);
  EXPECT_EQ(journal().finished(3), 3);
  EXPECT_EQ(journal().finished(2), 2);
  fs::resize_file(file(2), fs::file_size(file(2)) - 5);
  EXPECT_EQ(journal().finished(3), 2);
  EXPECT_FALSE(journal().find(2));
  fs::resize_file(file(0), 0);
  EXPECT_EQ(journal().finished(3), 0);
  EXPECT_TRUE(journal().find(1));
}

TEST_F(JournalTest, AnotherRunBeginsAnew) {
  write_layers(2);
  // What a process that was killed while writing leaves behind goes too.
  test::write_text(folder_ / ".layer-00002.safetensors.partial-12-0", "half");
  test::write_text(folder_ / ".journal.json.partial-12-1", "half");
  EXPECT_EQ(journal("another run").finished(2), 0);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder_), fs::directory_iterator()), 1);
  EXPECT_EQ(journal().finished(2), 0);
}

TEST_F(JournalTest, ItIsRemovedWhole) {
  write_layers(2);
  journal().remove();
  EXPECT_FALSE(fs::exists(folder_));
}

TEST_F(JournalTest, WhatOthersPutThereStays) {
  for (const char* name : {"notes.txt", ".env", "layer-00001.txt", "journal.json.backup",
                           "sub/layer-00001.safetensors"}) {
    const test::TempDir dir;
    const fs::path theirs = dir.path() / "out.journal" / name;
    fs::create_directories(theirs.parent_path());
    test::write_text(theirs, "keep");
    const std::string message =
        error_of(ErrorCode::bad_input, [&] { Journal(dir.path() / "out", "this run"); });
    EXPECT_TRUE(says(message, "out.journal: holds ")) << name;
    EXPECT_EQ(test::read_text(theirs), "keep");
  }
  test::write_text(folder_, "keep");
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { journal(); }), "is no folder"));
  EXPECT_EQ(test::read_text(folder_), "keep");
}

TEST_F(JournalTest, RemovingSparesWhatWasAddedMeanwhile) {
  write_layers(1);
  test::write_text(folder_ / "notes.txt", "keep");
  journal().remove();
  EXPECT_EQ(test::read_text(folder_ / "notes.txt"), "keep");
  EXPECT_FALSE(fs::exists(file(0)));
}

TEST_F(JournalTest, AFolderThatCannotBeCreated) {
  test::write_text(dir_.path() / "file", "");
  error_of(ErrorCode::io, [&] { Journal(dir_.path() / "file/out", "this run"); });
}

}  // namespace
}  // namespace squint::quantize
