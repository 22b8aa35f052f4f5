#include "eval/comparison.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <nlohmann/json.hpp>

#include "eval/edit_distance.h"
#include "eval/ocrbench.h"
#include "eval/utf8.h"
#include "squint/error.h"

namespace squint::eval {
namespace {

// One shared row of both runs.
struct Pair {
  size_t a = 0, b = 0;
  const ResultRow* row = nullptr;  // A's
  bool a_hit = false, b_hit = false;
};

Json settings_of(const Summary& run) {
  const Json header = parse_json(run.file.header, run.path);
  return {{"settings", header.value("settings", Json::object())}};
}

std::vector<HeaderDifference> checked_settings(const Summary& a, const Summary& b, bool force) {
  std::vector<HeaderDifference> differences = header_differences(settings_of(a), settings_of(b));
  if (differences.empty() || force) return differences;
  std::string message = fmt::format(
      "{} and {} were not asked in the same way, so their scores cannot be compared:", a.path,
      b.path);
  for (const HeaderDifference& d : differences) {
    message += fmt::format("\n  {}: {} against {}", d.key, d.expected, d.found);
  }
  throw Error(ErrorCode::bad_input, message);
}

std::vector<Pair> join(const Summary& a, const Summary& b, Comparison& out) {
  std::vector<Pair> pairs;
  const auto& x = a.file.rows;
  const auto& y = b.file.rows;
  size_t i = 0;
  size_t j = 0;
  while (i < x.size() || j < y.size()) {
    if (j == y.size() || (i < x.size() && x[i].index < y[j].index)) {
      out.only_a.push_back(x[i++].index);
    } else if (i == x.size() || y[j].index < x[i].index) {
      out.only_b.push_back(y[j++].index);
    } else {
      if (x[i].question != y[j].question || x[i].answers != y[j].answers) {
        throw Error(ErrorCode::bad_input,
                    fmt::format("{} and {}: row {} asks \"{}\" in one, \"{}\" in the other, or "
                                "expects other answers; runs over different data?",
                                a.path, b.path, x[i].index, clip(one_line(x[i].question), 60),
                                clip(one_line(y[j].question), 60)));
      }
      pairs.push_back({i, j, &x[i], x[i].hit, y[j].hit});
      ++i;
      ++j;
    }
  }
  if (pairs.empty()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{} and {} have no row in common", a.path, b.path));
  }
  return pairs;
}

// Numbers given out in order of appearance.
class Numbers {
 public:
  int64_t of(const std::string& name) {
    return numbers_.try_emplace(name, static_cast<int64_t>(numbers_.size())).first->second;
  }

 private:
  std::map<std::string, int64_t> numbers_;
};

Interval interval_of(const std::vector<Pair>& pairs, const ReportOptions& options) {
  Numbers types;
  Numbers images;
  std::vector<PairedRow> rows;
  for (const Pair& pair : pairs) {
    // A row without an image key shares its image with no other: no path ends in NUL and digits.
    const std::string image = pair.row->image_key.empty()
                                  ? std::string(1, '\0') + std::to_string(pair.row->index)
                                  : pair.row->image_key;
    rows.push_back({.stratum = types.of(pair.row->type),
                    .cluster = images.of(image),
                    .difference = static_cast<int>(pair.b_hit) - static_cast<int>(pair.a_hit)});
  }
  return bootstrap_difference(rows, {.resamples = options.resamples, .seed = options.seed});
}

PairTally tally(std::string name, const std::vector<Pair>& pairs) {
  PairTally t;
  t.name = std::move(name);
  for (const Pair& pair : pairs) {
    ++t.n;
    t.a_hits += pair.a_hit ? 1 : 0;
    t.b_hits += pair.b_hit ? 1 : 0;
    t.b += pair.a_hit && !pair.b_hit ? 1 : 0;
    t.c += !pair.a_hit && pair.b_hit ? 1 : 0;
  }
  t.p = mcnemar_exact(t.b, t.c);
  return t;
}

// Keeps the order of `names`; what has no rows is left out.
template <class NameOf>
std::vector<PairTally> tally_by(const std::vector<Tally>& names, const std::vector<Pair>& pairs,
                                const ReportOptions* bootstrap, const NameOf& name_of) {
  std::vector<PairTally> tallies;
  for (const Tally& named : names) {
    std::vector<Pair> part;
    std::ranges::copy_if(pairs, std::back_inserter(part),
                         [&](const Pair& pair) { return name_of(*pair.row) == named.name; });
    if (part.empty()) continue;
    tallies.push_back(tally(named.name, part));
    if (bootstrap != nullptr) tallies.back().interval = interval_of(part, *bootstrap);
  }
  return tallies;
}

void adjust(std::vector<PairTally>& types) {
  std::vector<double> p;
  p.reserve(types.size());
  for (const PairTally& type : types) p.push_back(type.p);
  const std::vector<double> adjusted = holm_adjust(p);
  for (size_t i = 0; i < types.size(); ++i) types[i].p_holm = adjusted[i];
}

std::optional<int64_t> first_difference(std::string_view a, std::string_view b) {
  if (a == b) return std::nullopt;
  const std::u32string x = code_points(a);
  const std::u32string y = code_points(b);
  const auto [at, other] = std::ranges::mismatch(x, y);
  return at - x.begin();
}

void add_changes(const Summary& a, const Summary& b, const std::vector<Pair>& pairs,
                 Comparison& out) {
  double distance = 0;
  for (const Pair& pair : pairs) {
    const ResultRow& x = a.file.rows[pair.a];
    const ResultRow& y = b.file.rows[pair.b];
    out.identical_verdicts += x.hit == y.hit ? 1 : 0;
    out.identical_texts += x.normalized_prediction == y.normalized_prediction ? 1 : 0;
    distance += normalized_edit_distance(x.normalized_prediction, y.normalized_prediction);
    if (x.hit == y.hit) continue;
    (x.hit ? out.regressions : out.gains)
        .push_back({pair.a, pair.b, first_difference(x.prediction_scored, y.prediction_scored)});
  }
  out.mean_edit_distance = distance / static_cast<double>(pairs.size());
}

}  // namespace

std::string_view to_string(Verdict verdict) {
  static constexpr std::array<std::string_view, 3> kNames = {"regression", "within noise",
                                                             "improvement"};
  return kNames[static_cast<size_t>(verdict)];
}

Comparison compare(const Summary& a, const Summary& b, const ReportOptions& options) {
  if (!(options.margin >= 0 && options.margin <= 1000)) {
    throw Error(ErrorCode::usage,
                fmt::format("margin: expected 0 to 1000 points of 1000, found {}", options.margin));
  }
  Comparison out;
  out.options = options;
  out.setting_differences = checked_settings(a, b, options.force);
  const std::vector<Pair> pairs = join(a, b, out);
  out.total = tally("Total", pairs);
  out.total.interval = interval_of(pairs, options);
  out.groups =
      tally_by(a.groups, pairs, &options, [](const ResultRow& row) { return group_of(row.type); });
  out.types = tally_by(a.types, pairs, nullptr,
                       [](const ResultRow& row) { return std::string_view(row.type); });
  adjust(out.types);
  const auto [b_rows, c_rows] = std::pair(out.total.b, out.total.c);
  if (b_rows + c_rows >= kChi2MinDiscordant) out.chi2 = mcnemar_chi2(b_rows, c_rows);
  add_changes(a, b, pairs, out);
  const Interval& interval = out.total.interval;
  if (interval.high < 0) out.verdict = Verdict::regression;
  if (interval.low > 0) out.verdict = Verdict::improvement;
  // Rows that B has not answered yet are not compared: they could still be lost.
  out.non_inferior = b.total.missing() == 0 && interval.low > -options.margin / 1000;
  return out;
}

}  // namespace squint::eval
