// Loading a tokenizer.json and encoding text: bytes per second on one core. Uses the published
// vocabulary where the shared data is present, else the small one of models/reader.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>
#include <random>
#include <string>
#include <vector>

#include "support/paths.h"
#include "text/tokenizer.h"
#include "text/unicode.h"
#include "text/utf8.h"

namespace squint::text {
namespace {

constexpr size_t kTextBytes = 1 << 20;
constexpr uint32_t kSeed = 42;

const std::string& tokenizer_json() {
  static const std::string json = [] {
    const auto shared = test::shared_data();
    return test::read_text(shared ? *shared / "qwen3-vl-tokenizer/tokenizer.json"
                                  : test::repo_dir() / "models/reader/tokenizer.json");
  }();
  return json;
}

const Tokenizer& tokenizer() {
  static const Tokenizer tokenizer = Tokenizer::parse(tokenizer_json(), "tokenizer.json");
  return tokenizer;
}

// Tokens of the vocabulary made of characters in [first, last] only: thousands of different words.
std::vector<std::string> words(char32_t first, char32_t last, size_t shortest) {
  std::vector<std::string> out;
  for (int32_t id = 0; id < tokenizer().size(); ++id) {
    std::string word(tokenizer().bytes(id));
    if (word.starts_with(' ')) word.erase(0, 1);
    bool fits = word.size() >= shortest;
    for (size_t at = 0; fits && at < word.size();) {
      const Utf8Step step = utf8_step(std::string_view(word).substr(at));
      fits =
          step.kind == Utf8Step::Kind::valid && first <= step.code_point && step.code_point <= last;
      at += step.length;
    }
    if (fits) out.push_back(std::move(word));
  }
  if (out.empty()) out.push_back("word");
  return out;
}

class TextMaker {
 public:
  std::string english(size_t bytes) {
    std::string text;
    while (text.size() < bytes) {
      // Every third word is made of two parts, as rare words are.
      text += latin() + (random_() % 3 == 0 ? latin() : "");
      text += random_() % 12 == 0 ? ". " : random_() % 9 == 0 ? ", " : " ";
      if (random_() % 60 == 0) text += fmt::format("in {} it's\n\n", 1900 + random_() % 200);
    }
    return text;
  }

  std::string chinese(size_t bytes) {
    std::string text;
    while (text.size() < bytes) {
      text += han_[random_() % han_.size()];
      if (random_() % 6 == 0) text += random_() % 3 == 0 ? "。" : "，";
      if (random_() % 60 == 0) text += "\n";
    }
    return text;
  }

  std::string code(size_t bytes) {
    std::string text;
    while (text.size() < bytes) {
      text += fmt::format(
          "  for (int i = 0; i < {}.size(); ++i) {{\n    {}_{}[i] += {} * {}(x[i], 0x{:x});  // "
          "{}\n"
          "  }}\n\n",
          latin(), latin(), latin(), random_() % 1000, latin(), random_() % 65536, latin());
    }
    return text;
  }

  std::string mixed(size_t bytes) {
    std::string text;
    while (text.size() < bytes) text += english(2000) + code(2000) + chinese(2000);
    return text;
  }

 private:
  const std::string& latin() { return latin_[random_() % latin_.size()]; }

  std::mt19937 random_{kSeed};
  std::vector<std::string> latin_ = words(U'a', U'z', 3);
  std::vector<std::string> han_ = words(0x4e00, 0x9fff, 3);
};

void encode(benchmark::State& state, const std::string& text) {
  if (tokenizer().decode(tokenizer().encode(text), /*skip_special=*/false) != text) {
    state.SkipWithError("the text does not survive a round trip");
    return;
  }
  size_t tokens = 0;
  for (auto _ : state) {
    const std::vector<int32_t> ids = tokenizer().encode(text);
    tokens += ids.size();
    benchmark::DoNotOptimize(ids.data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
  state.SetItemsProcessed(static_cast<int64_t>(tokens));
}

void load(benchmark::State& state) {
  for (auto _ : state) {
    const Tokenizer loaded = Tokenizer::parse(tokenizer_json(), "tokenizer.json");
    benchmark::DoNotOptimize(loaded.size());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(tokenizer_json().size()));
}

void encode_english(benchmark::State& state) { encode(state, TextMaker().english(kTextBytes)); }
void encode_chinese(benchmark::State& state) { encode(state, TextMaker().chinese(kTextBytes)); }
void encode_code(benchmark::State& state) { encode(state, TextMaker().code(kTextBytes)); }
void encode_mixed(benchmark::State& state) { encode(state, TextMaker().mixed(kTextBytes)); }

void decode(benchmark::State& state) {
  const std::string text = TextMaker().mixed(kTextBytes);
  const std::vector<int32_t> ids = tokenizer().encode(text);
  if (tokenizer().decode(ids, /*skip_special=*/true) != text) {
    state.SkipWithError("the text does not survive a round trip");
    return;
  }
  for (auto _ : state) {
    benchmark::DoNotOptimize(tokenizer().decode(ids, /*skip_special=*/true).data());
  }
  state.SetBytesProcessed(state.iterations() * static_cast<int64_t>(text.size()));
}

BENCHMARK(load)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_english)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_chinese)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_code)->Unit(benchmark::kMillisecond);
BENCHMARK(encode_mixed)->Unit(benchmark::kMillisecond);
BENCHMARK(decode)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace squint::text

BENCHMARK_MAIN();
