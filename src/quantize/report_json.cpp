#include <nlohmann/json.hpp>

#include "base/json.h"
#include "quantize/module_schemes.h"
#include "quantize/report_view.h"
#include "squint/version.h"

namespace squint {
namespace {

OrderedJson options_json(const QuantizeOptions& o) {
  OrderedJson json = {
      {"method", name(o.method)},
      {"bits", o.bits},
      {"group_size", o.group_size},
      {"symmetric", o.symmetric},
      {"signed_scales", quantize::common_scheme(o, o.bits, o.group_size).signed_scales},
      {"observer", name(o.observer.value_or(RangeObserver::mse))}};
  if (o.method == QuantizeMethod::awq || o.method == QuantizeMethod::awq_gptq) {
    json["duo_scaling"] = name(o.duo_scaling);
    json["grid"] = o.grid;
  }
  if (o.method == QuantizeMethod::gptq || o.method == QuantizeMethod::awq_gptq) {
    json["dampening"] = o.dampening;
    json["shrinkage"] = o.shrinkage;
    json["rounds"] = o.rounds;
    json["propagation"] = o.propagation;
    if (o.image_weight) json["image_weight"] = *o.image_weight;
  }
  if (o.head_bits != 16) json["head_bits"] = o.head_bits;
  if (o.embedding_bits != 16) json["embedding_bits"] = o.embedding_bits;
  return json;
}

OrderedJson linears_json(const std::vector<LinearReport>& linears) {
  OrderedJson json = OrderedJson::array();
  for (const LinearReport& l : linears) {
    const quantize::Place place = quantize::place_of(l.module);
    json.push_back({{"module", l.module},
                    {"layer", place.layer},
                    {"role", place.role},
                    {"bits", l.bits},
                    {"error", l.error},
                    {"plain_error", l.plain_error}});
  }
  return json;
}

OrderedJson smoothing_json(const std::vector<SmoothingReport>& smoothing) {
  OrderedJson json = OrderedJson::array();
  for (const SmoothingReport& s : smoothing) {
    json.push_back({{"layer", s.layer},
                    {"group", s.group},
                    {"ratio", s.ratio},
                    {"duo", s.duo},
                    {"loss", s.loss},
                    {"identity_loss", s.identity_loss},
                    {"rolled_back", s.rolled_back}});
  }
  return json;
}

OrderedJson scales_json(const ScaleHistogram& scales) {
  OrderedJson json = OrderedJson::array();
  for (const auto& [bin, count] : scales) json.push_back({{"log2", bin / 2.0}, {"count", count}});
  return json;
}

OrderedJson divergence_json(const TokenDivergence& d) {
  return {
      {"mean_kl", d.kl}, {"median_kl", d.median}, {"p99_kl", d.p99}, {"top1_agreement", d.top1}};
}

OrderedJson outputs_json(const std::vector<FileHash>& outputs) {
  OrderedJson json = OrderedJson::array();
  for (const FileHash& f : outputs) {
    json.push_back({{"file", f.name}, {"bytes", f.bytes}, {"sha256", f.sha256}});
  }
  return json;
}

template <class Phase>
OrderedJson phases_json(const std::vector<Phase>& phases) {
  OrderedJson json = OrderedJson::array();
  for (const Phase& p : phases) json.push_back({{"phase", p.name}, {"seconds", p.seconds}});
  return json;
}

OrderedJson run_json(const QuantizeReport& report) {
  const RunReport& run = report.run;
  OrderedJson calibration = OrderedJson::array();
  for (const CalibrationSource& source : report.options.calibration) {
    calibration.push_back({{"path", source.path.string()}, {"weight", source.weight}});
  }
  return {{"model", report.options.model.string()},
          {"calibration", calibration},
          {"output", report.options.output.string()},
          {"finished", run.finished},
          {"backend", run.backend},
          {"kernels", run.kernels},
          {"threads", run.threads},
          {"resumed_layers", report.plan.resumed_layers},
          {"seconds", run.seconds},
          {"planned_seconds", report.plan.seconds},
          {"phases", phases_json(run.phases)},
          {"memory",
           {{"planned_bytes", report.plan.peak_bytes},
            {"reached_bytes", run.memory_bytes},
            {"resident_bytes", run.resident_bytes}}}};
}

}  // namespace

std::string QuantizePlan::to_json() const {
  OrderedJson json = {{"kind", "quantization plan"},
                      {"format", 1},
                      {"squint", kVersion},
                      {"calibration",
                       {{"rows", rows},
                        {"tokens", tokens},
                        {"image_tokens", image_tokens},
                        {"cut_rows", cut_rows},
                        {"left_out_rows", left_out_rows}}},
                      {"layers", layers},
                      {"resumed_layers", resumed_layers},
                      {"memory",
                       {{"peak_bytes", peak_bytes},
                        {"peak_phase", peak_phase},
                        {"activation_bytes", activation_bytes},
                        {"block_bytes", block_bytes},
                        {"statistics_bytes", statistics_bytes},
                        {"held_bytes", held_bytes}}},
                      {"disk",
                       {{"output_bytes", output_bytes},
                        {"spilled_bytes", spilled_bytes},
                        {"needed_bytes", disk_bytes}}},
                      {"seconds", seconds}};
  json["phases"] = phases_json(phases);
  json["notes"] = notes;
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string QuantizeReport::to_json() const {
  OrderedJson json = {{"kind", "quantization"},
                      {"format", 1},
                      {"squint", kVersion},
                      {"model",
                       {{"type", architecture},
                        {"parameters", parameters},
                        {"layers", plan.layers},
                        {"hash", model_hash}}},
                      {"options", options_json(options)},
                      {"options_sha256", options_hash},
                      {"recipe", recipe}};
  if (plan.rows > 0) {
    json["calibration"] = {{"rows", plan.rows},
                           {"tokens", plan.tokens},
                           {"image_tokens", plan.image_tokens},
                           {"cut_rows", plan.cut_rows},
                           {"left_out_rows", plan.left_out_rows},
                           {"sha256", calibration_hash}};
  }
  json["size"] = {{"source_bytes", source_bytes},
                  {"output_bytes", output_bytes},
                  {"layers_source_bytes", layers_source_bytes},
                  {"layers_output_bytes", layers_output_bytes},
                  {"bits_per_weight", bits_per_weight}};
  json["linears"] = linears_json(linears);
  json["smoothing"] = smoothing_json(smoothing);
  if (!sensitivity.empty()) {
    json["sensitivity"] = OrderedJson::array();
    for (const SensitivityReport& u : sensitivity) {
      json["sensitivity"].push_back({{"layer", u.layer},
                                     {"unit", u.unit},
                                     {"loss_4", u.loss_4},
                                     {"loss_8", u.loss_8},
                                     {"bits", u.bits}});
    }
  }
  json["scales"] = scales_json(scales);
  if (held_out) {
    json["held_out"] = {{"rows", held_out->rows},
                        {"tokens", held_out->quantized.tokens},
                        {"quantized", divergence_json(held_out->quantized)}};
    if (held_out->plain) json["held_out"]["plain"] = divergence_json(*held_out->plain);
  }
  json["outputs"] = outputs_json(outputs);
  json["run"] = run_json(*this);
  // Paths may hold bytes that are not UTF-8.
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

}  // namespace squint
