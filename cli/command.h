// command.h: what every command gets and gives.
#pragma once

#include <stop_token>
#include <string>

#include "squint/backend.h"

namespace CLI {
class App;
}

namespace squint::cli {

// Exit codes, the same for every command.
enum ExitCode : int {
  kOk = 0,
  kFailed = 1,
  kWrongUsage = 2,
  kWrongInput = 3,
  kInterrupted = 4,
  kRegression = 10,  // report: the second model lost more than the margin allows
};

// Options that all commands which compute share.
struct DeviceOptions {
  BackendOptions backend;

  void add_to(CLI::App& app);
  BackendPtr open() const { return open_backend(backend); }
};

// Filled by the command that ran.
struct Outcome {
  std::stop_token stop;  // set by Ctrl-C
  int exit_code = kOk;
};

void add_inspect(CLI::App& app, Outcome& outcome);
void add_quantize(CLI::App& app, Outcome& outcome);
void add_run(CLI::App& app, Outcome& outcome);
void add_eval(CLI::App& app, Outcome& outcome);
void add_report(CLI::App& app, Outcome& outcome);
void add_compare(CLI::App& app, Outcome& outcome);

}  // namespace squint::cli
