#include "golden/answers.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "eval/results.h"
#include "squint/ocrbench.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint::test {

AnswerResult answer_all(const std::filesystem::path& model, const std::filesystem::path& data,
                        const std::filesystem::path& predictions, Backend& backend) {
  const TempDir folder;
  const std::filesystem::path results = folder.path() / "results.jsonl";
  evaluate_ocrbench({.model = model, .data = data, .results = results}, backend);
  const auto expected = test::json_of(read_text(predictions));
  AnswerResult out;
  for (const eval::ResultRow& row : eval::read_results(results).rows) {
    const auto& golden = expected.at(static_cast<size_t>(row.index));
    ++out.rows;
    out.score += row.hit ? 1 : 0;
    if (golden["min_margin"] > 1e-3 && row.prediction_raw != golden["text"]) {
      out.differences.push_back(fmt::format("row {}: \"{}\", reference \"{}\"", row.index,
                                            row.prediction_raw, golden["text"].get<std::string>()));
    }
  }
  return out;
}

}  // namespace squint::test
