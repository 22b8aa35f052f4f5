#include <fmt/format.h>

#include <algorithm>

#include "base/quantile.h"
#include "bench/measures.h"
#include "ops/backend.h"
#include "squint/error.h"

namespace squint {
namespace {

using bench::ModelFacts;
using bench::Round;
using Limit = BenchMeasure::Limit;

void expect(bool fine, const std::string& what) {
  if (!fine) throw Error(ErrorCode::usage, "bench: " + what);
}

void check(const BenchOptions& o) {
  expect(!o.models.empty() && o.models.size() <= 8,
         fmt::format("expected 1 to 8 models, found {}", o.models.size()));
  expect(o.rounds >= 1 && o.rounds <= 1000,
         fmt::format("rounds: expected 1 to 1000, found {}", o.rounds));
  expect(o.generate >= 2 && o.generate <= 100'000,
         fmt::format("generate: expected 2 to 100000 tokens, found {}", o.generate));
  for (const int64_t tokens : o.prefill) {
    expect(tokens >= 1 && tokens <= 1 << 24,
           fmt::format("prefill: expected 1 token or more, found {}", tokens));
  }
  for (const int64_t tokens : o.depth) {
    expect(tokens >= 0 && tokens <= 1 << 24,
           fmt::format("depth: expected 0 tokens or more, found {}", tokens));
  }
  const bool none = o.image_width == 0 && o.image_height == 0;
  const auto fine = [](int64_t side) { return side >= 1 && side <= 16384; };
  expect(none || (fine(o.image_width) && fine(o.image_height)),
         fmt::format("image: expected sides of 1 to 16384 pixels, found {}x{}", o.image_width,
                     o.image_height));
}

// The folder's name, with as many of those above it as tell it from the others.
std::vector<std::string> names_of(const std::vector<std::filesystem::path>& models) {
  std::vector<std::string> names;
  for (size_t i = 0; i < models.size(); ++i) {
    const auto full = std::filesystem::absolute(models[i]).lexically_normal();
    auto at = full.has_filename() ? full : full.parent_path();
    std::string name = at.filename().string();
    if (std::ranges::find(names, name) != names.end()) {
      name = at.parent_path().filename().string() + "/" + name;
    }
    if (std::ranges::find(names, name) != names.end()) name += fmt::format(" ({})", i + 1);
    names.push_back(name);
  }
  return names;
}

// Adds measures to a model: titles, medians, shares of the machine.
class Summary {
 public:
  Summary(BenchModel& model, const MachineReport& machine, const std::vector<Round>& rounds)
      : model_(model), machine_(machine), rounds_(rounds) {}

  template <class ValueOf>
  BenchMeasure& add(std::string name, std::string title, const char* unit, ValueOf value_of) {
    BenchMeasure m{.name = std::move(name), .title = std::move(title), .unit = unit};
    for (const Round& round : rounds_) m.values.push_back(value_of(round));
    std::vector<double> sorted = m.values;
    std::ranges::sort(sorted);
    m.median = quantile(sorted, 0.5);
    m.lowest = sorted.front();
    m.highest = sorted.back();
    model_.measures.push_back(std::move(m));
    return model_.measures.back();
  }

  // `per_second` is what the median means in bytes or operations.
  void limit(BenchMeasure& m, Limit limit, double work, double per_second) const {
    const double most = limit == Limit::bandwidth ? machine_.read_bytes_a_second
                                                  : machine_.float_operations_a_second;
    if (most <= 0) return;  // not known of this machine
    m.limit = limit;
    m.work = work;
    m.share = per_second / most;
  }

 private:
  BenchModel& model_;
  const MachineReport& machine_;
  const std::vector<Round>& rounds_;
};

double answer_seconds(const Completion& c) {
  return (c.ms_images + c.ms_prefill + c.ms_decode) / 1e3;
}

void add_answer(Summary& summary, const BenchOptions& o, const ModelFacts& facts, bool energy) {
  BenchMeasure& image =
      summary.add("image_ms", fmt::format("image {}x{}", o.image_width, o.image_height), "ms",
                  [](const Round& r) { return r.answer.ms_images; });
  summary.limit(image, Limit::arithmetic, facts.image_operations,
                facts.image_operations / (image.median / 1e3));
  summary.add("first_token_ms", "time to first token", "ms",
              [](const Round& r) { return r.answer.ms_images + r.answer.ms_prefill; });
  summary.add("seconds_per_answer", "seconds per answer", "s",
              [](const Round& r) { return answer_seconds(r.answer); });
  summary.add("tokens_per_second", "tokens per second", "tokens/s", [](const Round& r) {
    return static_cast<double>(r.answer.ids.size()) / answer_seconds(r.answer);
  });
  if (energy) {
    summary.add("joules_per_answer", "energy per answer", "J",
                [](const Round& r) { return r.joules; });
  }
}

void add_speeds(Summary& summary, const BenchOptions& o, const ModelFacts& facts) {
  for (const int64_t tokens : o.prefill) {
    if (!has_room(tokens, o, facts)) continue;
    BenchMeasure& m =
        summary.add(fmt::format("prefill_{}_tokens_per_second", tokens),
                    fmt::format("prefill {}", tokens), "tokens/s", [=](const Round& r) {
                      return static_cast<double>(tokens) / (r.prefill_ms.at(tokens) / 1e3);
                    });
    const double work = facts.prefill_operations(tokens);
    summary.limit(m, Limit::arithmetic, work, work * m.median / static_cast<double>(tokens));
  }
  for (const int64_t depth : o.depth) {
    if (!has_room(depth, o, facts)) continue;
    BenchMeasure& m = summary.add(fmt::format("decode_{}_tokens_per_second", depth),
                                  fmt::format("decode at {}", depth), "tokens/s",
                                  [=](const Round& r) { return 1e3 / r.decode_ms.at(depth); });
    const double work =
        static_cast<double>(facts.token_weight_bytes) + facts.cache_bytes(depth + o.generate / 2);
    summary.limit(m, Limit::bandwidth, work, work * m.median);
  }
}

void note_skipped(BenchModel& model, const BenchOptions& o, const ModelFacts& facts) {
  std::vector<int64_t> asked = o.prefill;
  asked.insert(asked.end(), o.depth.begin(), o.depth.end());
  std::ranges::sort(asked);
  const auto first = std::unique(asked.begin(), asked.end());
  asked.erase(first, asked.end());
  for (const int64_t tokens : asked) {
    if (has_room(tokens, o, facts)) continue;
    model.skipped.push_back(fmt::format("{} tokens: the model was made for {}, answer included",
                                        tokens, facts.max_tokens));
  }
}

void note_differences(BenchModel& model, const std::vector<Round>& rounds) {
  for (size_t i = 1; i < rounds.size(); ++i) {
    for (const auto& [what, ids] : rounds.front().ids) {
      if (rounds[i].ids.at(what) == ids) continue;
      model.differences.push_back(
          fmt::format("round {} answered {} with other tokens than round 1", i + 1, what));
    }
  }
}

BenchModel summarize(const std::filesystem::path& folder, const std::string& name,
                     const BenchOptions& o, const ModelFacts& facts, const MachineReport& machine,
                     const std::vector<Round>& rounds, bool energy) {
  BenchModel model{.model = folder,
                   .name = name,
                   .stored_bytes = rounds.front().stored_bytes,
                   .parameters = facts.parameters,
                   .token_weight_bytes = facts.token_weight_bytes,
                   .image_tokens = facts.image_tokens};
  Summary summary(model, machine, rounds);
  summary.add("load_s", "load time", "s", [](const Round& r) { return r.load_s; });
  summary.add("memory_after_load_mb", "memory after load", "MB",
              [](const Round& r) { return static_cast<double>(r.loaded_bytes) / 1e6; });
  if (o.image_width > 0) add_answer(summary, o, facts, energy);
  add_speeds(summary, o, facts);
  if (rounds.front().peak_bytes > 0) {
    summary.add("peak_memory_mb", "peak memory", "MB",
                [](const Round& r) { return static_cast<double>(r.peak_bytes) / 1e6; });
  }
  note_skipped(model, o, facts);
  note_differences(model, rounds);
  return model;
}

}  // namespace

BenchReport run_benchmark(const BenchOptions& o, Backend& backend) {
  check(o);
  BenchReport report{.rounds = o.rounds,
                     .generate = o.generate,
                     .image_width = o.image_width,
                     .image_height = o.image_height};
  std::vector<ModelFacts> facts;
  int64_t total = 0;
  for (const auto& model : o.models) {
    facts.push_back(bench::facts_of(model, o, backend));
    total += (1 + (o.image_width > 0 ? 1 : 0) +
              static_cast<int64_t>(prompts_of(o, facts.back()).size())) *
             o.rounds;
  }
  bench::EnergyMeter energy;
  report.energy = energy.readable();
  report.machine = examine_machine(backend, o.models.front());
  // What the host reads from its memory says nothing of a card's, nor does a product that is too
  // small for one.
  if (backend.device().kind != DeviceKind::cpu) {
    report.machine.read_bytes_a_second = 0;
    report.machine.float_operations_a_second = 0;
  }
  const std::vector<std::string> names = names_of(o.models);
  std::vector<std::vector<Round>> rounds(o.models.size());
  int64_t done = 0;
  for (int round = 0; round < o.rounds; ++round) {
    for (size_t i = 0; i < o.models.size(); ++i) {
      const auto step = [&](const std::string& what) {
        if (o.stop.stop_requested()) throw Error(ErrorCode::interrupted, "interrupted");
        if (o.on_progress) {
          o.on_progress({done, total, fmt::format("round {}: {}, {}", round + 1, names[i], what)});
        }
        ++done;
      };
      rounds[i].push_back(bench::run_round(o.models[i], o, facts[i], backend, energy, step));
    }
  }
  if (o.on_progress) o.on_progress({total, total, ""});
  for (size_t i = 0; i < o.models.size(); ++i) {
    report.models.push_back(
        summarize(o.models[i], names[i], o, facts[i], report.machine, rounds[i], report.energy));
  }
  return report;
}

bool BenchReport::same_tokens() const {
  return std::ranges::all_of(models, [](const BenchModel& m) { return m.differences.empty(); });
}

}  // namespace squint
