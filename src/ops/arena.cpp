#include "ops/arena.h"

#include <algorithm>

#include "base/checked_math.h"
#include "ops/backend.h"

namespace squint {
namespace {

constexpr int64_t kAlignment = 64;
constexpr int64_t kSmallestBlock = int64_t{1} << 20;

// A part of a block that keeps the block alive.
class Part : public Storage {
 public:
  Part(std::shared_ptr<Storage> whole, int64_t offset, int64_t bytes)
      : Storage(whole->data() + offset, bytes, whole->device()), whole_(std::move(whole)) {}

 private:
  std::shared_ptr<Storage> whole_;
};

}  // namespace

ArenaLayout::Place ArenaLayout::take(int64_t bytes) {
  const int64_t needed = round_up(std::max<int64_t>(bytes, 1), kAlignment);
  while (block_ < blocks_.size() && blocks_[block_].bytes - used_ < needed) {
    ++block_;
    used_ = 0;
  }
  if (block_ == blocks_.size()) {
    blocks_.push_back({.bytes = std::max(needed, std::max(kSmallestBlock, capacity() / 2))});
    used_ = 0;
  }
  const int64_t offset = used_;
  used_ += needed;
  blocks_[block_].touched = std::max(blocks_[block_].touched, used_);
  return {block_, offset};
}

void ArenaLayout::release(const Mark& mark) {
  block_ = mark.block;
  used_ = mark.used;
}

int64_t ArenaLayout::capacity() const {
  int64_t total = 0;
  for (const Block& block : blocks_) total += block.bytes;
  return total;
}

int64_t ArenaLayout::touched() const {
  int64_t total = 0;
  for (const Block& block : blocks_) total += block.touched;
  return total;
}

Arena::Place Arena::take(int64_t count) {
  const ArenaLayout::Place place = layout_.take(count);
  // Where memory ran out, a block of the layout is still to come.
  while (blocks_.size() <= place.block) {
    blocks_.push_back(backend_.allocate(layout_.block_bytes(blocks_.size())));
  }
  return {blocks_[place.block], place.offset};
}

Tensor Arena::tensor(const Shape& shape, DType dtype) {
  const Place place = take(shape.numel() * byte_size(dtype));
  return Tensor(place.storage, place.offset, dtype, shape);
}

std::shared_ptr<Storage> Arena::bytes(int64_t count) {
  const Place place = take(count);
  return std::make_shared<Part>(place.storage, place.offset, count);
}

int64_t Arena::capacity() const {
  int64_t total = 0;
  for (const auto& block : blocks_) total += block->bytes();
  return total;
}

}  // namespace squint
