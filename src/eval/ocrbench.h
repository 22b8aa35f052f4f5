// ocrbench.h: the rows of OCRBench v1 and of data in its layout (spec ocrbench-data-hubs.md §1.2,
// §1.3).
//
// A row is an image, a question and one or more reference answers; its position in the file is its
// only reliable key, because the "id" of the source data set collides.
#pragma once

#include <array>
#include <cstdint>
#include <filesystem>
#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace squint::eval {

// A file, or encoded bytes inside of a container.
struct SampleImage {
  std::filesystem::path path;          // or what messages call it: "OCRBench.tsv row 7"
  std::function<std::string()> bytes;  // reads them; empty where the image is a file
};

struct Sample {
  int64_t index = 0;       // position in the file, from 0
  int64_t source_id = -1;  // id within the source data set; -1: unknown
  std::string dataset, type, question;
  std::vector<std::string> answers;  // at least one; none is blank
  SampleImage image;
  std::string image_key;  // equal for rows that share an image: the clusters of §2.4
};

enum class Container : uint8_t { json, tsv, parquet };
std::string_view name(Container container);

// A benchmark's files: `source` itself where it is a .json, .tsv or .parquet; in a folder
// OCRBench.json, else OCRBench.tsv, else all *.parquet there or in data/, in the order of their
// names. Throws Error(io) for a folder without any.
struct DataFiles {
  Container container;
  std::vector<std::filesystem::path> files;
};
DataFiles find_data(const std::filesystem::path& source);

// The rows of find_data(source). Images of the JSON are found below its folder, images/ or
// OCRBench_Images/, the first folder of image_path in any case; those of the others stay where they
// are until they are asked for. Accepts answer/answers, type/question_type/category,
// dataset/dataset_name, and any number of rows. Throws Error(bad_input) naming file, row and key;
// Error(io) for a missing file or image.
std::vector<Sample> load_ocrbench(const std::filesystem::path& source);

// One of the ten question types: its group in the score table and its rows in OCRBench v1.
struct QuestionType {
  std::string_view name, group;
  int64_t official_rows;
};
inline constexpr std::string_view kFormulaType = "Handwritten Mathematical Expression Recognition";
inline constexpr std::string_view kOtherGroup = "Other";
std::span<const QuestionType> question_types();  // in the order of the file
std::span<const std::string_view> groups();      // the five groups, in the order of the score table

// The group of a type; kOtherGroup for a type that OCRBench v1 does not have.
std::string_view group_of(std::string_view type);

// Rows of handwritten mathematics are scored by a rule of their own (§1.4).
bool is_formula(std::string_view dataset, std::string_view type);

// How many rows a data set has per type and source data set, in order of first appearance.
struct RowCount {
  std::string type, dataset;
  int64_t rows = 0;
  friend bool operator==(const RowCount&, const RowCount&) = default;
};
std::vector<RowCount> count_rows(std::span<const Sample> samples);

// Whether every type has exactly OCRBench v1's number of rows; only then can a score stand beside
// published ones.
bool is_complete(std::span<const RowCount> counts);

}  // namespace squint::eval
