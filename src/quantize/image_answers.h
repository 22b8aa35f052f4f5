// image_answers.h: what a model reads in images, asked once.
//
// Answers are kept in a file of JSON lines, {"model": .., "prompt": .., "image": .., "answer": ..},
// image and model by their fingerprints: an interrupted run goes on where it was. The file appears
// whole or not at all, with the first new answer and then about every second.
#pragma once

#include <chrono>
#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "io/checkpoint.h"
#include "quantize/calibration.h"
#include "squint/quantize.h"

namespace squint::quantize {

class ImageAnswers {
 public:
  // The model must outlive this. Nothing is read before the first question.
  ImageAnswers(std::filesystem::path file, const io::Checkpoint& model, ReadImage read)
      : file_(std::move(file)), model_(model), read_(std::move(read)) {}

  // Throws what `read` throws, Error(io), and Error(bad_input) where the file is not such a one.
  std::string read(const RowImage& image, const std::string& prompt);
  // An answer that is there already; asks nobody.
  std::optional<std::string> find(const RowImage& image, const std::string& prompt);
  // Answers since the last time, onto the disk.
  void save();
  // When nobody needs the answers any more; a file that was not used stays.
  void remove() const;

 private:
  using Clock = std::chrono::steady_clock;

  void load();
  std::string ask(const ImageQuestion& question);

  std::filesystem::path file_;
  const io::Checkpoint& model_;
  ReadImage read_;
  std::string fingerprint_;                     // of the model; empty before the first question
  std::string lines_;                           // the file
  std::map<std::string, std::string> answers_;  // by sha256 of the image and prompt
  bool saved_ = true;
  Clock::time_point last_save_{};
};

}  // namespace squint::quantize
