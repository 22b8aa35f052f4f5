#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>
#include <nlohmann/json.hpp>

#include "command.h"
#include "squint/ocrbench.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  CompareOptions compare;
  bool json = false;
  DeviceOptions device;
};

void run(Options& options, const Outcome& outcome) {
  CompareOptions& c = options.compare;
  c.stop = outcome.stop;
  Progress progress("compare");
  c.on_progress = [&](const CompareProgress& p) { progress.show(p.done, p.total, "rows"); };
  const BackendPtr backend = options.device.open();
  const Divergence d = compare_models(c, *backend);
  progress.finish();
  if (options.json) {
    const nlohmann::ordered_json json = {
        {"kl", d.kl}, {"top1", d.top1}, {"tokens", d.tokens}, {"rows", d.rows}};
    fmt::print("{}\n", json.dump());
    return;
  }
  fmt::print(
      "{} answer tokens of {} rows\nKL(base ‖ other)  {:.6f} nats per token\nsame top "
      "token    {:.2f} %\n",
      d.tokens, d.rows, d.kl, d.top1 * 100);
}

}  // namespace

void add_compare(CLI::App& app, Outcome& outcome) {
  const auto options = std::make_shared<Options>();
  CompareOptions& c = options->compare;
  CLI::App* command = app.add_subcommand("compare",
                                         "How far one model's predictions are from "
                                         "another's");
  command->footer("Example:\n  squint compare models/reader out/reader-w4a16 --data data/synthocr");
  command->add_option("BASE", c.base, "the original model")->required()->check(refuse_empty);
  command->add_option("OTHER", c.other, "what was made from it")->required()->check(refuse_empty);
  command->add_option("--data", c.data, "folder with OCRBench.json and the images")
      ->required()
      ->check(refuse_empty);
  command->add_option("--limit", c.limit, "the first N rows only; 0: all")
      ->check(CLI::NonNegativeNumber);
  command->add_flag("--json", options->json, "for machines");
  options->device.add_to(*command);
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace squint::cli
