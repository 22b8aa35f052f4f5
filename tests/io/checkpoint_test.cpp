#include "io/checkpoint.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/as_nobody.h"
#include "io/error_of.h"
#include "io/safetensors.h"
#include "support/paths.h"

namespace squint::io {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

Tensor filled(float value, int64_t count = 4) {
  const std::vector<float> values(static_cast<size_t>(count), value);
  return Tensor::copy_of<float>(values, {count});
}

// Two shards: a.weight and b.weight in the first, c.weight in the second.
void write_sharded(const fs::path& folder) {
  test::write_text(folder / kConfigFileName, "{\"model_type\": \"qwen3_vl\"}");
  write_safetensors(folder / "one.safetensors", {{"a.weight", filled(1)}, {"b.weight", filled(2)}});
  write_safetensors(folder / "two.safetensors", {{"c.weight", filled(3, 2)}});
  test::write_text(folder / kIndexFileName, R"({"metadata": {}, "weight_map": {
    "c.weight": "two.safetensors", "a.weight": "one.safetensors", "b.weight": "one.safetensors"}})");
}

void write_index(const fs::path& folder, const std::string& weight_map) {
  test::write_text(folder / kIndexFileName, "{\"weight_map\": " + weight_map + "}");
}

std::string open_error(ErrorCode code, const fs::path& folder) {
  return error_of(code, [&] { Checkpoint::open(folder); });
}

TEST(Checkpoint, ShardedTensorsAreFoundByName) {
  const test::TempDir dir;
  write_sharded(dir.path());
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint.names(), (std::vector<std::string>{"a.weight", "b.weight", "c.weight"}));
  EXPECT_EQ(checkpoint.get("b.weight").span<const float>()[3], 2.0f);
  EXPECT_EQ(checkpoint.find("c.weight")->span<const float>()[1], 3.0f);
  EXPECT_EQ(checkpoint.find("d.weight"), nullptr);
  EXPECT_EQ(checkpoint.shard_of("a.weight"), "one.safetensors");
  EXPECT_EQ(checkpoint.shard_of("c.weight"), "two.safetensors");
  EXPECT_EQ(checkpoint.tensor_bytes(), (4 + 4 + 2) * 4);
  EXPECT_EQ(checkpoint.config().at("model_type"), "qwen3_vl");
  EXPECT_EQ(checkpoint.config_text(), "{\"model_type\": \"qwen3_vl\"}");
  EXPECT_EQ(checkpoint.folder(), dir.path());
}

TEST(Checkpoint, SingleFileWinsOverAnIndex) {
  const test::TempDir dir;
  write_sharded(dir.path());
  write_safetensors(dir.path() / kSingleFileName, {{"only", filled(9)}});
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint.names(), std::vector<std::string>{"only"});
  EXPECT_EQ(checkpoint.shard_of("only"), kSingleFileName);
}

TEST(Checkpoint, TensorsThatTheIndexDoesNotNameAreNotPartOfIt) {
  const test::TempDir dir;
  write_sharded(dir.path());
  write_index(dir.path(), R"({"a.weight": "one.safetensors"})");
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint.find("b.weight"), nullptr);
  EXPECT_EQ(checkpoint.tensor_bytes(), 16);
}

TEST(Checkpoint, SideFilesAreOptional) {
  const test::TempDir dir;
  write_sharded(dir.path());
  test::write_text(dir.path() / "generation_config.json", "{}");
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  EXPECT_EQ(checkpoint.side_file("generation_config.json"), "{}");
  EXPECT_EQ(checkpoint.side_file("preprocessor_config.json"), std::nullopt);
}

TEST(Checkpoint, TensorsOutliveTheCheckpoint) {
  const test::TempDir dir;
  write_sharded(dir.path());
  const Tensor kept = Checkpoint::open(dir.path()).get("a.weight");
  EXPECT_EQ(kept.span<const float>()[0], 1.0f);
}

TEST(Checkpoint, AbsentTensorNamesSimilarOnes) {
  const test::TempDir dir;
  write_sharded(dir.path());
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  const std::string message = error_of(ErrorCode::bad_input, [&] { checkpoint.get("a.weights"); });
  EXPECT_TRUE(says(message, "no tensor \"a.weights\" among its 3"));
  EXPECT_TRUE(says(message, "similar ones are \"a.weight\""));
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { checkpoint.shard_of("lm_head.bias"); }),
                   "another model"));
}

TEST(Checkpoint, AbsentTensorOfAQuantizedLayerSaysSo) {
  const test::TempDir dir;
  test::write_text(dir.path() / kConfigFileName, "{}");
  write_safetensors(dir.path() / kSingleFileName, {{"q.weight_packed", filled(1)}});
  const Checkpoint checkpoint = Checkpoint::open(dir.path());
  EXPECT_TRUE(says(error_of(ErrorCode::bad_input, [&] { checkpoint.get("q.weight"); }),
                   "the layer is quantized"));
}

TEST(Checkpoint, MissingFolderAndFileInItsPlace) {
  const test::TempDir dir;
  EXPECT_TRUE(says(open_error(ErrorCode::io, dir.path() / "none"), "no such folder"));
  test::write_text(dir.path() / "file", "x");
  EXPECT_TRUE(says(open_error(ErrorCode::bad_input, dir.path() / "file"), "found a file"));
}

TEST(Checkpoint, ConfigMustBeThereAndAnObject) {
  const test::TempDir dir;
  write_sharded(dir.path());
  fs::remove(dir.path() / kConfigFileName);
  EXPECT_TRUE(says(open_error(ErrorCode::io, dir.path()), "there is no config.json"));
  test::write_text(dir.path() / kConfigFileName, "{\"model_type\":");
  EXPECT_TRUE(says(open_error(ErrorCode::bad_input, dir.path()), "config.json: not valid JSON"));
  test::write_text(dir.path() / kConfigFileName, "[]");
  EXPECT_TRUE(says(open_error(ErrorCode::bad_input, dir.path()), "expected an object"));
}

TEST(Checkpoint, NeitherWeightsNorIndex) {
  const test::TempDir dir;
  test::write_text(dir.path() / kConfigFileName, "{}");
  const std::string message = open_error(ErrorCode::io, dir.path());
  EXPECT_TRUE(says(message, kSingleFileName));
  EXPECT_TRUE(says(message, kIndexFileName));
}

TEST(Checkpoint, AllMissingShardsAreListed) {
  const test::TempDir dir;
  write_sharded(dir.path());
  write_index(dir.path(), R"({"a.weight": "one.safetensors", "b.weight": "three.safetensors",
                              "c.weight": "four.safetensors"})");
  const std::string message = open_error(ErrorCode::io, dir.path());
  EXPECT_TRUE(says(message, "2 of 3 shards"));
  EXPECT_TRUE(says(message, "four.safetensors, three.safetensors; incomplete download?"));
}

TEST(Checkpoint, ShardsMustHoldWhatTheIndexSays) {
  const test::TempDir dir;
  write_sharded(dir.path());
  std::string map = R"({"a.weight": "one.safetensors")";
  for (int i = 0; i < 10; ++i) {
    map += ", \"x" + std::to_string(i) + "\": \"two.safetensors\"";
  }
  write_index(dir.path(), map + "}");
  const std::string message = open_error(ErrorCode::bad_input, dir.path());
  EXPECT_TRUE(says(message, "\"x0\", \"x1\""));
  EXPECT_TRUE(says(message, "and 2 more"));
  EXPECT_TRUE(says(message, "two.safetensors lacks the first"));
}

TEST(Checkpoint, DamagedIndexesAreNamed) {
  const test::TempDir dir;
  write_sharded(dir.path());
  for (const char* map : {"[]", "{}", "1", R"({"a.weight": 1})", R"({"a.weight": ""})",
                          R"({"a.weight": ".."})", R"({"a.weight": "../one.safetensors"})",
                          R"({"a.weight": "/etc/passwd"})", R"({"a.weight": "one\u0000two"})"}) {
    write_index(dir.path(), map);
    EXPECT_TRUE(says(open_error(ErrorCode::bad_input, dir.path()), kIndexFileName)) << map;
  }
  test::write_text(dir.path() / kIndexFileName, "{}");
  EXPECT_TRUE(says(open_error(ErrorCode::bad_input, dir.path()), "\"weight_map\" is missing"));
}

TEST(Checkpoint, DamagedShardIsNamed) {
  const test::TempDir dir;
  write_sharded(dir.path());
  fs::resize_file(dir.path() / "two.safetensors",
                  fs::file_size(dir.path() / "two.safetensors") - 1);
  EXPECT_TRUE(says(open_error(ErrorCode::bad_input, dir.path()), "two.safetensors: tensor \"c"));
}

TEST(Checkpoint, UnreadableFolderIsAnIoError) {
  const test::TempDir dir;
  write_sharded(dir.path());
  ASSERT_EQ(chmod(dir.path().c_str(), 0), 0);
  {
    const test::AsNobody nobody;
    if (!nobody.ok()) GTEST_SKIP() << test::kNoNobody;
    EXPECT_TRUE(says(open_error(ErrorCode::io, dir.path()), "Permission denied"));
  }
  chmod(dir.path().c_str(), 0700);
}

}  // namespace
}  // namespace squint::io
