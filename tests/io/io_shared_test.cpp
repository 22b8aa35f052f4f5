// Checkpoints that other programs wrote.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/checkpoint_writer.h"
#include "io/compressed_tensors.h"
#include "support/paths.h"

namespace squint::io {
namespace {

namespace fs = std::filesystem;

class SharedCheckpoints : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!test::shared_data()) GTEST_SKIP() << test::kNoShared;
    data_ = *test::shared_data();
  }
  fs::path data_;
};

std::vector<std::string> packed_modules(const Checkpoint& checkpoint) {
  constexpr std::string_view kEnding = ".weight_packed";
  std::vector<std::string> modules;
  for (const std::string& name : checkpoint.names()) {
    if (name.ends_with(kEnding)) modules.push_back(name.substr(0, name.size() - kEnding.size()));
  }
  return modules;
}

TEST_F(SharedCheckpoints, ShardedModelIsOpened) {
  const Checkpoint checkpoint = Checkpoint::open(data_ / "tiny-qwen3-vl-ocr");
  const Json index = Json::parse(*checkpoint.side_file(kIndexFileName));
  EXPECT_EQ(checkpoint.tensor_bytes(), index.at("metadata").at("total_size").get<int64_t>());
  EXPECT_EQ(checkpoint.names().size(), index.at("weight_map").size());
  EXPECT_EQ(checkpoint.get("lm_head.weight").shape(), Shape({1024, 384}));
  EXPECT_EQ(checkpoint.shard_of("lm_head.weight"), "model-00003-of-00003.safetensors");
  EXPECT_FALSE(find_quantization_config(checkpoint.config(), "config.json").has_value());
}

TEST_F(SharedCheckpoints, WrittenAgainTheyHaveTheSameBytes) {
  const test::TempDir dir;
  int files = 0;
  for (const char* folder : {"tiny-qwen3-vl-ocr", "random-shapes", "llm-compressor-awq"}) {
    for (const auto& entry : fs::directory_iterator(data_ / folder)) {
      if (entry.path().extension() != ".safetensors") continue;
      const SafetensorsFile file(entry.path());
      std::vector<NamedTensor> tensors;
      for (const auto& [name, tensor] : file.tensors()) tensors.push_back({name, tensor});
      write_safetensors(dir.path() / "again", tensors, file.metadata());
      EXPECT_TRUE(test::read_text(dir.path() / "again") == test::read_text(entry.path()))
          << entry.path();
      ++files;
    }
  }
  EXPECT_EQ(files, 5);
}

TEST_F(SharedCheckpoints, QuantizedLayersAreFoundAndPackAgainToTheSameWords) {
  const Checkpoint checkpoint = Checkpoint::open(data_ / "llm-compressor-awq");
  const auto config = find_quantization_config(checkpoint.config(), "config.json");
  ASSERT_TRUE(config.has_value());
  EXPECT_EQ(config->groups.at(0).scheme, QuantizationScheme{});
  EXPECT_EQ(config->groups.at(0).observer, "memoryless_mse");
  const std::vector<std::string> modules = packed_modules(checkpoint);
  EXPECT_EQ(modules.size(), 6u * 7u);
  std::vector<NamedTensor> written;
  for (const std::string& module : modules) {
    const std::optional<PackedLinear> linear = find_packed_linear(checkpoint, module, *config);
    ASSERT_TRUE(linear.has_value()) << module;
    append_packed_linear(written, module,
                         pack_linear(unpack_linear(*linear), config->groups[0].scheme));
  }
  for (const auto& [name, tensor] : written) {
    const Tensor original = checkpoint.get(name);
    ASSERT_EQ(tensor.bytes(), original.bytes()) << name;
    EXPECT_TRUE(std::equal(tensor.raw(), tensor.raw() + tensor.bytes(), original.raw())) << name;
  }
  EXPECT_FALSE(find_packed_linear(checkpoint, "lm_head", *config).has_value());
}

// The only intended difference to the reference's text: two optional keys that old readers refuse,
// and the release that wrote it.
TEST_F(SharedCheckpoints, ConfigIsTheReferencesWithoutTheOptionalKeys) {
  const Checkpoint checkpoint = Checkpoint::open(data_ / "llm-compressor-awq");
  const auto config = find_quantization_config(checkpoint.config(), "config.json");
  Json expected = checkpoint.config().at("quantization_config");
  expected["config_groups"]["group_0"]["weights"].erase("scale_dtype");
  expected["config_groups"]["group_0"]["weights"].erase("zp_dtype");
  expected["version"] = "0.18.0";
  EXPECT_EQ(quantization_config_json(*config), expected.dump(2));
}

TEST_F(SharedCheckpoints, WholeFolderIsWrittenAgain) {
  const test::TempDir dir;
  const Checkpoint source = Checkpoint::open(data_ / "tiny-qwen3-vl-ocr");
  CheckpointWriter writer(dir.path() / "out", 8'000'000);
  for (const std::string& name : source.names()) writer.add({name, source.get(name)});
  writer.copy_side_files(source.folder());
  writer.publish(17'700'000);
  const Checkpoint copy = Checkpoint::open(dir.path() / "out");
  EXPECT_EQ(copy.names(), source.names());
  EXPECT_EQ(copy.config_text(), source.config_text());
  EXPECT_EQ(copy.tensor_bytes(), source.tensor_bytes());
  EXPECT_EQ(copy.side_file("tokenizer.json"), source.side_file("tokenizer.json"));
  for (const auto& entry : fs::directory_iterator(dir.path() / "out")) {
    EXPECT_LT(fs::file_size(entry.path()), 8'100'000u) << entry.path();
  }
}

}  // namespace
}  // namespace squint::io
