#include "squint/fit.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <nlohmann/json.hpp>

#include "base/process_memory.h"
#include "io/checkpoint.h"
#include "io/mapped_file.h"
#include "models/qwen3_vl/footprint.h"
#include "models/qwen3_vl/image_processor.h"
#include "models/qwen3_vl/stored_forms.h"
#include "ops/backend.h"
#include "runtime/memory_plan.h"
#include "squint/error.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using runtime::MemoryPlan;

constexpr int64_t kMaxConfigBytes = int64_t{64} << 20;
constexpr int64_t kMaxSide = 1 << 20;
// <|im_start|>user, <|vision_start|>, a question, ...: what a prompt has beside its images.
constexpr int64_t kLeastText = 16;
constexpr double kMostValues = 1e14;

struct Subject {
  Json json;
  std::string where;
  qwen3_vl::Config config;
  qwen3_vl::ImageProcessorConfig limits;
};

[[noreturn]] void refuse(const std::string& what) { throw Error(ErrorCode::usage, what); }

Subject read_subject(const fs::path& model) {
  std::error_code ignored;
  const bool folder = fs::is_directory(model, ignored);
  const fs::path file = folder ? model / io::kConfigFileName : model;
  Subject s{.where = file.string()};
  s.json = parse_json(io::read_file(file, kMaxConfigBytes), s.where);
  s.config = qwen3_vl::parse_config(s.json, s.where);
  s.limits = qwen3_vl::find_image_processor(file.parent_path()).value_or(s.limits);
  return s;
}

// Patches of each image after resizing.
std::vector<int64_t> patches_of(const std::vector<ImageSize>& images,
                                const qwen3_vl::ImageProcessorConfig& limits) {
  std::vector<int64_t> out;
  for (const ImageSize& image : images) {
    if (image.width < 1 || image.height < 1 || image.width > kMaxSide || image.height > kMaxSide) {
      refuse(fmt::format("image {}x{}: expected sides of 1 to {} pixels", image.width, image.height,
                         kMaxSide));
    }
    const auto size = qwen3_vl::smart_resize(image.height, image.width, limits);
    if (!size) {
      refuse(fmt::format("image {}x{}: one side may be at most 200 times the other", image.width,
                         image.height));
    }
    out.push_back(patch_count(*size, limits));
  }
  return out;
}

struct Asked {
  const Subject& subject;
  const Backend& backend;
  FitOptions options;
};

// Before anything is multiplied.
void check_lengths(const Asked& r) {
  const FitOptions& o = r.options;
  const qwen3_vl::TextConfig& t = r.subject.config.text;
  if (o.context < 2 || o.answer < 1 || o.answer >= o.context) {
    refuse(
        fmt::format("expected a context of 2 tokens or more and an answer shorter than it, "
                    "found {} and {}",
                    o.context, o.answer));
  }
  if (o.context > t.max_positions) {
    refuse(
        fmt::format("context: {} tokens, the model was made for {}", o.context, t.max_positions));
  }
  const double width = static_cast<double>(t.heads) * static_cast<double>(t.head_dim) +
                       static_cast<double>(t.hidden + t.intermediate);
  const double values =
      static_cast<double>(t.layers) * width * static_cast<double>(t.hidden + o.context);
  if (values > kMostValues) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: {:.0e} values of weights or cache, more than any machine has; a "
                            "damaged file?",
                            r.subject.where, values));
  }
}

void check_images(const FitOptions& o, int64_t image_tokens) {
  if (image_tokens == 0 || image_tokens + kLeastText <= o.context - o.answer) return;
  refuse(
      fmt::format("the images take {} tokens, the prompt has room for {} ({} of context less {} "
                  "of the answer): a longer context, a shorter answer or smaller images",
                  image_tokens, o.context - o.answer, o.context, o.answer));
}

std::optional<QuantizationScheme> assumed_scheme(const FitOptions& o) {
  if (!o.bits) return std::nullopt;
  if (*o.bits != 4 && *o.bits != 8) refuse(fmt::format("bits: expected 4 or 8, found {}", *o.bits));
  if (o.group_size < 0) {
    refuse(fmt::format("group size: expected 0 or more, found {}", o.group_size));
  }
  return QuantizationScheme{.bits = *o.bits, .group_size = o.group_size};
}

MemoryPlan sizes_of(const Asked& r) {
  check_lengths(r);
  const qwen3_vl::Config& config = r.subject.config;
  const auto limits = with_areas(r.subject.limits, r.options.min_pixels, r.options.max_pixels);
  const std::vector<int64_t> patches = patches_of(r.options.images, limits);
  const auto forms =
      qwen3_vl::stored_forms(r.subject.json, r.subject.where, assumed_scheme(r.options));
  const MemoryPlan sizes = runtime::plan_memory(config, forms, r.backend,
                                                {.patches = patches,
                                                 .prompt = r.options.context - r.options.answer,
                                                 .context = r.options.context},
                                                resident_bytes());
  check_images(r.options, sizes.image_tokens);
  return sizes;
}

// What --context N means for the answer: at most half of it.
void shorten(FitOptions& o, int64_t context) {
  o.context = context;
  o.answer = std::min(o.answer, context / 2);
}

class Search {
 public:
  Search(const Asked& request, int64_t image_tokens, int64_t largest_area, bool packed)
      : request_(request), image_tokens_(image_tokens), area_(largest_area), packed_(packed) {}

  std::vector<FitChange> run() {
    std::vector<FitChange> fitting;
    for (const auto& steps : {contexts(image_tokens_), areas(), weights()}) {
      for (const Change& change : steps) {
        FitOptions o = request_.options;
        change.apply(o);
        const auto total = total_with(o);
        if (!total || *total > o.memory) continue;
        fitting.push_back({change.what, *total});
        break;
      }
    }
    if (!fitting.empty()) return fitting;
    return together();
  }

 private:
  struct Change {
    std::string what;
    std::function<void(FitOptions&)> apply;
  };

  // Those with room for that many tokens of images.
  std::vector<Change> contexts(int64_t image_tokens) const {
    std::vector<Change> out;
    for (int64_t c = request_.options.context / 2; c >= 64; c /= 2) {
      if (image_tokens > 0 &&
          image_tokens + kLeastText > c - std::min(request_.options.answer, c / 2)) {
        break;
      }
      out.push_back({fmt::format("--context {}", c), [c](FitOptions& o) { shorten(o, c); }});
    }
    return out;
  }
  std::vector<Change> areas() const {
    std::vector<Change> out;
    const int64_t least = request_.options.min_pixels.value_or(request_.subject.limits.min_area);
    for (int64_t a = area_ / 2; a >= least && area_ > 0; a /= 2) {
      out.push_back({fmt::format("--max-pixels {}", a), [a](FitOptions& o) { o.max_pixels = a; }});
    }
    return out;
  }
  std::vector<Change> weights() const {
    if (packed_) return {};
    return {{"--bits 4", [](FitOptions& o) { o.bits = 4; }}};
  }

  // Weights first, which cost least of what a model can do; then one halving after the other.
  std::vector<FitChange> together() {
    FitOptions o = request_.options;
    std::string what;
    for (const Change& change : weights()) {
      change.apply(o);
      what = change.what;
    }
    const std::vector<Change> contexts = this->contexts(0);  // images shrink with them
    const std::vector<Change> areas = this->areas();
    for (size_t i = 0; i < std::max(contexts.size(), areas.size()); ++i) {
      std::string words = what;
      for (const auto* steps : {&contexts, &areas}) {
        if (steps->empty()) continue;
        const Change& change = (*steps)[std::min(i, steps->size() - 1)];
        change.apply(o);
        words += (words.empty() ? "" : " ") + change.what;
      }
      const auto total = total_with(o);
      if (total && *total <= o.memory) return {{words, *total}};
    }
    return {};
  }

  std::optional<int64_t> total_with(const FitOptions& o) const {
    try {
      return sizes_of({request_.subject, request_.backend, o}).total();
    } catch (const Error&) {
      return std::nullopt;  // groups that do not divide, and the like: no way out then
    }
  }

  const Asked& request_;
  int64_t image_tokens_;
  int64_t area_;
  bool packed_;
};

}  // namespace

FitPlan plan_fit(const FitOptions& options, const Backend& backend) {
  const Subject subject = read_subject(options.model);
  const Asked request{subject, backend, options};
  const MemoryPlan sizes = sizes_of(request);
  const auto forms = qwen3_vl::stored_forms(subject.json, subject.where, assumed_scheme(options));
  FitPlan plan = runtime::in_words(
      sizes, {.prompt = options.context - options.answer, .context = options.context},
      runtime::text_form(subject.config, forms));
  plan.model = options.model.string();
  plan.memory = options.memory;
  plan.fits = options.memory == 0 || plan.total_bytes <= options.memory;
  if (!plan.fits) {
    const int64_t side = int64_t{subject.limits.patch_size} * subject.limits.merge_size;
    int64_t area = 0;
    for (const int64_t patches : patches_of(
             options.images, with_areas(subject.limits, options.min_pixels, options.max_pixels))) {
      area = std::max(area, patches * side * side / 4);
    }
    const bool packed = options.bits || subject.json.contains("quantization_config");
    plan.changes = Search(request, sizes.image_tokens, area, packed).run();
  }
  return plan;
}

}  // namespace squint
