#include "io/fingerprint.h"

#include <gtest/gtest.h>

#include <set>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "io/safetensors.h"
#include "support/paths.h"

namespace squint::io {
namespace {

// The values of FIPS 180-4's examples.
TEST(Sha256, KnownValues) {
  EXPECT_EQ(sha256(""), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
  EXPECT_EQ(sha256("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  EXPECT_EQ(sha256(std::as_bytes(std::span("abc", 3))), sha256("abc"));
}

TEST(Sha256, OfAFileReadInPieces) {
  const test::TempDir dir;
  const std::string text(9 << 20, 'x');
  test::write_text(dir.path() / "file", text);
  int pieces = 0;
  EXPECT_EQ(sha256_of_file(dir.path() / "file", [&] { ++pieces; }), sha256(text));
  EXPECT_GE(pieces, 3);
  test::write_text(dir.path() / "empty", "");
  EXPECT_EQ(sha256_of_file(dir.path() / "empty"), sha256(""));
  test::error_of(ErrorCode::io, [&] { sha256_of_file(dir.path() / "absent"); });
  test::error_of(ErrorCode::io, [&] { sha256_of_file(dir.path()); });
}

struct Content {
  std::string config = "{}";
  std::string name = "a";
  std::vector<uint8_t> values = std::vector<uint8_t>(100, 7);
  Shape shape = {100};
};

std::string fingerprint_of(const Content& content) {
  const test::TempDir dir;
  write_safetensors(dir.path() / kSingleFileName,
                    {{content.name, Tensor::copy_of<uint8_t>(content.values, content.shape)}});
  test::write_text(dir.path() / kConfigFileName, content.config);
  return fingerprint(Checkpoint::open(dir.path()));
}

TEST(Fingerprint, DependsOnTheContentAlone) {
  EXPECT_EQ(fingerprint_of({}), fingerprint_of({}));
  EXPECT_EQ(fingerprint_of({}).size(), 64u);
}

TEST(Fingerprint, ConfigNamesAndShapesCount) {
  const std::set<std::string> found = {fingerprint_of({}), fingerprint_of({.config = "{ }"}),
                                       fingerprint_of({.name = "b"}),
                                       fingerprint_of({.shape = {10, 10}})};
  EXPECT_EQ(found.size(), 4u);
}

// Sixteen samples of 64 bytes cover tensors of up to 1024 bytes, and reach the end of all.
TEST(Fingerprint, EveryByteOfASmallTensorCounts) {
  for (const int64_t size : {1, 63, 64, 65, 70, 78, 79, 80, 128, 500, 1024}) {
    Content content{.values = std::vector<uint8_t>(static_cast<size_t>(size), 7), .shape = {size}};
    const std::string before = fingerprint_of(content);
    for (const int64_t at : {int64_t{0}, size / 3, size / 2, size - 1}) {
      uint8_t& value = content.values[static_cast<size_t>(at)];
      value = 8;
      EXPECT_NE(fingerprint_of(content), before) << "byte " << at << " of " << size;
      value = 7;
    }
  }
}

TEST(Fingerprint, TheEndOfALargeTensorCounts) {
  Content content{.values = std::vector<uint8_t>(100'003, 7), .shape = {100'003}};
  const std::string before = fingerprint_of(content);
  content.values.back() = 8;
  EXPECT_NE(fingerprint_of(content), before);
}

TEST(Fingerprint, EmptyTensorsHaveNoSamples) {
  EXPECT_NE(fingerprint_of({.values = {}, .shape = {0}}),
            fingerprint_of({.values = {}, .shape = {0, 2}}));
}

}  // namespace
}  // namespace squint::io
