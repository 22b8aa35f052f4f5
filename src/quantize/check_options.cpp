#include "quantize/check_options.h"

#include <fmt/format.h>

#include "io/atomic_file.h"
#include "io/checkpoint_writer.h"
#include "quantize/awq.h"
#include "squint/error.h"

namespace squint::quantize {

namespace fs = std::filesystem;

bool has_feedback(const QuantizeOptions& options) {
  return options.method == QuantizeMethod::gptq || options.method == QuantizeMethod::awq_gptq;
}

bool measures_tokens(const QuantizeOptions& options) {
  return has_feedback(options) && !options.image_weight;
}

namespace {

void check_fraction(std::string_view what, double value) {
  if (value >= 0 && value <= 1) return;
  throw Error(ErrorCode::usage, fmt::format("{}: expected 0 to 1, found {}", what, value));
}

void check_calibration(const QuantizeOptions& options) {
  for (const CalibrationSource& source : options.calibration) {
    if (!(source.weight > 0 && source.weight <= 1e9)) {
      throw Error(ErrorCode::usage, fmt::format("{}: expected a weight above 0, at most 1e9, found "
                                                "{}",
                                                source.path.string(), source.weight));
    }
    if (options.rows == 0 && source.weight != options.calibration[0].weight) {
      throw Error(ErrorCode::usage,
                  "weights say how rows are shared; say how many rows there should be");
    }
  }
  if (!options.calibration.empty()) return;
  if (options.method != QuantizeMethod::rtn) {
    throw Error(ErrorCode::usage,
                fmt::format("{} needs calibration data; rtn does without", name(options.method)));
  }
  if (options.observer == RangeObserver::imatrix || options.observer == RangeObserver::clip) {
    throw Error(ErrorCode::usage,
                fmt::format("observer {} weighs errors with what calibration data "
                            "shows; give some, or take mse",
                            name(*options.observer)));
  }
}

}  // namespace

void check_options(const QuantizeOptions& options) {
  if (options.budget && (!(*options.budget >= 4 && *options.budget <= 16) || options.bits != 4)) {
    throw Error(ErrorCode::usage,
                fmt::format("budget: expected 4 to 16 bits per weight and \"bits\" of 4, found {} "
                            "and {}",
                            *options.budget, options.bits));
  }
  if (options.bits != 4 && options.bits != 8) {
    throw Error(ErrorCode::usage, fmt::format("bits: expected 4 or 8, found {}", options.bits));
  }
  if (options.group_size < 0 || options.group_size % 8 != 0) {
    throw Error(ErrorCode::usage, fmt::format("group size: expected a multiple of 8 (loaders take "
                                              "32, 64 and 128), or 0 for one scale per row, found "
                                              "{}",
                                              options.group_size));
  }
  if (options.rows < 0) {
    throw Error(ErrorCode::usage,
                fmt::format("rows: expected 0 (all) or more, found {}", options.rows));
  }
  if (options.calibration_tokens < 0) {
    throw Error(ErrorCode::usage, fmt::format("calibration tokens: expected 0 (any) or more, found "
                                              "{}",
                                              options.calibration_tokens));
  }
  check_calibration(options);
  check_fraction("dampening", options.dampening);
  check_fraction("shrinkage", options.shrinkage);
  check_fraction("propagation", options.propagation);
  check_fraction("image weight", options.image_weight.value_or(1));
  if (options.joined < 0 || options.joined > kMostJoined) {
    throw Error(ErrorCode::usage,
                fmt::format("joined: expected 0 to {}, found {}", kMostJoined, options.joined));
  }
  if (options.joined > 0 && !options.read_image) {
    throw Error(ErrorCode::usage,
                "joined images have no answers: they need a model that reads them "
                "(QuantizeOptions::read_image)");
  }
  if (options.rounds < 0 || options.rounds > 100) {
    throw Error(ErrorCode::usage,
                fmt::format("rounds: expected 0 to 100, found {}", options.rounds));
  }
  if (has_feedback(options) && options.observer == RangeObserver::clip) {
    throw Error(ErrorCode::usage, fmt::format("{} chooses ranges by imatrix, mse or minmax, not {}",
                                              name(options.method), name(*options.observer)));
  }
  const int least = smallest_grid(options.duo_scaling);
  if (options.grid < least || options.grid > 1000) {
    throw Error(ErrorCode::usage,
                fmt::format("grid: expected {} to 1000 with duo scaling {}, found {}", least,
                            name(options.duo_scaling), options.grid));
  }
  const fs::path& out = options.output;
  if (!io::is_vacant(out)) {
    const fs::path journal = fs::path(out).concat(".journal");
    std::error_code unknown;
    throw Error(
        ErrorCode::bad_input,
        fmt::format("{}: exists and is not empty; choose another output folder or remove it{}",
                    out.string(),
                    fs::is_directory(journal, unknown)
                        ? fmt::format("; {} is what a run left that was killed just when it "
                                      "had finished, and may be removed too",
                                      journal.string())
                        : ""));
  }
}

}  // namespace squint::quantize
