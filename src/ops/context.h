// context.h: everything a forward pass needs and does not own. Handed down; it has no global twin.
#pragma once

#include "ops/arena.h"
#include "ops/backend.h"

namespace squint {

// Sees the input of every linear layer while calibrating. The weight's address is its identity.
class LinearObserver {
 public:
  virtual ~LinearObserver() = default;
  virtual void saw(const LinearWeight& weight, const Tensor& x) = 0;
};

// Sees named values inside a forward pass ("vision.block", 3), to compare them with a reference.
class Trace {
 public:
  virtual ~Trace() = default;
  virtual void saw(std::string_view name, int64_t index, const Tensor& value) = 0;
};

struct Context {
  Backend& backend;
  Arena& scratch;                      // what a step makes is released as a whole
  LinearObserver* observer = nullptr;  // set only while calibrating
  Trace* trace = nullptr;              // set only while comparing
  Between between = [] {};             // called before each layer; may throw to stop

  void show(std::string_view name, int64_t index, const Tensor& value) const {
    if (trace != nullptr) trace->saw(name, index, value);
  }
};

}  // namespace squint
