#include "ops/arena.h"

#include <gtest/gtest.h>

#include "ops/backend.h"
#include "squint/backend.h"

namespace squint {
namespace {

class Arenas : public ::testing::Test {
 protected:
  BackendPtr backend_ = open_backend({.name = "reference", .threads = 1});
  Arena arena_{*backend_};
};

TEST_F(Arenas, TensorsDoNotOverlap) {
  const Tensor a = arena_.tensor({3, 5});
  const Tensor b = arena_.tensor({1}, DType::u8);
  const Tensor c = arena_.tensor({7}, DType::bf16);
  EXPECT_EQ(a.shape(), Shape({3, 5}));
  EXPECT_EQ(b.dtype(), DType::u8);
  EXPECT_GE(b.raw(), a.raw() + a.bytes());
  EXPECT_GE(c.raw(), b.raw() + b.bytes());
  for (const Tensor& t : {a, b, c}) EXPECT_EQ(reinterpret_cast<uintptr_t>(t.raw()) % 64, 0u);
}

TEST_F(Arenas, AScopeGivesBackWhatItMade) {
  const Tensor before = arena_.tensor({100});
  std::byte* inside = nullptr;
  {
    const Arena::Scope scope(arena_);
    inside = arena_.tensor({100}).raw();
    {
      const Arena::Scope inner(arena_);
      EXPECT_NE(arena_.tensor({100}).raw(), inside);
    }
  }
  EXPECT_EQ(arena_.tensor({100}).raw(), inside);
  EXPECT_NE(before.raw(), inside);
}

TEST_F(Arenas, TheSecondPassAllocatesNothing) {
  const auto pass = [&] {
    const Arena::Scope scope(arena_);
    for (int i = 0; i < 20; ++i) arena_.tensor({1000, 100 + i * 37});
    arena_.bytes(3 << 20);
  };
  EXPECT_EQ(arena_.capacity(), 0);
  pass();
  const int64_t held = arena_.capacity();
  EXPECT_GT(held, 8 << 20);
  for (int i = 0; i < 3; ++i) pass();
  EXPECT_EQ(arena_.capacity(), held);
}

TEST_F(Arenas, BytesHaveTheAskedSize) {
  const auto storage = arena_.bytes(100);
  EXPECT_EQ(storage->bytes(), 100);
  EXPECT_EQ(storage->device(), backend_->device());
  EXPECT_NE(arena_.bytes(0)->data(), storage->data());
}

// The layout alone says what an arena will hold, and how much of it is ever touched.
TEST_F(Arenas, TheLayoutIsTheArenas) {
  ArenaLayout layout;
  EXPECT_EQ(layout.touched(), 0);
  for (int pass = 0; pass < 2; ++pass) {
    const Arena::Scope scope(arena_);
    const ArenaLayout::Mark mark = layout.mark();
    for (const int64_t floats : {100, 300'000, 7, 2'000'000, 5}) {
      arena_.tensor({floats});
      layout.take(floats * 4);
    }
    layout.release(mark);
    EXPECT_EQ(layout.capacity(), arena_.capacity());
    EXPECT_EQ(layout.touched(), arena_.touched());
  }
  EXPECT_LT(layout.touched(), layout.capacity());
  EXPECT_GE(layout.touched(), 4 * (100 + 300'000 + 7 + 2'000'000 + 5));
}

TEST_F(Arenas, MemoryOutlivesTheArena) {
  std::shared_ptr<Storage> kept;
  {
    Arena shortlived(*backend_);
    kept = shortlived.bytes(64);
  }
  std::fill(kept->data(), kept->data() + 64, std::byte{1});
  EXPECT_EQ(kept->data()[63], std::byte{1});
}

}  // namespace
}  // namespace squint
