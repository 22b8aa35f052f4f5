// arena.h: memory for the values between two operators, taken from a backend once and reused.
//
// Tensors from an arena are valid until the Scope they were made in ends. Blocks are kept, so a
// second forward pass of the same size allocates nothing.
#pragma once

#include <memory>
#include <vector>

#include "core/tensor.h"

namespace squint {

class Backend;

// Where things go in an arena, without any memory: also what it will take, before it is there.
class ArenaLayout {
 public:
  struct Place {
    size_t block = 0;
    int64_t offset = 0;  // bytes
  };
  Place take(int64_t bytes);  // may add a block

  struct Mark {
    size_t block = 0;
    int64_t used = 0;
  };
  Mark mark() const { return {block_, used_}; }
  void release(const Mark& mark);  // everything taken since

  size_t blocks() const { return blocks_.size(); }
  int64_t block_bytes(size_t block) const { return blocks_[block].bytes; }
  int64_t capacity() const;  // bytes of all blocks
  int64_t touched() const;   // bytes of them that were ever taken

 private:
  struct Block {
    int64_t bytes = 0;
    int64_t touched = 0;
  };
  std::vector<Block> blocks_;
  size_t block_ = 0;  // the block in use
  int64_t used_ = 0;  // bytes of it taken
};

class Arena {
 public:
  explicit Arena(Backend& backend) : backend_(backend) {}

  // Uninitialised, on the backend's device, 64-byte aligned.
  Tensor tensor(const Shape& shape, DType dtype = DType::f32);
  std::shared_ptr<Storage> bytes(int64_t count);

  int64_t capacity() const;                              // bytes held
  int64_t touched() const { return layout_.touched(); }  // bytes of them that were ever taken

  // Everything made since the scope began is given back when it ends.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), mark_(arena.layout_.mark()) {}
    ~Scope() { arena_.layout_.release(mark_); }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    ArenaLayout::Mark mark_;
  };

 private:
  struct Place {
    std::shared_ptr<Storage> storage;
    int64_t offset;
  };
  Place take(int64_t count);

  Backend& backend_;
  ArenaLayout layout_;
  std::vector<std::shared_ptr<Storage>> blocks_;  // of the layout
};

}  // namespace squint
