#include "eval/ocrbench.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "eval/ocrbench_containers.h"
#include "eval/utf8.h"
#include "squint/error.h"

namespace squint::eval {
namespace fs = std::filesystem;
namespace {

constexpr std::string_view kJsonName = "OCRBench.json";
constexpr std::string_view kTsvName = "OCRBench.tsv";

constexpr std::array<QuestionType, 10> kTypes = {{
    {"Regular Text Recognition", "Text Recognition", 50},
    {"Irregular Text Recognition", "Text Recognition", 50},
    {"Artistic Text Recognition", "Text Recognition", 50},
    {"Handwriting Recognition", "Text Recognition", 50},
    {"Digit String Recognition", "Text Recognition", 50},
    {"Non-Semantic Text Recognition", "Text Recognition", 50},
    {"Scene Text-centric VQA", "Scene Text-centric VQA", 200},
    {"Doc-oriented VQA", "Doc-oriented VQA", 200},
    {"Key Information Extraction", "Key Information Extraction", 200},
    {kFormulaType, kFormulaType, 100},
}};

constexpr std::array<std::string_view, 5> kGroups = {"Text Recognition", "Scene Text-centric VQA",
                                                     "Doc-oriented VQA",
                                                     "Key Information Extraction", kFormulaType};

}  // namespace

std::string_view name(Container container) {
  return container == Container::json ? "json" : container == Container::tsv ? "tsv" : "parquet";
}

DataFiles find_data(const fs::path& source) {
  std::error_code unknown;  // Reading the file says what is wrong with it.
  if (!fs::is_directory(source, unknown)) {
    if (source.extension() == ".tsv") return {Container::tsv, {source}};
    if (source.extension() == ".parquet") return {Container::parquet, {source}};
    return {Container::json, {source.extension() == ".json" ? source : source / kJsonName}};
  }
  if (fs::exists(source / kJsonName, unknown)) return {Container::json, {source / kJsonName}};
  if (fs::exists(source / kTsvName, unknown)) return {Container::tsv, {source / kTsvName}};
  // As the hub has it: data/test-00000-of-00001.parquet.
  for (const fs::path& folder : {source, source / "data"}) {
    DataFiles found{Container::parquet, {}};
    for (const auto& entry : fs::directory_iterator(folder, unknown)) {
      if (entry.path().extension() == ".parquet") found.files.push_back(entry.path());
    }
    std::ranges::sort(found.files);
    if (!found.files.empty()) return found;
  }
  throw Error(
      ErrorCode::io,
      fmt::format("{}: expected {}, {} or Parquet files (also in data/), found none of them",
                  source.string(), kJsonName, kTsvName));
}

std::vector<Sample> load_ocrbench(const fs::path& source) {
  const DataFiles data = find_data(source);
  if (data.container == Container::json) return load_json(data.files[0]);
  if (data.container == Container::tsv) return load_tsv(data.files[0]);
  return load_parquet(data.files);
}

void expect_answers(std::span<const std::string> answers, std::string_view where) {
  if (answers.empty()) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: there is no answer", where));
  }
  if (std::ranges::any_of(answers, [](const auto& answer) { return strip(answer).empty(); })) {
    throw Error(ErrorCode::bad_input, fmt::format("{}: \"answers\" holds a blank answer", where));
  }
}

std::span<const QuestionType> question_types() { return kTypes; }

std::span<const std::string_view> groups() { return kGroups; }

std::string_view group_of(std::string_view type) {
  const auto found = std::ranges::find(kTypes, type, &QuestionType::name);
  return found == kTypes.end() ? kOtherGroup : found->group;
}

bool is_formula(std::string_view dataset, std::string_view type) {
  return dataset == "HME100k" || type == kFormulaType;
}

std::vector<RowCount> count_rows(std::span<const Sample> samples) {
  std::vector<RowCount> counts;
  for (const Sample& sample : samples) {
    auto found = std::ranges::find_if(counts, [&](const RowCount& count) {
      return count.type == sample.type && count.dataset == sample.dataset;
    });
    if (found == counts.end()) {
      found = counts.insert(found, RowCount{sample.type, sample.dataset, 0});
    }
    ++found->rows;
  }
  return counts;
}

bool is_complete(std::span<const RowCount> counts) {
  std::map<std::string_view, int64_t> rows;
  for (const RowCount& count : counts) rows[count.type] += count.rows;
  return rows.size() == kTypes.size() && std::ranges::all_of(kTypes, [&](const QuestionType& type) {
           const auto found = rows.find(type.name);
           return found != rows.end() && found->second == type.official_rows;
         });
}

}  // namespace squint::eval
