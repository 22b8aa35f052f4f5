// The reference's greedy answers, through the whole engine.
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <string>

#include "squint/engine.h"
#include "support/json.h"
#include "support/paths.h"

namespace squint {
namespace {

TEST(EngineShared, GreedyAnswersOfTheReference) {
  const auto shared = test::shared_data();
  if (!shared) GTEST_SKIP() << test::kNoShared;
  const auto folder = *shared / "goldens/model";
  const auto cases = test::json_of(test::read_text(folder / "cases.json"));
  const BackendPtr backend = open_backend();
  Engine engine(*shared / "tiny-qwen3-vl-ocr", *backend);
  int asked = 0;
  for (const auto& [name, row] : cases.items()) {
    if (!row.contains("question")) continue;  // a prompt with turns of its own
    Request request;
    request.turns = {{.text = row.at("question").get<std::string>()}};
    for (const auto& image : row.at("images")) {
      request.turns[0].images.push_back({.path = folder / image.get<std::string>()});
    }
    request.sampling.temperature = 0;
    EXPECT_EQ(engine.generate(request).text, row.at("text").get<std::string>()) << name;
    ++asked;
  }
  EXPECT_GE(asked, 4);
}

}  // namespace
}  // namespace squint
