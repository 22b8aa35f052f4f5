// report_words.h: numbers and texts as all forms of a report show them.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "eval/statistics.h"
#include "eval/summary.h"

namespace squint::eval {

std::string bytes_text(int64_t bytes);  // "35.4 MB"
// A share as percent without its sign; "-" where there is none.
std::string percent_text(const std::optional<double>& share);
std::string number_text(const std::optional<double>& value);
std::string p_text(double p);
// "+0" and "-0.0" say nothing that "0" does not.
std::string signed_text(int64_t value);
std::string signed_percent(double share);
std::string interval_text(const Interval& interval);        // "93.1 to 96.0", percent
std::string signed_interval(const Interval& interval);      // "-1.2 to 0.3", percent
std::string joined(const std::vector<std::string>& texts);  // "a | b"
// The model, or, where the header does not say, the file.
std::string name_of(const Summary& run);
// What the model said, or why it did not.
std::string output_of(const ResultRow& row);
// "max_tokens=256" of each of the run's settings.
std::vector<std::string> settings_of(const Summary& run);

}  // namespace squint::eval
