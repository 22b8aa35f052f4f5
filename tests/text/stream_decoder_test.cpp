#include "text/stream_decoder.h"

#include <gtest/gtest.h>

#include <random>

#include "text/tokenizer_goldens.h"
#include "text/utf8.h"

namespace squint::text {
namespace {

using Ids = std::vector<int32_t>;

const Tokenizer& reader() { return reader_tokenizer(); }

int32_t id_of(std::string_view content) { return reader().token_id(content).value(); }

TEST(StreamDecoder, GivesACharacterWithItsLastByte) {
  const Ids emoji = reader().encode("👩");
  ASSERT_EQ(emoji.size(), 4u);
  StreamDecoder decoder(reader());
  for (size_t i = 0; i < 3; ++i) EXPECT_EQ(decoder.push(emoji[i]), "");
  EXPECT_EQ(decoder.push(emoji[3]), "👩");
  EXPECT_EQ(decoder.finish(), "");
}

TEST(StreamDecoder, GivesUpACharacterAsSoonAsItIsBroken) {
  const Ids emoji = reader().encode("👩");
  StreamDecoder decoder(reader(), /*skip_special=*/false);
  decoder.push(emoji[0]);
  EXPECT_EQ(decoder.push(id_of("a")), "\uFFFDa");
  decoder.push(emoji[0]);
  EXPECT_EQ(decoder.push(id_of("<|im_end|>")), "\uFFFD<|im_end|>");
  decoder.push(emoji[0]);
  EXPECT_EQ(decoder.push(-1), "");
  EXPECT_EQ(decoder.finish(), "\uFFFD");
  EXPECT_EQ(decoder.finish(), "");
  EXPECT_EQ(decoder.push(id_of("a")), "a");
}

TEST(StreamDecoder, PiecesAreValidAndMakeUpTheWhole) {
  std::mt19937 random(23);
  for (int round = 0; round < 4000; ++round) {
    const bool skip_special = random() % 2 == 0;
    Ids ids(random() % 30);
    for (int32_t& id : ids) {
      // Single bytes half of the time, so that characters form and break.
      id = static_cast<int32_t>(random() % 2 == 0 ? random() % 256 : random() % 1100) - 2;
    }
    StreamDecoder decoder(reader(), skip_special);
    std::string whole;
    for (size_t i = 0; i <= ids.size(); ++i) {
      const std::string piece = i < ids.size() ? decoder.push(ids[i]) : decoder.finish();
      std::string repaired;
      append_repaired(piece, repaired);
      ASSERT_EQ(piece, repaired) << "seed 23, round " << round;
      whole += piece;
    }
    ASSERT_EQ(whole, reader().decode(ids, skip_special)) << "seed 23, round " << round;
  }
}

}  // namespace
}  // namespace squint::text
