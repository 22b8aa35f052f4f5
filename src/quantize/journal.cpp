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

std::string report_text(const QuantizedBlock& block) {
  Json linears = Json::array();
  for (const LinearReport& l : block.linears) {
    linears.push_back({{"module", l.module}, {"error", l.error}, {"plain_error", l.plain_error}});
  }
  Json smoothing = Json::array();
  for (const SmoothingReport& s : block.smoothing) {
    smoothing.push_back({{"layer", s.layer},
                         {"group", s.group},
                         {"ratio", s.ratio},
                         {"duo", s.duo},
                         {"loss", s.loss},
                         {"identity_loss", s.identity_loss}});
  }
  return Json{{"linears", linears}, {"smoothing", smoothing}}.dump();
}

void read_report(const std::string& text, std::string_view where, QuantizedBlock& block) {
  const Json report = parse_json(text, where);
  for (const Json& l : member(report, "linears", where)) {
    block.linears.push_back({.module = string_member(l, "module", where),
                             .error = number_member(l, "error", where),
                             .plain_error = number_member(l, "plain_error", where)});
  }
  for (const Json& s : member(report, "smoothing", where)) {
    block.smoothing.push_back({.layer = int_member(s, "layer", where),
                               .group = string_member(s, "group", where),
                               .ratio = number_member(s, "ratio", where),
                               .duo = bool_member(s, "duo", where),
                               .loss = number_member(s, "loss", where),
                               .identity_loss = number_member(s, "identity_loss", where)});
  }
}

}  // namespace

Journal::Journal(const fs::path& output, const std::string& identity)
    : folder_(fs::path(output).concat(".journal")) {
  const fs::path head = folder_ / "journal.json";
  const std::string text = Json{{"run", io::sha256(identity)}}.dump() + "\n";
  std::error_code error;
  if (fs::is_regular_file(head, error) && io::read_file(head, 1 << 20) == text) return;
  fs::remove_all(folder_, error);
  fs::create_directories(folder_, error);
  if (error) {
    throw Error(ErrorCode::io,
                fmt::format("{}: cannot be created: {}", folder_.string(), error.message()));
  }
  io::write_file_atomically(head, text);
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

int64_t Journal::finished(int64_t layers) const {
  int64_t layer = 0;
  std::error_code error;
  while (layer < layers && fs::is_regular_file(file_of(layer), error)) ++layer;
  return layer;
}

void Journal::remove() const {
  std::error_code ignored;
  fs::remove_all(folder_, ignored);
}

}  // namespace squint::quantize
