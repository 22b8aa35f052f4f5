// foreign_checkpoint.h: checkpoints as AutoAWQ and GPTQ tools write them (spec awq-w4a16.md §4.7,
// §4.8), packed here from the words of the specification, with the mistakes that such tools make.
#pragma once

#include <array>
#include <cstdint>

#include "support/tiny_checkpoint.h"

namespace squint::test {

struct ForeignPacking {
  bool gptq = false;  // else AutoAWQ
  // Where in a word the codes 0 .. 7 stand.
  std::array<int, 8> order = {0, 4, 1, 5, 2, 6, 3, 7};
  int zero_offset = 0;    // added to zero points before they are packed; -1 in GPTQ's first version
  bool shuffled = false;  // columns of a group lie apart, as with desc_act
  int64_t group_size = 16;
};

inline constexpr std::array<int, 8> kInSequence = {0, 1, 2, 3, 4, 5, 6, 7};

// Packs every linear layer of the text model, 4 bits, rounding to nearest with zero points, and
// describes it in config.json.
void pack_foreign(TinyCheckpoint& checkpoint, const ForeignPacking& packing);

// Multiplies column c of a weight by factor(c), or row r of it.
void scale_columns(TinyCheckpoint& checkpoint, const std::string& name, float (*factor)(int64_t));
void scale_rows(TinyCheckpoint& checkpoint, const std::string& name, float (*factor)(int64_t));

}  // namespace squint::test
