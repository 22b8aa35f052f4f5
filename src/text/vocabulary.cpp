#include "text/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>

#include "base/check.h"
#include "squint/error.h"
#include "text/utf8.h"

namespace squint::text {
namespace {

constexpr char32_t kSpellings = 0x144;  // code points below this may spell a byte

bool spells_itself(int byte) {
  return (0x21 <= byte && byte <= 0x7e) || (0xa1 <= byte && byte <= 0xac) ||
         (0xae <= byte && byte <= 0xff);
}

// By code point the byte it spells, -1 for none.
constexpr int16_t kNoByte = -1;
std::array<int16_t, kSpellings> byte_of_spelling() {
  std::array<int16_t, kSpellings> bytes{};
  bytes.fill(kNoByte);
  size_t next = 0x100;
  for (int byte = 0; byte < 256; ++byte) {
    bytes[spells_itself(byte) ? static_cast<size_t>(byte) : next++] = static_cast<int16_t>(byte);
  }
  return bytes;
}

uint64_t hash_of(std::string_view bytes) {
  constexpr uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  uint64_t hash = bytes.size() * kMultiplier;
  const auto mix = [&hash](uint64_t word) {
    hash = (hash ^ word) * kMultiplier;
    hash ^= hash >> 32;
  };
  for (; bytes.size() >= sizeof(uint64_t); bytes.remove_prefix(sizeof(uint64_t))) {
    uint64_t word = 0;
    std::memcpy(&word, bytes.data(), sizeof word);
    mix(word);
  }
  uint64_t rest = 0;
  if (!bytes.empty()) std::memcpy(&rest, bytes.data(), bytes.size());
  mix(rest);
  return hash;
}

}  // namespace

bool append_spelled_bytes(std::string_view spelling, std::string& bytes) {
  static const std::array<int16_t, kSpellings> kByteOf = byte_of_spelling();
  while (!spelling.empty()) {
    const Utf8Step step = utf8_step(spelling);
    if (step.kind != Utf8Step::Kind::valid || step.code_point >= kSpellings) return false;
    const int16_t byte = kByteOf[step.code_point];
    if (byte == kNoByte) return false;
    bytes.push_back(static_cast<char>(byte));
    spelling.remove_prefix(step.length);
  }
  return true;
}

Vocabulary::Vocabulary(const std::vector<Entry>& entries, std::string_view where) {
  size_t size = 0;
  size_t total = 0;
  for (const Entry& entry : entries) {
    SQUINT_CHECK(0 <= entry.id && entry.id < kMaxTokens && !entry.bytes.empty());
    size = std::max(size, static_cast<size_t>(entry.id) + 1);
    total += entry.bytes.size();
  }
  if (total > UINT32_MAX) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: the vocabulary is {} bytes long, expected "
                                                  "less than 4 GiB",
                                                  where, total));
  }

  std::vector<const Entry*> by_id(size, nullptr);
  for (const Entry& entry : entries) {
    const Entry*& place = by_id[static_cast<size_t>(entry.id)];
    if (place != nullptr) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: id {} appears twice in the vocabulary", where, entry.id));
    }
    place = &entry;
  }
  bytes_.reserve(total);
  begins_.reserve(size + 1);
  begins_.push_back(0);
  for (const Entry* entry : by_id) {
    if (entry != nullptr) bytes_ += entry->bytes;
    begins_.push_back(static_cast<uint32_t>(bytes_.size()));
  }

  slots_.assign(std::bit_ceil(entries.size() * 2 + 1), -1);
  for (const Entry& entry : entries) {
    int32_t& slot = slots_[slot_of(entry.bytes)];
    if (slot != -1) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("{}: tokens {} and {} of the vocabulary are the "
                              "same string",
                              where, slot, entry.id));
    }
    slot = entry.id;
  }
}

std::optional<int32_t> Vocabulary::find(std::string_view bytes) const {
  const int32_t id = slots_[slot_of(bytes)];
  if (id == -1) return std::nullopt;
  return id;
}

// Where the bytes are, or the free slot where they would go.
size_t Vocabulary::slot_of(std::string_view bytes) const {
  const size_t mask = slots_.size() - 1;
  size_t slot = hash_of(bytes) & mask;
  while (slots_[slot] != -1 && this->bytes(slots_[slot]) != bytes) slot = (slot + 1) & mask;
  return slot;
}

}  // namespace squint::text
