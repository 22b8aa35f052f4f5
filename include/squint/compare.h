// compare.h: how far the predictions of other models are from those of the model they were made
// from, token by token of answers that are given, and where on the way they part.
//
// All models go through the rows together, one decoder layer in memory at a time: what is held is
// the hidden states of the rows, and rows that exceed a limit follow in further passes. The numbers
// do not depend on that limit, nor on the number of threads.
#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <stop_token>
#include <string>
#include <variant>
#include <vector>

#include "squint/backend.h"
#include "squint/divergence.h"

namespace squint {

// The base itself with the weights of its decoder layers rounded to nearest, each group's range
// being that of its values (minmax); made on the way, written nowhere.
struct PlainRounding {
  int bits = 4;              // 4 or 8
  int64_t group_size = 128;  // columns; 0: a scale per row
  bool symmetric = true;
};

// A checkpoint folder, or the base rounded plainly.
using OtherModel = std::variant<std::filesystem::path, PlainRounding>;

// Known before the first layer runs. Bytes; peak is what the process adds to its resident memory,
// mapped pages that the kernel may drop not counted.
struct ComparePlan {
  int64_t rows = 0;
  int64_t tokens = 0;
  int64_t answer_tokens = 0;
  int64_t passes = 0;
  int64_t hidden_bytes = 0;   // hidden states of the largest pass, of all models
  int64_t weight_bytes = 0;   // prepared at once: one layer, the vision tower or the heads
  int64_t scratch_bytes = 0;  // inner values of a layer, pixels, logits
  int64_t peak_bytes = 0;
};

struct CompareProgress {
  std::string phase;  // "reading", "images", "layer 3 of 28", "predictions"
  int64_t done = 0;   // of total, over the whole run: a measure of work
  int64_t total = 0;
};

struct CompareOptions {
  std::filesystem::path base;
  std::vector<OtherModel> others;
  // OCRBench.json, or conversations as JSON lines with images (*.jsonl), or a folder with
  // OCRBench.json or calibration.jsonl.
  std::filesystem::path data;
  int64_t first = 0;               // row to begin with
  int64_t limit = 0;               // that many rows; 0: all
  int64_t memory = 2'000'000'000;  // bytes of hidden states in one pass, at least those of one row
  int64_t worst_rows = 10;         // to list
  std::function<void(const ComparePlan&)> on_plan;
  std::function<void(const CompareProgress&)> on_progress;
  std::stop_token stop;
};

// Answer tokens by what they are. "after_image" and "no_image" divide them by whether an image
// stands anywhere before them; "text", "digits", "cjk" and "end" by what has to be predicted:
//   end     <|im_end|>
//   cjk     holds a byte of a Chinese, Japanese or Korean character: ideographs, kana, bopomofo,
//           hangul, their punctuation and full-width forms
//   digits  else, holds one of 0 to 9
//   text    everything else
struct KindDivergence {
  std::string kind;
  TokenDivergence of;
};

struct RowDivergence {
  int64_t row = 0;  // in the file, from 0
  std::string question;
  std::string answer;
  int64_t tokens = 0;
  double kl = 0;  // mean over the row's answer tokens
};

// Over the tokens of all answers, end tokens included, each predicted from what stands before it:
// of OCRBench rows the first reference answer, of conversations all assistant turns.
struct Divergence : TokenDivergence {
  std::string base;
  std::string other;
  int64_t rows = 0;
  std::vector<KindDivergence> kinds;  // those that occur
  // ‖h_other − h_base‖ / ‖h_base‖ over all tokens of all rows, prompts included: of the hidden
  // states that each decoder layer hands to the next, and of the image embeddings.
  std::vector<double> layer_errors;
  double vision_error = 0;
  std::vector<RowDivergence> worst;  // largest kl first

  std::string to_text(int width = 80) const;
  // One object: kl, top1, tokens, rows; kl_median, kl_p90, kl_p99, kl_max; kinds {kind: the same
  // but rows}; vision_error, layer_errors []; worst_rows [{row, question, answer, tokens, kl}].
  std::string to_json() const;
};

// One result for each of options.others. Throws Error(bad_input) for rows without an answer and
// for models that cannot stem from the base, Error(interrupted) when stopped.
std::vector<Divergence> compare_models(const CompareOptions& options, Backend& backend);

}  // namespace squint
