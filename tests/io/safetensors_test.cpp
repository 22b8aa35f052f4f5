#include "io/safetensors.h"

#include <gtest/gtest.h>

#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "io/error_of.h"
#include "support/paths.h"

namespace squint::io {
namespace {

namespace fs = std::filesystem;
using test::error_of;
using test::says;

std::string with_length(uint64_t length, const std::string& rest) {
  std::string bytes;
  for (int i = 0; i < 8; ++i) bytes += static_cast<char>(length >> (8 * i) & 255);
  return bytes + rest;
}

std::string file_of(const std::string& header, const std::string& data) {
  return with_length(header.size(), header + data);
}

SafetensorsHeader parse(const std::string& file) {
  return parse_safetensors_header(std::as_bytes(std::span(file)), "x.safetensors");
}

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape,
                  const std::string& offsets) {
  return "\"" + name + "\":{\"dtype\":\"" + dtype + "\",\"shape\":" + shape +
         ",\"data_offsets\":" + offsets + "}";
}

Tensor random_tensor(DType dtype, const Shape& shape, uint32_t seed) {
  Tensor tensor = Tensor::on_host(dtype, shape);
  std::mt19937 random(seed);
  for (int64_t i = 0; i < tensor.bytes(); ++i) tensor.raw()[i] = std::byte(random() & 255);
  return tensor;
}

bool same(const Tensor& a, const Tensor& b) {
  return a.dtype() == b.dtype() && a.shape() == b.shape() &&
         std::memcmp(a.raw(), b.raw(), static_cast<size_t>(a.bytes())) == 0;
}

TEST(SafetensorsHeader, ReadsEntriesInTheOrderOfTheirData) {
  const std::string header =
      "{" + entry("b", "F32", "[2,1]", "[0,8]") + "," + "\"__metadata__\":{\"format\":\"pt\"}," +
      entry("a", "U8", "[]", "[8,9]") + "," + entry("none", "I64", "[3,0]", "[9,9]") + "}  ";
  const SafetensorsHeader parsed = parse(file_of(header, "123456789"));
  ASSERT_EQ(parsed.entries.size(), 3u);
  EXPECT_EQ(parsed.entries[0].name, "b");
  EXPECT_EQ(parsed.entries[0].dtype, DType::f32);
  EXPECT_EQ(parsed.entries[0].shape, Shape({2, 1}));
  EXPECT_EQ(parsed.entries[0].begin, static_cast<int64_t>(8 + header.size()));
  EXPECT_EQ(parsed.entries[1].name, "a");
  EXPECT_EQ(parsed.entries[1].shape.rank(), 0);
  EXPECT_EQ(parsed.entries[1].end, static_cast<int64_t>(8 + header.size() + 9));
  EXPECT_EQ(parsed.entries[2].shape.numel(), 0);
  EXPECT_EQ(parsed.metadata, (std::map<std::string, std::string>{{"format", "pt"}}));
}

TEST(SafetensorsHeader, FileWithoutTensorsIsLegal) {
  EXPECT_TRUE(parse(file_of("{}", "")).entries.empty());
}

// Readers ignore fields that they do not know, and objects have their own names.
TEST(SafetensorsHeader, TheSameNameMayOccurInAnotherObject) {
  const std::string header =
      R"({"a":{"x":{"shape":1},"shape":[4],"dtype":"U8","data_offsets":[0,4]}})";
  EXPECT_EQ(parse(file_of(header, "1234")).entries.at(0).shape, Shape({4}));
}

struct Damage {
  const char* what;
  std::string file;
  std::string message;
  ErrorCode code = ErrorCode::bad_input;
};

std::vector<Damage> framing_damage() {
  const std::string good = "{" + entry("a", "U8", "[4]", "[0,4]") + "}";
  return {
      {"nothing", "", "0 bytes, too few"},
      {"cut in the length", "\1\0\0", "too few"},
      {"cut in the header", with_length(good.size(), good.substr(0, 20)), "incomplete download"},
      {"length of 2^64 - 1", with_length(UINT64_MAX, good), "18446744073709551615 bytes"},
      {"length above the limit", with_length(100'000'001, good), "may have 100000000"},
      {"not an object", file_of("[]", ""), "does not start with '{'"},
      {"spaces first", file_of(" {}", ""), "does not start with '{'"},
      {"no JSON", file_of("{\"a\"", ""), "not valid JSON"},
      {"bad UTF-8", file_of("{\"\xff\":1}", ""), "not valid JSON"},
      {"number out of range", file_of("{\"a\":1e999}", ""), "not valid JSON"},
      {"text after the object", file_of("{}{}", ""), "not valid JSON"},
      {"deep nesting", file_of("{\"a\":" + std::string(100'000, '[') + "}", ""), "nested deeper"},
      {"Git LFS pointer", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n",
       "git lfs pull"},
      {"web page", "<!DOCTYPE html><html>", "web page"},
      {"zip", "PK\3\4 and some more bytes", "zip"},
      {"surplus bytes", file_of(good, "12345"), "longer than its header says"},
      {"missing bytes", file_of(good, "123"), "ends at byte 4 of the data, which has 3"},
  };
}

std::vector<Damage> entry_damage() {
  const auto one = [](const std::string& e, const std::string& data = "1234") {
    return file_of("{" + e + "}", data);
  };
  const std::string a = entry("a", "U8", "[4]", "[0,4]");
  return {
      {"same name twice", one(a + "," + a), "names \"a\" twice"},
      {"same field twice",
       one(R"("a":{"dtype":"U8","dtype":"I8","shape":[4],"data_offsets":[0,4]})"),
       "names \"dtype\" twice"},
      {"same field twice, an object between",
       one(R"("a":{"dtype":"I8","x":{},"dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
       "names \"dtype\" twice"},
      {"same field twice in an object inside",
       one(R"("a":{"x":{"y":1,"z":{},"y":2},"dtype":"U8","shape":[4],"data_offsets":[0,4]})"),
       "names \"y\" twice"},
      {"entry is a number", one("\"a\":1"), "expected an object"},
      {"no dtype", one(R"("a":{"shape":[4],"data_offsets":[0,4]})"), "\"dtype\" is missing"},
      {"no shape", one(R"("a":{"dtype":"U8","data_offsets":[0,4]})"),
       "tensor \"a\": \"shape\" is missing"},
      {"no offsets", one(R"("a":{"dtype":"U8","shape":[4]})"), "\"data_offsets\" is missing"},
      {"dtype is a number", one(R"("a":{"dtype":1,"shape":[4],"data_offsets":[0,4]})"),
       "\"dtype\" should be a string"},
      {"unknown dtype", one(entry("a", "F8_E4M3", "[4]", "[0,4]")), "F8_E4M3",
       ErrorCode::unsupported},
      {"rank 7", one(entry("a", "U8", "[1,1,1,1,1,1,4]", "[0,4]")), "7 dimensions",
       ErrorCode::unsupported},
      {"shape is a number", one(entry("a", "U8", "4", "[0,4]")), "should be a list"},
      {"negative size", one(entry("a", "U8", "[-4]", "[0,4]")), "found -4"},
      {"fractional size", one(entry("a", "U8", "[4.0]", "[0,4]")), "found 4.0"},
      {"size above 2^63", one(entry("a", "U8", "[9223372036854775808]", "[0,4]")),
       "found 9223372036854775808"},
      {"product overflows", one(entry("a", "U8", "[4294967296,4294967296]", "[0,0]"), ""),
       "more than 2^63"},
      {"product overflows to the right size",
       one(entry("a", "I32", "[4611686018427387905]", "[0,4]")), "more than 2^63"},
      {"three offsets", one(entry("a", "U8", "[4]", "[0,4,4]")), "two numbers"},
      {"offsets are strings", one(entry("a", "U8", "[4]", "[\"0\",\"4\"]")), "found string"},
      {"reversed offsets", one(entry("a", "U8", "[4]", "[4,0]")), "begins at byte 4 but ends at 0"},
      {"beyond the end", one(entry("a", "U8", "[8]", "[0,8]")), "ends at byte 8"},
      {"size and shape differ", one(entry("a", "I16", "[4]", "[0,4]")), "needs 8 bytes"},
      {"overlap", one(entry("a", "U8", "[3]", "[0,3]") + "," + entry("b", "U8", "[2]", "[2,4]")),
       "overlap"},
      {"same bytes twice", one(a + "," + entry("b", "I8", "[4]", "[0,4]")), "overlap"},
      {"gap at the start", one(entry("a", "U8", "[3]", "[1,4]")), "belong to no tensor"},
      {"gap", one(entry("a", "U8", "[1]", "[0,1]") + "," + entry("b", "U8", "[2]", "[2,4]")),
       "belong to no tensor"},
      {"metadata is a list", one("\"__metadata__\":[]," + a), "should be an object"},
      {"metadata holds a number", one("\"__metadata__\":{\"x\":1}," + a),
       "\"x\" should be a string"},
  };
}

TEST(SafetensorsHeader, EveryDamageIsNamed) {
  std::vector<Damage> cases = framing_damage();
  for (Damage& damage : entry_damage()) cases.push_back(std::move(damage));
  for (const Damage& damage : cases) {
    SCOPED_TRACE(damage.what);
    const std::string message = error_of(damage.code, [&] { parse(damage.file); });
    EXPECT_TRUE(says(message, damage.message));
    EXPECT_TRUE(says(message, "x.safetensors"));
  }
}

TEST(SafetensorsHeader, NoTruncationGoesUnnoticed) {
  const std::string good = file_of("{" + entry("a", "F32", "[3]", "[0,12]") + "}", "0123456789ab");
  ASSERT_EQ(parse(good).entries.size(), 1u);
  for (size_t length = 0; length < good.size(); ++length) {
    EXPECT_THROW(parse(good.substr(0, length)), Error) << length;
  }
}

// Mixtures of experts have this many; work that grows with their square would take minutes.
TEST(SafetensorsHeader, ManyTensorsAreReadInOneBreath) {
  std::string header = "{" + entry("t0", "U8", "[0]", "[0,0]");
  for (int i = 1; i < 100'000; ++i) {
    header += "," + entry("t" + std::to_string(i), "U8", "[0]", "[0,0]");
  }
  EXPECT_EQ(parse(file_of(header + "}", "")).entries.size(), 100'000u);
}

// Other programs compare these bytes with the reference writer's.
TEST(WriteSafetensors, BytesAreThoseOfTheReferenceWriter) {
  const test::TempDir dir;
  const fs::path path = dir.path() / "x.safetensors";
  const std::vector<int64_t> shape = {3, 1};
  const std::vector<uint8_t> small = {7};
  const std::vector<bf16> half = {{0x3f80}, {0x4000}};
  const std::vector<int32_t> words = {0x04030201};
  write_safetensors(path, {{"b", Tensor::copy_of<bf16>(half, {2, 1})},
                           {"u", Tensor::copy_of<uint8_t>(small, {})},
                           {"a", Tensor::copy_of<bf16>(half, {2})},
                           {"w", Tensor::copy_of<int32_t>(words, {1})},
                           {"s", Tensor::copy_of<int64_t>(shape, {2})}});
  std::string header =
      R"({"__metadata__":{"format":"pt"},)" + entry("s", "I64", "[2]", "[0,16]") + "," +
      entry("w", "I32", "[1]", "[16,20]") + "," + entry("a", "BF16", "[2]", "[20,24]") + "," +
      entry("b", "BF16", "[2,1]", "[24,28]") + "," + entry("u", "U8", "[]", "[28,29]") + "}";
  header.resize((header.size() + 7) / 8 * 8, ' ');
  const std::string data("\3\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\1\2\3\4\x80\x3f\0\x40\x80\x3f\0\x40\7",
                         29);
  EXPECT_EQ(test::read_text(path), file_of(header, data));
}

TEST(WriteSafetensors, EveryTypeAndShapeComesBackAndTheBytesRepeat) {
  const test::TempDir dir;
  std::vector<NamedTensor> tensors;
  uint32_t seed = 1;
  for (const DType dtype : {DType::u8, DType::i8, DType::i16, DType::i32, DType::i64, DType::f16,
                            DType::bf16, DType::f32, DType::f64}) {
    for (const Shape& shape : {Shape{}, Shape{0}, Shape{5}, Shape{3, 7}, Shape{1, 2, 3, 1, 2, 1}}) {
      tensors.push_back(
          {std::string(name(dtype)) + shape.to_string(), random_tensor(dtype, shape, ++seed)});
    }
  }
  tensors.push_back({"quote\" \\ \n \xc3\xa9", random_tensor(DType::f32, {2}, ++seed)});
  write_safetensors(dir.path() / "a", tensors, {{"format", "pt"}, {"a key", "\"value\""}});
  std::reverse(tensors.begin(), tensors.end());
  write_safetensors(dir.path() / "b", tensors, {{"a key", "\"value\""}, {"format", "pt"}});
  EXPECT_EQ(test::read_text(dir.path() / "a"), test::read_text(dir.path() / "b"));

  const SafetensorsFile file(dir.path() / "a");
  EXPECT_EQ(file.metadata().at("a key"), "\"value\"");
  EXPECT_EQ(file.tensors().size(), tensors.size());
  for (const NamedTensor& t : tensors) {
    const Tensor* found = file.find(t.name);
    ASSERT_NE(found, nullptr) << t.name;
    EXPECT_TRUE(same(*found, t.tensor)) << t.name;
    EXPECT_EQ(reinterpret_cast<uintptr_t>(found->raw()) % byte_size(found->dtype()), 0u);
  }
  EXPECT_EQ(file.find("absent"), nullptr);
}

TEST(WriteSafetensors, MetadataMayBeEmpty) {
  const test::TempDir dir;
  write_safetensors(dir.path() / "x", {{"a", random_tensor(DType::u8, {3}, 1)}}, {});
  EXPECT_TRUE(says(test::read_text(dir.path() / "x"), "{\"a\":{"));
  EXPECT_TRUE(SafetensorsFile(dir.path() / "x").metadata().empty());
}

TEST(WriteSafetensors, WrongArgumentsAreBugsAndLeaveNothing) {
  const test::TempDir dir;
  const fs::path path = dir.path() / "x";
  const Tensor t = random_tensor(DType::u8, {3}, 1);
  EXPECT_THROW(write_safetensors(path, {{"a", t}, {"a", t}}), InternalError);
  // The same name under two types: neighbours neither in the order of types nor by chance.
  EXPECT_THROW(
      write_safetensors(path, {{"a", t}, {"b", t}, {"a", random_tensor(DType::f32, {1}, 1)}}),
      InternalError);
  EXPECT_THROW(write_safetensors(path, {{"a", Tensor()}}), InternalError);
  EXPECT_THROW(write_safetensors(path, {{"__metadata__", t}}), InternalError);
  EXPECT_TRUE(fs::is_empty(dir.path()));
}

TEST(SafetensorsFile, TensorsOutliveTheFile) {
  const test::TempDir dir;
  const Tensor original = random_tensor(DType::f32, {100}, 5);
  write_safetensors(dir.path() / "x", {{"a", original}});
  Tensor kept;
  {
    const SafetensorsFile file(dir.path() / "x");
    kept = *file.find("a");
  }
  fs::remove(dir.path() / "x");
  EXPECT_TRUE(same(kept, original));
}

TEST(SafetensorsFile, MisalignedTensorsAreReadable) {
  const test::TempDir dir;
  // The header's length is odd and a byte precedes the floats: no reader may assume alignment.
  std::string header =
      "{" + entry("u", "U8", "[1]", "[0,1]") + "," + entry("f", "F32", "[2]", "[1,9]") + "}";
  if (header.size() % 4 == 3) header += ' ';
  test::write_text(dir.path() / "x", file_of(header, std::string("\7\0\0\x80\x3f\0\0\0\x40", 9)));
  const SafetensorsFile file(dir.path() / "x");
  const auto floats = file.find("f")->span<const float>();
  ASSERT_EQ(reinterpret_cast<uintptr_t>(floats.data()) % alignof(float), 0u);
  EXPECT_EQ(floats[0], 1.0f);
  EXPECT_EQ(floats[1], 2.0f);
}

TEST(SafetensorsFile, MissingFileIsAnIoError) {
  EXPECT_TRUE(says(error_of(ErrorCode::io, [] { SafetensorsFile("/no/such"); }), "/no/such"));
}

}  // namespace
}  // namespace squint::io
