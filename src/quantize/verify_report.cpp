#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/json.h"
#include "squint/verify.h"

namespace squint {
namespace {

constexpr size_t kWorst = 5;
constexpr size_t kListedProblems = 20;

std::string kind_of(const std::string& module) { return module.substr(module.rfind('.') + 1); }

// "layers.3.mlp.down_proj"
std::string short_name(const std::string& module) {
  const size_t at = module.find("layers.");
  return at == std::string::npos ? module : module.substr(at);
}

// "layer 3"
std::string place_of(const std::string& module) {
  const std::string name = short_name(module);
  return name == module ? module : "layer " + name.substr(7, name.find('.', 7) - 7);
}

struct Kind {
  std::string name;
  int64_t count = 0;
  double bits = 0;   // summed
  double error = 0;  // summed
  const VerifiedLinear* worst = nullptr;
};

// By the last part of the name, in the order of the model.
std::vector<Kind> kinds_of(const std::vector<VerifiedLinear>& linears) {
  std::vector<Kind> kinds;
  for (const VerifiedLinear& linear : linears) {
    const std::string name = kind_of(linear.module) + (linear.packed ? "" : " (not packed)");
    auto kind = std::ranges::find(kinds, name, &Kind::name);
    if (kind == kinds.end()) kind = kinds.insert(kinds.end(), {.name = name});
    ++kind->count;
    kind->bits += linear.bits;
    kind->error += linear.error;
    if (kind->worst == nullptr || linear.error > kind->worst->error) kind->worst = &linear;
  }
  return kinds;
}

std::string table(const std::vector<VerifiedLinear>& linears) {
  std::string out =
      fmt::format("\n  {:<22}{:>6}{:>9}{:>13}{:>10}\n", "", "count", "bits", "mean error", "worst");
  for (const Kind& kind : kinds_of(linears)) {
    const auto count = static_cast<double>(kind.count);
    out += fmt::format("  {:<22}{:>6}{:>9.3f}{:>13.4f}{:>10.4f}  {}\n", kind.name, kind.count,
                       kind.bits / count, kind.error / count, kind.worst->error,
                       place_of(kind.worst->module));
  }
  return out;
}

std::string worst_text(const std::vector<VerifiedLinear>& linears) {
  std::vector<const VerifiedLinear*> sorted;
  for (const VerifiedLinear& linear : linears) {
    if (linear.packed) sorted.push_back(&linear);
  }
  std::ranges::stable_sort(sorted, std::greater(),
                           [](const VerifiedLinear* l) { return l->error; });
  if (sorted.size() > kWorst) sorted.resize(kWorst);
  std::string out = fmt::format("\n  {:<36}{:>8}   × rounding alone\n", "worst", "error");
  for (const VerifiedLinear* linear : sorted) {
    out += fmt::format("  {:<36}{:>8.4f}{:>19.2f}\n", short_name(linear->module), linear->error,
                       linear->excess);
  }
  return out;
}

}  // namespace

int64_t Verification::problem_count() const {
  auto count = static_cast<int64_t>(problems.size());
  for (const VerifiedLinear& linear : linears) {
    count += static_cast<int64_t>(linear.problems.size());
  }
  return count;
}

std::string Verification::to_text() const {
  std::string out =
      fmt::format("{}\n  {}; base model {}\n  {} packed layers, {:.3f} bits a weight\n", checkpoint,
                  format, base, packed_layers, bits);
  out += table(linears) + worst_text(linears);
  int64_t denormal = 0;
  for (const VerifiedLinear& linear : linears) denormal += linear.denormal_scales;
  if (denormal > 0) {
    out += fmt::format("\n  {} scales are denormal; some kernels take them for 0\n", denormal);
  }
  std::vector<std::string> lines = problems;
  for (const VerifiedLinear& linear : linears) {
    for (const std::string& problem : linear.problems) {
      lines.push_back(short_name(linear.module) + ": " + problem);
    }
  }
  if (lines.empty()) return out + "\nnothing wrong was found\n";
  out += fmt::format("\n{} problem{}\n", lines.size(), lines.size() == 1 ? "" : "s");
  for (size_t i = 0; i < std::min(lines.size(), kListedProblems); ++i)
    out += "  " + lines[i] + "\n";
  if (lines.size() > kListedProblems) {
    out += fmt::format("  and {} more; --json lists all\n", lines.size() - kListedProblems);
  }
  return out;
}

std::string Verification::to_json() const {
  OrderedJson json = {{"checkpoint", checkpoint},
                      {"base", base},
                      {"format", format},
                      {"sound", problem_count() == 0},
                      {"packed_layers", packed_layers},
                      {"bits", bits},
                      {"problems", problems},
                      {"layers", OrderedJson::array()}};
  for (const VerifiedLinear& linear : linears) {
    json["layers"].push_back({{"module", linear.module},
                              {"packed", linear.packed},
                              {"bits", linear.bits},
                              {"error", linear.error},
                              {"excess", linear.excess},
                              {"denormal_scales", linear.denormal_scales},
                              {"problems", linear.problems}});
  }
  // Names and paths may hold bytes that are not UTF-8.
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace squint
