// fit.h: what a run will take of memory, from config.json alone: before anything is downloaded.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "squint/backend.h"

namespace squint {

struct ImageSize {
  int64_t width = 0;  // pixels
  int64_t height = 0;
};

struct FitOptions {
  std::filesystem::path model;        // a folder with config.json, or that file
  std::vector<ImageSize> images;      // as they are given; the model's limits resize them
  int64_t context = 8192;             // tokens of prompt and answer, those of images included
  int64_t answer = 1024;              // of them; the prompt is the rest
  std::optional<int64_t> min_pixels;  // as in Request
  std::optional<int64_t> max_pixels;
  // As if `squint quantize` had packed the text layers: 4 or 8 bits, columns that share a scale (0:
  // all of a row).
  std::optional<int> bits;
  int64_t group_size = 128;
  int64_t memory = 0;  // bytes there are; 0: not said
};

struct FitPart {
  std::string name;  // "text layers"
  std::string note;  // "W4A16, groups of 128"
  int64_t bytes = 0;
};

// One change that makes the run fit, or all of them where no single one does.
struct FitChange {
  std::string what;  // "--context 4096"
  int64_t total_bytes = 0;
};

struct FitPlan {
  std::string model;
  int64_t parameters = 0;
  int64_t stored_bytes = 0;    // of the checkpoint, on disk
  int64_t context = 0;         // tokens
  int64_t prompt = 0;          // of them
  int64_t image_tokens = 0;    // of these
  std::vector<FitPart> parts;  // what there is at the fullest moment; they sum up to total_bytes
  std::string moment;          // "loading", "encoding images" or "reading the prompt"
  int64_t total_bytes = 0;
  int64_t memory = 0;              // as given
  bool fits = true;                // total_bytes <= memory, or no memory was said
  std::vector<FitChange> changes;  // where it does not, smallest change first; may be empty

  std::string to_text(int width = 80) const;
  std::string to_json() const;
};

// Looks at config.json, the image processor's file and tokenizer.json beside it, the latter two
// only where they are there; opens no weights. `backend` says how it would lay out weights and
// caches. Throws Error(io), Error(bad_input), Error(unsupported); Error(usage) where images need
// more tokens than the prompt has, or the context more than the model's positions.
FitPlan plan_fit(const FitOptions& options, const Backend& backend);

}  // namespace squint
