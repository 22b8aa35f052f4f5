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

class Arena {
 public:
  explicit Arena(Backend& backend) : backend_(backend) {}

  // Uninitialised, on the backend's device, 64-byte aligned.
  Tensor tensor(const Shape& shape, DType dtype = DType::f32);
  std::shared_ptr<Storage> bytes(int64_t count);

  int64_t capacity() const;  // bytes held

  // Everything made since the scope began is given back when it ends.
  class Scope {
   public:
    explicit Scope(Arena& arena) : arena_(arena), block_(arena.block_), used_(arena.used_) {}
    ~Scope() {
      arena_.block_ = block_;
      arena_.used_ = used_;
    }
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Arena& arena_;
    size_t block_;
    int64_t used_;
  };

 private:
  struct Place {
    std::shared_ptr<Storage> storage;
    int64_t offset;
  };
  Place take(int64_t count);

  Backend& backend_;
  std::vector<std::shared_ptr<Storage>> blocks_;
  size_t block_ = 0;  // the block in use
  int64_t used_ = 0;  // bytes of it taken
};

}  // namespace squint
