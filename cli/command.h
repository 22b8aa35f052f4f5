// command.h: what every command gets and gives.
#pragma once

#include <cstdint>
#include <functional>
#include <stop_token>
#include <string>

#include "squint/backend.h"

namespace CLI {
class App;
}

namespace squint::cli {

// Exit codes, the same for every command.
enum ExitCode : int {
  ok = 0,
  failed = 1,
  wrong_usage = 2,
  wrong_input = 3,
  interrupted = 4,
  regression = 10,  // report: the second model may have lost more than the margin allows
};

// Options that all commands which compute share.
struct DeviceOptions {
  BackendOptions backend;
  // Of commands whose results are answers: fast where nothing else is asked for. On the cpu others
  // are exact then.
  bool fast_answers = false;

  void add_to(CLI::App& app);
  BackendPtr open() const;
};

// For CLI::Option::check, of names of files and folders: what is wrong with the value, or nothing.
// An empty one mostly comes from a shell variable that is not set.
std::string refuse_empty(const std::string& name);

// Filled by the command that ran.
struct Outcome {
  std::stop_token stop;  // set by Ctrl-C
  // For commands that go on after one: the token of the next. Empty in programs without any.
  std::function<std::stop_token()> renew_stop = {};
  // For commands that may be cut off at any moment: called with what is then to be said, they end
  // soon after a Ctrl-C, wherever they are. Empty likewise.
  std::function<void(const std::string&)> insist_on_stop = {};
  int exit_code = ok;
};

void add_pull(CLI::App& app, Outcome& outcome);
void add_inspect(CLI::App& app, Outcome& outcome);
void add_quantize(CLI::App& app, Outcome& outcome);
void add_run(CLI::App& app, Outcome& outcome);
void add_eval(CLI::App& app, Outcome& outcome);
void add_report(CLI::App& app, Outcome& outcome);
void add_bench(CLI::App& app, Outcome& outcome);
void add_fit(CLI::App& app, Outcome& outcome);
void add_doctor(CLI::App& app, Outcome& outcome);
void add_compare(CLI::App& app, Outcome& outcome);
// These two describe all commands of `app`, which must outlive the parsing.
void add_completion(CLI::App& app);
void add_manual(CLI::App& app);

}  // namespace squint::cli
