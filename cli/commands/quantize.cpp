#include "squint/quantize.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <map>
#include <memory>

#include "command.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  QuantizeOptions quantize;
  DeviceOptions device;
  bool asymmetric = false;
  bool json = false;
};

void print_plan(const QuantizePlan& plan, const QuantizeOptions& options) {
  fmt::print(stderr, "{} calibration rows, {} tokens ({} of images); {} layers", plan.rows,
             plan.tokens, plan.image_tokens, plan.layers);
  if (plan.resumed_layers > 0) fmt::print(stderr, ", {} finished earlier", plan.resumed_layers);
  fmt::print(stderr,
             "\nmemory: about {} beside the mapped model (hidden states {}, a layer {}, "
             "statistics {}); disk: {} for {}\n",
             bytes_text(plan.peak_bytes), bytes_text(plan.activation_bytes),
             bytes_text(plan.block_bytes), bytes_text(plan.statistics_bytes),
             bytes_text(plan.output_bytes), options.output.string());
}

void run(Options& options, const Outcome& outcome) {
  QuantizeOptions& q = options.quantize;
  q.symmetric = !options.asymmetric;
  q.stop = outcome.stop;
  q.on_plan = [&](const QuantizePlan& plan) { print_plan(plan, q); };
  Progress progress("quantize");
  q.on_progress = [&](const QuantizeProgress& p) { progress.show(p.done, p.total, p.phase); };
  const BackendPtr backend = options.device.open();
  const QuantizeReport report = quantize_checkpoint(q, *backend);
  progress.finish();
  if (options.json) {
    fmt::print("{}\n", report.to_json());
    return;
  }
  fmt::print("\n{}\nwritten to {}, with every layer's numbers in report.html; peak memory {}\n",
             report.to_text(terminal_width()), q.output.string(), bytes_text(peak_memory()));
}

}  // namespace

void add_quantize(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  QuantizeOptions& q = options->quantize;
  CLI::App* command =
      app.add_subcommand("quantize",
                         "The text layers in 4 bits, as vLLM, SGLang and transformers "
                         "read them");
  command->footer(
      "Example:\n  squint quantize models/reader --calibration data/calibration -o "
      "out/reader-w4a16\n\nInterrupted, the same command continues after the last "
      "finished layer.");
  command->add_option("MODEL", q.model, "checkpoint folder in BF16")
      ->required()
      ->check(refuse_empty);
  command->add_option("-o,--output", q.output, "folder to write; must be absent or empty")
      ->required()
      ->check(refuse_empty);
  command
      ->add_option("--calibration", q.calibration,
                   "calibration.jsonl, or a folder with it (rtn needs none)")
      ->check(refuse_empty);
  command->add_option("--rows", q.rows, "use the first N calibration rows; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_option("--method", q.method, "awq, gptq, both, or rtn: plain rounding")
      ->option_text("awq+gptq|gptq|awq|rtn [awq]")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, QuantizeMethod>{{"awq", QuantizeMethod::awq},
                                                {"gptq", QuantizeMethod::gptq},
                                                {"awq+gptq", QuantizeMethod::awq_gptq},
                                                {"rtn", QuantizeMethod::rtn}}));
  command->add_option("--observer", q.observer, "how a group's range becomes its scale")
      ->option_text("minmax|mse|imatrix [mse; imatrix with gptq]")
      ->transform(CLI::CheckedTransformer(
          std::map<std::string, RangeObserver>{{"minmax", RangeObserver::minmax},
                                               {"mse", RangeObserver::mse},
                                               {"imatrix", RangeObserver::imatrix}}));
  command->add_option("--dampening", q.dampening, "gptq: added to the Hessian's diagonal")
      ->capture_default_str();
  command->add_option("--rounds", q.rounds, "gptq: rounds of descent after its pass")
      ->capture_default_str();
  command
      ->add_option("--propagation", q.propagation,
                   "gptq: how much of earlier layers' error to make up for, 0 to 1")
      ->capture_default_str();
  command
      ->add_option("--image-weight", q.image_weight,
                   "gptq: what an image token counts beside a text token")
      ->capture_default_str();
  command->add_option("--group-size", q.group_size, "columns that share a scale; 0: a whole row")
      ->capture_default_str();
  command->add_option("--bits", q.bits, "4 or 8")
      ->check(CLI::IsMember({4, 8}))
      ->capture_default_str();
  command->add_flag("--asymmetric", options->asymmetric, "with zero points");
  command->add_flag("--json", options->json, "print the report as JSON");
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
