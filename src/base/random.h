// random.h: a small generator whose stream is the same on every platform: xoshiro256** seeded by
// splitmix64 (Blackman and Vigna, "Scrambled linear pseudorandom number generators", 2018).
#pragma once

#include <array>
#include <bit>
#include <cstdint>

namespace squint {

class Random {
 public:
  explicit Random(uint64_t seed) {
    for (uint64_t& word : state_) {
      seed += 0x9e3779b97f4a7c15u;
      uint64_t z = seed;
      z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
      z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
      word = z ^ (z >> 31);
    }
  }

  uint64_t next() {
    const uint64_t result = std::rotl(state_[1] * 5, 7) * 9;
    const uint64_t shifted = state_[1] << 17;
    state_[2] ^= state_[0];
    state_[3] ^= state_[1];
    state_[1] ^= state_[2];
    state_[0] ^= state_[3];
    state_[2] ^= shifted;
    state_[3] = std::rotl(state_[3], 45);
    return result;
  }

  // In [0, 1), 53 bits.
  double uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

  // In [0, bound), every value equally likely; bound >= 1.
  uint64_t below(uint64_t bound) {
    const uint64_t excess = (0 - bound) % bound;  // 2^64 mod bound
    while (true) {
      const uint64_t x = next();
      if (x >= excess) return x % bound;
    }
  }

 private:
  std::array<uint64_t, 4> state_{};
};

}  // namespace squint
