#include "base/numpy_permutation.h"

#include <array>
#include <bit>
#include <numeric>
#include <optional>
#include <utility>

#include "base/check.h"

namespace squint {
namespace {

using Wide = unsigned __int128;

constexpr Wide wide(uint64_t high, uint64_t low) { return Wide{high} << 64 | low; }

// Spreads a seed over as many bits as a generator's state has: NumPy's SeedSequence.
std::array<uint64_t, 4> seed_words(uint64_t seed) {
  uint32_t h = 0x43b0d7e5;
  const auto hash = [&h](uint32_t v) {
    v ^= h;
    h *= 0x931e8875;
    v *= h;
    return v ^ v >> 16;
  };
  const auto mix = [](uint32_t x, uint32_t y) {
    const uint32_t r = 0xca01f9ddu * x - 0x4973f715u * y;
    return r ^ r >> 16;
  };
  std::array<uint32_t, 4> pool = {static_cast<uint32_t>(seed), static_cast<uint32_t>(seed >> 32)};
  for (uint32_t& word : pool) word = hash(word);
  for (size_t from = 0; from < 4; ++from) {
    for (size_t to = 0; to < 4; ++to) {
      if (from != to) pool[to] = mix(pool[to], hash(pool[from]));
    }
  }
  uint32_t h2 = 0x8b51f9dd;
  std::array<uint64_t, 4> words{};
  for (size_t i = 0; i < 8; ++i) {
    uint32_t v = pool[i % 4] ^ h2;
    h2 *= 0x58f38ded;
    v *= h2;
    v ^= v >> 16;
    words[i / 2] |= uint64_t{v} << (i % 2 * 32);
  }
  return words;
}

// PCG64, variant XSL-RR 128/64.
class Pcg64 {
 public:
  explicit Pcg64(uint64_t seed) {
    const std::array<uint64_t, 4> words = seed_words(seed);
    increment_ = wide(words[2], words[3]) << 1 | 1;
    step();
    state_ += wide(words[0], words[1]);
    step();
  }

  uint32_t next32() {
    if (half_) return *std::exchange(half_, std::nullopt);
    step();
    const auto folded = static_cast<uint64_t>(state_ >> 64) ^ static_cast<uint64_t>(state_);
    const uint64_t out = std::rotr(folded, static_cast<int>(state_ >> 122));
    half_ = static_cast<uint32_t>(out >> 32);
    return static_cast<uint32_t>(out);
  }

 private:
  void step() {
    constexpr Wide kMultiplier = wide(2549297995355413924u, 4865540595714422341u);
    state_ = state_ * kMultiplier + increment_;
  }

  Wide state_ = 0;
  Wide increment_ = 0;
  std::optional<uint32_t> half_;  // of the last output, not yet given away
};

}  // namespace

std::vector<int64_t> numpy_permutation(uint64_t seed, int64_t n) {
  SQUINT_CHECK(n >= 0 && n < int64_t{1} << 32);
  Pcg64 random(seed);
  std::vector<int64_t> out(static_cast<size_t>(n));
  std::iota(out.begin(), out.end(), 0);
  for (size_t i = out.size(); i-- > 1;) {
    const auto mask = static_cast<uint32_t>((uint64_t{1} << std::bit_width(i)) - 1);
    uint32_t j = 0;
    do {
      j = random.next32() & mask;
    } while (j > i);
    std::swap(out[i], out[j]);
  }
  return out;
}

}  // namespace squint
