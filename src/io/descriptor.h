// descriptor.h: a file descriptor that is closed when nobody needs it any more.
#pragma once

#include <unistd.h>

namespace squint::io {

class Descriptor {
 public:
  explicit Descriptor(int value) : value_(value) {}
  ~Descriptor() { ::close(value_); }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;
  int value() const { return value_; }

 private:
  int value_;
};

}  // namespace squint::io
