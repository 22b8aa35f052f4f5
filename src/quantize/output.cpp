#include "quantize/output.h"

#include <algorithm>
#include <filesystem>
#include <set>
#include <string>

#include "io/checkpoint_writer.h"
#include "io/fingerprint.h"
#include "io/quantization_config.h"
#include "models/qwen3_vl/model.h"
#include "quantize/recipe.h"
#include "quantize/vocabulary.h"

namespace squint::quantize {

namespace fs = std::filesystem;
using qwen3_vl::LinearRole;

namespace {

constexpr const char* kReportJson = "report.json";
constexpr const char* kReportHtml = "report.html";

// Over everything in `folder` that is to appear. A model's own reports are replaced.
void finish_report(const fs::path& folder, ThreadPool& threads, RunWatch& watch,
                   QuantizeReport& report) {
  report.output_bytes = io::Checkpoint::open(folder).tensor_bytes();
  for (const fs::directory_entry& entry : fs::directory_iterator(folder)) {
    const std::string name = entry.path().filename().string();
    if (name == kReportJson || name == kReportHtml) continue;
    report.outputs.push_back(
        {.name = name, .bytes = static_cast<int64_t>(entry.file_size()), .sha256 = {}});
  }
  threads.parallel_for(std::ssize(report.outputs), 1, [&](int64_t begin, int64_t end, int worker) {
    for (int64_t i = begin; i < end; ++i) {
      FileHash& file = report.outputs[static_cast<size_t>(i)];
      file.sha256 = io::sha256_of_file(folder / file.name, [&] {
        if (worker == 0) watch.stop_if_asked();
      });
    }
  });
  std::ranges::sort(report.outputs, {}, &FileHash::name);
  watch.book("hashing");
  watch.finish(report.run);
}

}  // namespace

void write_output(const OutputParts& parts, RunWatch& watch, QuantizeReport& report) {
  watch.stop_if_asked();
  io::CheckpointWriter writer(parts.options.output);
  std::set<std::string> gone;
  for (const io::NamedTensor& t : parts.replaced) gone.insert(t.name);
  for (int64_t layer = 0; layer < parts.config.text.layers; ++layer) {
    for (const LinearRole role : qwen3_vl::kAllLinears) {
      gone.insert(qwen3_vl::module_name(layer, role) + ".weight");
    }
  }
  std::set<std::string> tables;
  for (const std::string& module : packed_tables(parts.options)) {
    tables.insert(module + ".weight");
    for (io::StreamedTensor& t :
         packed_table(parts.cx, parts.weights, module, table_scheme(parts.options))) {
      writer.add(std::move(t));
    }
  }
  const io::Checkpoint& checkpoint = parts.weights.checkpoint();
  for (const std::string& name : checkpoint.names()) {
    const Tensor& tensor = *checkpoint.find(name);
    report.parameters += tensor.numel();
    if (tables.contains(name)) continue;
    if (!gone.contains(name)) {
      writer.add({name, tensor});
    } else {
      report.layers_source_bytes += tensor.bytes();
    }
  }
  for (const io::NamedTensor& t : parts.replaced) {
    writer.add(t);
    report.layers_output_bytes += t.tensor.bytes();
  }
  io::QuantizationConfig config;
  config.groups = config_groups(parts.schemes, observer_in_files(*parts.options.observer));
  // Text layers before the head, which is the last: the order in which loaders list them.
  std::vector<std::string> ignored = qwen3_vl::other_linears(parts.config);
  const std::vector<std::string> kept = unquantized_modules(parts.schemes);
  ignored.insert(ignored.end() - 1, kept.begin(), kept.end());
  if (tables.contains(ignored.back() + ".weight")) ignored.pop_back();
  if (!tables.empty()) config.groups.push_back(table_group(parts.options));
  for (const std::string& module : ignored) config.ignore.emplace_back(module);
  writer.write_side_file(io::kConfigFileName,
                         io::insert_quantization_config(checkpoint.config_text(), config));
  writer.write_side_file("recipe.yaml", report.recipe);
  writer.copy_side_files(parts.options.model);
  writer.write_weights(report.parameters);
  watch.book("writing");
  parts.on_written(writer.working_folder());
  finish_report(writer.working_folder(), parts.cx.backend.host_threads(), watch, report);
  writer.write_side_file(kReportJson, report.to_json() + "\n");
  writer.write_side_file(kReportHtml, report.to_html());
  writer.publish(report.parameters);
  watch.report_end();
}

}  // namespace squint::quantize
