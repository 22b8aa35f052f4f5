#include "core/tensor.h"

#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "squint/error.h"

namespace squint {
namespace {

Tensor counting(const Shape& shape) {
  std::vector<float> values(static_cast<size_t>(shape.numel()));
  for (size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i);
  return Tensor::copy_of<float>(values, shape);
}

TEST(Tensor, EmptyHasNoStorage) {
  EXPECT_TRUE(Tensor().empty());
  EXPECT_FALSE(Tensor::on_host(DType::f32, {0}).empty());
  EXPECT_THROW(Tensor().span<float>(), InternalError);
}

TEST(Tensor, HostMemoryIsAligned) {
  for (const int64_t bytes : {0, 1, 63, 64, 65}) {
    const auto storage = allocate_host(bytes);
    EXPECT_EQ(reinterpret_cast<uintptr_t>(storage->data()) % 64, 0u);
    EXPECT_EQ(storage->bytes(), bytes);
    EXPECT_EQ(storage->device(), Device{});
  }
}

TEST(Tensor, TooMuchMemoryIsAnError) {
  std::vector<int64_t> sizes = {std::numeric_limits<int64_t>::max()};
#ifdef NDEBUG  // Sanitizers, which run in debug builds, end the process instead.
  sizes.push_back(int64_t{1} << 60);
#endif
  for (const int64_t bytes : sizes) {
    try {
      allocate_host(bytes);
      FAIL() << "nothing was thrown";
    } catch (const Error& e) {
      EXPECT_EQ(e.code(), ErrorCode::out_of_memory);
    }
  }
  EXPECT_THROW(allocate_host(-1), InternalError);
}

TEST(Tensor, MustLieInsideItsStorage) {
  const auto storage = allocate_host(16);
  EXPECT_NO_THROW(Tensor(storage, 0, DType::f32, {4}));
  EXPECT_NO_THROW(Tensor(storage, 8, DType::f32, {2}));
  EXPECT_NO_THROW(Tensor(storage, 16, DType::f32, {0}));
  EXPECT_THROW(Tensor(storage, 0, DType::f32, {5}), InternalError);
  EXPECT_THROW(Tensor(storage, 9, DType::u8, {8}), InternalError);
  EXPECT_THROW(Tensor(storage, -1, DType::u8, {1}), InternalError);
  EXPECT_THROW(Tensor(storage, 17, DType::u8, {0}), InternalError);
}

TEST(Tensor, RowsShareMemory) {
  const Tensor all = counting({4, 3});
  const Tensor middle = all.rows(1, 2);
  EXPECT_EQ(middle.shape(), Shape({2, 3}));
  EXPECT_EQ(middle.span<float>()[0], 3);
  middle.span<float>()[5] = 77;
  EXPECT_EQ(all.span<float>()[8], 77);
  EXPECT_EQ(middle.rows(1, 1).span<float>()[0], 6) << "rows of rows";
  EXPECT_EQ(all.rows(4, 0).numel(), 0);
}

TEST(Tensor, RowsOutsideAreABug) {
  const Tensor all = counting({4, 3});
  EXPECT_THROW(all.rows(3, 2), InternalError);
  EXPECT_THROW(all.rows(-1, 2), InternalError);
  EXPECT_THROW(all.rows(0, -1), InternalError);
  EXPECT_THROW(all.rows(5, 0), InternalError);
  EXPECT_THROW(counting({}).rows(0, 1), InternalError) << "a scalar has no rows";
}

TEST(Tensor, ReshapedSharesMemory) {
  const Tensor x = counting({2, 6});
  const Tensor y = x.rows(1, 1).reshaped({2, 3});
  EXPECT_EQ(y.span<float>()[0], 6);
  y.span<float>()[0] = 5;
  EXPECT_EQ(x.span<float>()[6], 5);
  EXPECT_THROW(x.reshaped({5}), InternalError);
}

TEST(Tensor, SpansAreOfTheirType) {
  const Tensor x = counting({2});
  EXPECT_EQ(x.span<const float>().size(), 2u);
  EXPECT_THROW(x.span<bf16>(), InternalError);
  EXPECT_THROW(x.span<int32_t>(), InternalError);
}

TEST(Tensor, SpansAreOfTheHost) {
  float value = 1;
  const auto elsewhere = std::make_shared<Storage>(&value, 4, Device{.kind = DeviceKind::cuda});
  EXPECT_THROW(Tensor(elsewhere, 0, DType::f32, {1}).span<float>(), InternalError);
}

TEST(Tensor, StorageLivesAsLongAsAView) {
  Tensor view;
  {
    const Tensor all = counting({1000, 10});
    view = all.rows(999, 1);
  }
  EXPECT_EQ(view.span<float>()[9], 9999);
}

TEST(Tensor, WidensToFloat32) {
  const Tensor half = Tensor::on_host(DType::f16, {2});
  reinterpret_cast<uint16_t*>(half.raw())[0] = 0x3c00;
  reinterpret_cast<uint16_t*>(half.raw())[1] = 0xc000;
  EXPECT_EQ(to_f32(half).span<float>()[0], 1.0f);
  EXPECT_EQ(to_f32(half).span<float>()[1], -2.0f);
  const std::vector<bf16> brain = {{0x3f80}, {0xc000}};
  EXPECT_EQ(to_f32(Tensor::copy_of<bf16>(brain, {2})).span<float>()[1], -2.0f);
  const Tensor x = counting({3});
  const Tensor copy = to_f32(x);
  copy.span<float>()[0] = 9;
  EXPECT_EQ(x.span<float>()[0], 0) << "new memory";
  try {
    to_f32(Tensor::on_host(DType::i32, {1}));
    FAIL() << "nothing was thrown";
  } catch (const Error& e) {
    EXPECT_EQ(e.code(), ErrorCode::unsupported);
  }
}

TEST(Tensor, RoundsToBf16) {
  const std::vector<float> values = {1.00390625f, -3.5f};
  const Tensor rounded = round_to_bf16(Tensor::copy_of<float>(values, {2}));
  EXPECT_EQ(to_float(rounded.span<bf16>()[0]), 1.0f);
  EXPECT_EQ(to_float(rounded.span<bf16>()[1]), -3.5f);
  EXPECT_EQ(round_to_bf16(rounded).span<bf16>()[1], rounded.span<bf16>()[1]);
}

}  // namespace
}  // namespace squint
