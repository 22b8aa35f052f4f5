#include "quantize/journal.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>
#include <system_error>

#include "io/atomic_file.h"
#include "io/fingerprint.h"
#include "io/mapped_file.h"
#include "squint/error.h"

namespace squint::quantize {
namespace fs = std::filesystem;
namespace {

constexpr const char* kReportKey = "squint.report";
constexpr const char* kHeadName = "journal.json";
constexpr const char* kSensitivityName = "sensitivity.json";

std::string report_text(const QuantizedBlock& block) {
  Json linears = Json::array();
  for (const LinearReport& l : block.linears) {
    linears.push_back({{"module", l.module},
                       {"error", l.error},
                       {"plain_error", l.plain_error},
                       {"bits", l.bits}});
  }
  Json smoothing = Json::array();
  for (const SmoothingReport& s : block.smoothing) {
    smoothing.push_back({{"layer", s.layer},
                         {"group", s.group},
                         {"ratio", s.ratio},
                         {"duo", s.duo},
                         {"loss", s.loss},
                         {"identity_loss", s.identity_loss},
                         {"rolled_back", s.rolled_back}});
  }
  Json scales = Json::array();
  for (const auto& [bin, count] : block.scales) {
    scales.push_back({{"bin", bin}, {"count", count}});
  }
  return Json{{"linears", linears}, {"smoothing", smoothing}, {"scales", scales}}.dump();
}

void read_report(const std::string& text, std::string_view where, QuantizedBlock& block) {
  const Json report = parse_json(text, where);
  for (const Json& l : member(report, "linears", where)) {
    block.linears.push_back({.module = string_member(l, "module", where),
                             .error = number_member(l, "error", where),
                             .plain_error = number_member(l, "plain_error", where),
                             .bits = static_cast<int>(int_member(l, "bits", where))});
  }
  for (const Json& s : member(report, "smoothing", where)) {
    block.smoothing.push_back({.layer = int_member(s, "layer", where),
                               .group = string_member(s, "group", where),
                               .ratio = number_member(s, "ratio", where),
                               .duo = bool_member(s, "duo", where),
                               .loss = number_member(s, "loss", where),
                               .identity_loss = number_member(s, "identity_loss", where),
                               .rolled_back = bool_member(s, "rolled_back", where)});
  }
  for (const Json& s : member(report, "scales", where)) {
    block.scales[static_cast<int>(int_member(s, "bin", where))] = int_member(s, "count", where);
  }
}

// Also what a killed process leaves of a file that it was writing: ".layer-00007.safetensors.*".
bool is_of_a_journal(const fs::directory_entry& entry) {
  std::error_code error;
  if (!entry.is_regular_file(error)) return false;
  const std::string name = entry.path().filename().string();
  if (name.starts_with('.'))
    return name.starts_with(".layer-") || name.starts_with(".journal.") ||
           name.starts_with(".sensitivity.");
  return name == kHeadName || name == kSensitivityName ||
         (name.starts_with("layer-") && name.ends_with(".safetensors"));
}

std::vector<fs::directory_entry> entries_of(const fs::path& folder, std::error_code& error) {
  std::vector<fs::directory_entry> entries;
  for (fs::directory_iterator at(folder, error), end; !error && at != end; at.increment(error)) {
    entries.push_back(*at);
  }
  return entries;
}

[[noreturn]] void fail(const fs::path& folder, std::string_view what,
                       const std::error_code& error) {
  throw Error(ErrorCode::io, fmt::format("{}: {}: {}", folder.string(), what, error.message()));
}

fs::path journal_of(const fs::path& output) { return fs::path(output).concat(".journal"); }

std::string head_of(const std::string& identity) {
  return Json{{"run", io::sha256(identity)}}.dump() + "\n";
}

// Empties a folder that is there, unless it is somebody else's.
void clear(const fs::path& folder) {
  std::error_code error;
  const fs::file_status status = fs::status(folder, error);
  if (!fs::exists(status)) return;  // Where it cannot be examined, it cannot be created either.
  const auto refuse = [&](const std::string& why) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: {}, so it is no journal of an interrupted run, which this run "
                            "would keep there; move it away or choose another output folder",
                            folder.string(), why));
  };
  if (!fs::is_directory(status)) refuse("is no folder");
  const std::vector<fs::directory_entry> entries = entries_of(folder, error);
  if (error) fail(folder, "cannot be read", error);
  for (const fs::directory_entry& entry : entries) {
    if (!is_of_a_journal(entry)) refuse("holds " + entry.path().filename().string());
  }
  for (const fs::directory_entry& entry : entries) {
    fs::remove(entry.path(), error);
    if (error) fail(entry.path(), "cannot be removed", error);
  }
}

}  // namespace

Journal::Journal(const fs::path& output, const std::string& identity)
    : folder_(journal_of(output)) {
  const std::string head = head_of(identity);
  if (begins_with(head)) return;
  clear(folder_);
  std::error_code error;
  fs::create_directories(folder_, error);
  if (error) fail(folder_, "cannot be created", error);
  io::write_file_atomically(folder_ / kHeadName, head);
}

std::optional<Journal> Journal::existing(const fs::path& output, const std::string& identity) {
  Journal journal;
  journal.folder_ = journal_of(output);
  if (!journal.begins_with(head_of(identity))) return std::nullopt;
  return journal;
}

bool Journal::begins_with(const std::string& head) const {
  const fs::path file = folder_ / kHeadName;
  std::error_code error;
  return fs::is_regular_file(file, error) && io::read_file(file, 1 << 20) == head;
}

fs::path Journal::file_of(int64_t layer) const {
  return folder_ / fmt::format("layer-{:05}.safetensors", layer);
}

std::optional<QuantizedBlock> Journal::find(int64_t layer) const {
  const fs::path path = file_of(layer);
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  try {
    const io::SafetensorsFile file(path);
    QuantizedBlock block;
    const auto report = file.metadata().find(kReportKey);
    if (report == file.metadata().end()) return std::nullopt;
    read_report(report->second, path.string(), block);
    for (const auto& [name, tensor] : file.tensors()) block.tensors.push_back({name, tensor});
    return block;
  } catch (const Error& e) {
    // Damaged by a crash of the machine: the layer is done again.
    if (e.code() != ErrorCode::bad_input) throw;
    return std::nullopt;
  }
}

void Journal::write(int64_t layer, const QuantizedBlock& block) const {
  io::write_safetensors(file_of(layer), block.tensors, {{kReportKey, report_text(block)}});
}

std::optional<std::vector<SensitivityReport>> Journal::find_sensitivity() const {
  const fs::path path = folder_ / kSensitivityName;
  std::error_code error;
  if (!fs::is_regular_file(path, error)) return std::nullopt;
  const std::string where = path.string();
  std::vector<SensitivityReport> units;
  for (const Json& u : parse_json(io::read_file(path, 1 << 24), where)) {
    units.push_back({.layer = int_member(u, "layer", where),
                     .unit = string_member(u, "unit", where),
                     .loss_4 = number_member(u, "loss_4", where),
                     .loss_8 = number_member(u, "loss_8", where)});
  }
  return units;
}

void Journal::write_sensitivity(const std::vector<SensitivityReport>& units) const {
  Json json = Json::array();
  for (const SensitivityReport& u : units) {
    json.push_back(
        {{"layer", u.layer}, {"unit", u.unit}, {"loss_4", u.loss_4}, {"loss_8", u.loss_8}});
  }
  io::write_file_atomically(folder_ / kSensitivityName, json.dump() + "\n");
}

int64_t Journal::finished(int64_t layers) const {
  int64_t layer = 0;
  while (layer < layers && find(layer)) ++layer;
  return layer;
}

void Journal::remove() const {
  std::error_code ignored;
  for (const fs::directory_entry& entry : entries_of(folder_, ignored)) {
    if (is_of_a_journal(entry)) fs::remove(entry.path(), ignored);
  }
  fs::remove(folder_, ignored);
}

void LayerWriter::begin(int64_t layer, const QuantizedBlock& block) {
  wait();
  last_ = std::async(std::launch::async, [this, layer, block] { journal_.write(layer, block); });
}

void LayerWriter::wait() {
  if (last_.valid()) last_.get();
}

}  // namespace squint::quantize
