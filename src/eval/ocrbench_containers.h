// ocrbench_containers.h: the three forms in which OCRBench is handed around (spec
// ocrbench-data-hubs.md §1.3). Records are the same but for what a form does not hold: source_id
// and image paths stand in the JSON alone, and images may be encoded differently.
#pragma once

#include <filesystem>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "eval/ocrbench.h"

namespace squint::eval {

inline constexpr int64_t kMaxImageBytes = int64_t{1} << 28;

// The official list, with images as files beside it.
std::vector<Sample> load_json(const std::filesystem::path& file);
// VLMEvalKit's table; images in base64, or the index of the row whose image it is.
std::vector<Sample> load_tsv(const std::filesystem::path& file);
// The hub's Parquet, one file or several in their order.
std::vector<Sample> load_parquet(std::span<const std::filesystem::path> files);

// Throws Error(bad_input) where there is none, or a blank one: it is contained in every output, so
// that the row would always score.
void expect_answers(std::span<const std::string> answers, std::string_view where);

}  // namespace squint::eval
