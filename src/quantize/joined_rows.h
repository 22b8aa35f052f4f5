// joined_rows.h: more calibration rows than there are: the left part of one row's image beside the
// right part of another's, a little distorted, asked what the first was asked; the answer is what
// the model reads.
//
// What a few hundred rows show of a layer's inputs fits those rows better than it fits others.
// Joined images hold new words in the same style (docs/quality.md has what they bring).
#pragma once

#include <span>
#include <vector>

#include "image/distort.h"
#include "quantize/calibration.h"

namespace squint::quantize {

// `left`'s columns before `cut` of its width and `right`'s behind it, at one height; both sides of
// the result multiplied by what `width` and `height` say.
struct JoinedImage {
  RowImage left;
  RowImage right;
  double cut = 0.5;
  double width = 1;
  double height = 1;
  image::Distortion distortion;  // at last
};

// As a BMP file. Throws what decoding throws.
std::string encoded(const JoinedImage& image);

// `copies` rows for each of `rows` that has one image and a question. The same for the same rows.
std::vector<Conversation> joined_rows(std::span<const Conversation> rows, int copies,
                                      const AskImage& ask);

}  // namespace squint::quantize
