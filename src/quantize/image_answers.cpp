#include "quantize/image_answers.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "base/json.h"
#include "io/atomic_file.h"
#include "io/fingerprint.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::quantize {
namespace fs = std::filesystem;
namespace {

constexpr int64_t kMaxAnswersBytes = int64_t{1} << 30;
constexpr std::chrono::seconds kSaveEvery{1};

}  // namespace

void ImageAnswers::load() {
  fingerprint_ = io::fingerprint(model_);
  std::error_code error;
  if (!fs::exists(file_, error)) return;
  std::istringstream text(io::read_file(file_, kMaxAnswersBytes));
  std::string line;
  for (int64_t number = 1; std::getline(text, line); ++number) {
    const std::string where = fmt::format("{} line {}", file_.string(), number);
    try {
      const Json answer = parse_json(line, where);
      const bool ours = string_member(answer, "model", where) == fingerprint_;
      const std::string asked =
          string_member(answer, "image", where) + string_member(answer, "prompt", where);
      if (!ours || !answers_.emplace(asked, string_member(answer, "answer", where)).second)
        continue;
      lines_ += line + "\n";
    } catch (const Error& e) {
      throw Error(e.code(), fmt::format("{}; the run would keep answers there: move the file away "
                                        "or choose another output folder",
                                        e.what()));
    }
  }
}

std::string ImageAnswers::read(const RowImage& image, const std::string& prompt) {
  if (fingerprint_.empty()) load();
  ImageQuestion question{.bytes = encoded(image), .name = image.path.string(), .prompt = prompt};
  const std::string hash = io::sha256(question.bytes);
  const auto known = answers_.find(hash + prompt);
  if (known != answers_.end()) return known->second;
  // An image that was made up shows no text that would be right: any of the model's answers is as
  // good as the likeliest, and together they show more of what it may say.
  if (image.joined) {
    question.temperature = 1;
    question.seed = std::stoull(hash.substr(0, 16), nullptr, 16);
  }
  std::string answer = ask(question);
  answers_.emplace(hash + prompt, answer);
  lines_ +=
      Json{{"model", fingerprint_}, {"prompt", prompt}, {"image", hash}, {"answer", answer}}.dump(
          -1, ' ', false, Json::error_handler_t::replace) +
      "\n";
  saved_ = false;
  if (Clock::now() - last_save_ >= kSaveEvery) save();
  return answer;
}

std::optional<std::string> ImageAnswers::find(const RowImage& image, const std::string& prompt) {
  if (fingerprint_.empty()) load();
  const auto known = answers_.find(io::sha256(encoded(image)) + prompt);
  return known != answers_.end() ? std::optional(known->second) : std::nullopt;
}

std::string ImageAnswers::ask(const ImageQuestion& question) {
  try {
    return read_(question);
  } catch (const Error& e) {
    save();
    if (e.code() != ErrorCode::interrupted) throw;
    throw Error(ErrorCode::interrupted,
                fmt::format("interrupted; {} answers are kept in {}: the same command continues "
                            "after them",
                            answers_.size(), file_.string()));
  }
}

void ImageAnswers::save() {
  if (saved_) return;
  std::error_code error;  // Writing says what is wrong.
  fs::create_directories(file_.parent_path(), error);
  io::write_file_atomically(file_, lines_);
  saved_ = true;
  last_save_ = Clock::now();
}

void ImageAnswers::remove() const {
  std::error_code ignored;
  if (!fingerprint_.empty()) fs::remove(file_, ignored);
}

}  // namespace squint::quantize
