#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <memory>

#include "command.h"
#include "squint/doctor.h"

namespace squint::cli {
namespace {

struct Options {
  std::string folder = ".";
  DeviceOptions device;
  bool json = false;
};

void run(const Options& options) {
  const BackendPtr backend = options.device.open();
  const MachineReport report = examine_machine(*backend, options.folder);
  fmt::print("{}", options.json ? report.to_json() + "\n" : report.to_text());
}

}  // namespace

void add_doctor(CLI::App& app, Outcome&) {
  const auto options = std::make_shared<Options>();
  CLI::App* command = app.add_subcommand("doctor", "What this machine is, and how fast");
  command->footer("Example:\n  squint doctor --folder /mnt/models\n\nTakes about a second.");
  command->add_option("--folder", options->folder, "on the disk whose room counts")
      ->check(refuse_empty)
      ->capture_default_str();
  options->device.add_to(*command);
  command->add_flag("--json", options->json, "for machines");
  command->callback([options] { run(*options); });
}

}  // namespace squint::cli
