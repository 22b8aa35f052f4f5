#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "squint/bench.h"
#include "squint/version.h"

namespace squint {
namespace {

using Limit = BenchMeasure::Limit;

// Three digits that say something, and no exponent.
std::string number(double value) {
  const double size = std::abs(value);
  return fmt::format("{:.{}f}", value, size >= 100 ? 0 : size >= 10 ? 1 : size >= 1 ? 2 : 3);
}

std::string spread(const BenchMeasure& m) {
  return fmt::format("{}-{}", number(m.lowest), number(m.highest));
}

std::string percent(double share) {
  return fmt::format("{:.{}f} %", share * 100, share < 0.1 ? 1 : 0);
}

const char* name_of(Limit limit) {
  return limit == Limit::bandwidth ? "bandwidth" : limit == Limit::arithmetic ? "arithmetic" : "";
}

const BenchMeasure* find(const BenchModel& model, const std::string& name) {
  const auto it = std::ranges::find(model.measures, name, &BenchMeasure::name);
  return it == model.measures.end() ? nullptr : &*it;
}

// Every measure that some model has, in their order.
std::vector<const BenchMeasure*> all_measures(const std::vector<BenchModel>& models) {
  std::vector<const BenchMeasure*> all;
  for (const BenchModel& model : models) {
    for (const BenchMeasure& m : model.measures) {
      if (std::ranges::none_of(all, [&](const auto* seen) { return seen->name == m.name; })) {
        all.push_back(&m);
      }
    }
  }
  // Peak memory is every model's last.
  std::stable_partition(all.begin(), all.end(),
                        [](const auto* m) { return m->name != "peak_memory_mb"; });
  return all;
}

using Row = std::vector<std::string>;

// Titles stand left, numbers right; ASCII only, so a byte is a column.
std::string render(const std::vector<Row>& rows) {
  std::vector<size_t> widths(rows.front().size());
  for (const Row& row : rows) {
    for (size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string out;
  for (const Row& row : rows) {
    std::string line = fmt::format("{:<{}}", row.front(), widths.front());
    for (size_t i = 1; i < row.size(); ++i) line += fmt::format("  {:>{}}", row[i], widths[i]);
    out += line.substr(0, line.find_last_not_of(' ') + 1) + "\n";
  }
  return out;
}

size_t width_of(const std::vector<Row>& rows) {
  const std::string text = render(rows);
  size_t most = 0;
  size_t begin = 0;
  while (begin < text.size()) {
    const size_t end = text.find('\n', begin);
    most = std::max(most, end - begin);
    begin = end + 1;
  }
  return most;
}

std::vector<Row> rows_of_one(const BenchModel& model) {
  std::vector<Row> rows = {{"", "median", "", "min-max", "of the machine"}};
  for (const BenchMeasure& m : model.measures) {
    rows.push_back({m.title, number(m.median), m.unit, spread(m),
                    m.limit == Limit::none
                        ? ""
                        : fmt::format("{} of {}", percent(m.share), name_of(m.limit))});
  }
  return rows;
}

// A column for each model, with its spread; shares on lines of their own. Two get a ratio.
std::vector<Row> rows_of_several(const std::vector<BenchModel>& models, bool with_spread,
                                 bool ratio) {
  Row titles = {"", ""};
  for (const BenchModel& model : models) titles.push_back(model.name);
  if (ratio) titles.emplace_back("ratio");
  std::vector<Row> rows = {titles};
  for (const BenchMeasure* m : all_measures(models)) {
    Row row = {m->title, m->unit};
    Row shares = {fmt::format("  of {}", name_of(m->limit)), ""};
    for (const BenchModel& model : models) {
      const BenchMeasure* own = find(model, m->name);
      row.push_back(own == nullptr ? "-"
                    : with_spread  ? fmt::format("{} ({})", number(own->median), spread(*own))
                                   : number(own->median));
      shares.push_back(own == nullptr ? "-" : percent(own->share));
    }
    const BenchMeasure* first = find(models.front(), m->name);
    const BenchMeasure* last = find(models.back(), m->name);
    if (ratio) {
      const bool both = first != nullptr && last != nullptr && first->median > 0;
      row.push_back(both ? fmt::format("x{}", number(last->median / first->median)) : "");
      shares.emplace_back();
    }
    rows.push_back(std::move(row));
    if (m->limit != Limit::none) rows.push_back(std::move(shares));
  }
  return rows;
}

// As many columns as there is room for, the rest below.
std::string several_text(const std::vector<BenchModel>& models, size_t width, bool ratio) {
  for (const bool with_spread : {true, false}) {
    const auto rows = rows_of_several(models, with_spread, ratio);
    if (width_of(rows) <= width) return render(rows);
  }
  if (models.size() <= 2) return render(rows_of_several(models, false, ratio));
  const auto half = static_cast<std::ptrdiff_t>(models.size() / 2);
  return several_text({models.begin(), models.begin() + half}, width, false) + "\n" +
         several_text({models.begin() + half, models.end()}, width, false);
}

std::string facts_of(const BenchModel& m) {
  return fmt::format("{}: {:.1f} M parameters, {:.1f} MB on disk, {:.1f} MB read for a token",
                     m.name, static_cast<double>(m.parameters) / 1e6,
                     static_cast<double>(m.stored_bytes) / 1e6,
                     static_cast<double>(m.token_weight_bytes) / 1e6);
}

std::vector<std::string> notes_of(const BenchReport& r) {
  std::vector<std::string> notes;
  for (const BenchModel& m : r.models) {
    for (const std::string& note : m.skipped) notes.push_back(m.name + ": " + note);
  }
  if (r.image_width > 0 && !r.energy) notes.emplace_back("energy: not readable on this machine");
  if (r.same_tokens()) {
    notes.push_back(r.rounds > 1
                        ? fmt::format("every answer had the same tokens in all {} rounds", r.rounds)
                        : "one round: whether answers repeat was not tried");
  }
  for (const BenchModel& m : r.models) {
    for (const std::string& difference : m.differences) {
      notes.push_back(fmt::format("DIFFERENT: {}: {}", m.name, difference));
    }
  }
  return notes;
}

std::string header(const BenchReport& r) {
  return fmt::format("{}, {} threads, {} kernels", r.machine.processor, r.machine.threads,
                     r.machine.running);
}

std::string limits(const BenchReport& r) {
  if (r.machine.read_bytes_a_second <= 0) {
    return "what this device could do at most is not measured";
  }
  return fmt::format("{:.1f} GB/s read, {:.0f} GFLOP/s, both as measured before the first round",
                     r.machine.read_bytes_a_second / 1e9,
                     r.machine.float_operations_a_second / 1e9);
}

std::string answers(const BenchReport& r) {
  return fmt::format("{} round{}; answers of {} tokens", r.rounds, r.rounds == 1 ? "" : "s",
                     r.generate) +
         (r.image_width > 0 ? fmt::format("; the image is {} tokens", r.models[0].image_tokens)
                            : "");
}

}  // namespace

std::string BenchReport::to_text(int width) const {
  std::string out = header(*this) + "\n" + limits(*this) + "\n" + answers(*this) + "\n";
  for (const BenchModel& m : models) out += facts_of(m) + "\n";
  out += "\n";
  out += models.size() == 1
             ? render(rows_of_one(models.front()))
             : several_text(models, static_cast<size_t>(std::max(width, 40)), models.size() == 2);
  out += "\n";
  for (const std::string& note : notes_of(*this)) out += note + "\n";
  return out;
}

std::string BenchReport::to_markdown() const {
  std::string out =
      fmt::format("# Benchmark\n\n{}; {}. {}.\n\n", header(*this), limits(*this), answers(*this));
  for (const BenchModel& m : models) out += "- " + facts_of(m) + "\n";
  out += "\n| |";
  std::string rule = "|---|";
  for (const BenchModel& m : models) {
    out += fmt::format(" {} | min-max | of the machine |", m.name);
    rule += "---:|---:|---|";
  }
  out += "\n" + rule + "\n";
  for (const BenchMeasure* m : all_measures(models)) {
    out += fmt::format("| {}, {} |", m->title, m->unit);
    for (const BenchModel& model : models) {
      const BenchMeasure* own = find(model, m->name);
      if (own == nullptr) {
        out += " - | | |";
        continue;
      }
      const std::string share =
          own->limit == Limit::none
              ? ""
              : fmt::format("{} of {}", percent(own->share), name_of(own->limit));
      out += fmt::format(" {} | {} | {} |", number(own->median), spread(*own), share);
    }
    out += "\n";
  }
  out += "\n";
  for (const std::string& note : notes_of(*this)) out += "- " + note + "\n";
  return out;
}

std::string BenchReport::to_json() const {
  OrderedJson list = OrderedJson::array();
  for (const BenchModel& m : models) {
    OrderedJson measures = OrderedJson::object();
    for (const BenchMeasure& b : m.measures) {
      OrderedJson one = {{"unit", b.unit},
                         {"median", b.median},
                         {"min", b.lowest},
                         {"max", b.highest},
                         {"values", b.values}};
      if (b.limit != Limit::none) {
        one["limit"] = name_of(b.limit);
        one["work"] = b.work;
        one["share"] = b.share;
      }
      measures[b.name] = std::move(one);
    }
    list.push_back({{"model", m.model.string()},
                    {"name", m.name},
                    {"parameters", m.parameters},
                    {"stored_bytes", m.stored_bytes},
                    {"token_weight_bytes", m.token_weight_bytes},
                    {"image_tokens", m.image_tokens},
                    {"measures", std::move(measures)},
                    {"skipped", m.skipped},
                    {"differences", m.differences}});
  }
  const OrderedJson json = {{"kind", "benchmark"},
                            {"format", 1},
                            {"squint", kVersion},
                            {"machine", OrderedJson::parse(machine.to_json())},
                            {"rounds", rounds},
                            {"generate", generate},
                            {"image", {image_width, image_height}},
                            {"energy_readable", energy},
                            {"same_tokens", same_tokens()},
                            {"models", std::move(list)}};
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace squint
