// main.cpp: the squint command line.
#if __has_include(<malloc.h>)
#include <malloc.h>
#endif

#include <CLI/CLI.hpp>

#include "command.h"
#include "interrupt.h"
#include "program.h"
#include "squint/version.h"

namespace squint::cli {
namespace {

// Freed matrices go back to the system. glibc would raise its own limit up to 32 MB and keep holes
// among what is smaller: a third more memory while an 8B model is quantized.
constexpr int kLargestKept = 4 << 20;

int run(int argc, char** argv) {
#ifdef M_MMAP_THRESHOLD
  mallopt(M_MMAP_THRESHOLD, kLargestKept);
#endif
  InterruptWatch interrupt;
  Outcome outcome{
      .stop = interrupt.token(),
      .renew_stop = [&] { return interrupt.renew(); },
      .insist_on_stop = [&](const std::string& last_words) { interrupt.insist(last_words); }};
  CLI::App app("squint: quantizes Qwen3-VL to 4 bits, proves that it still reads, and runs it.");
  app.set_version_flag("--version", kVersion);
  app.require_subcommand(1);
  app.fallthrough(false);
  add_pull(app, outcome);
  add_inspect(app, outcome);
  add_quantize(app, outcome);
  add_run(app, outcome);
  add_eval(app, outcome);
  add_compare(app, outcome);
  add_report(app, outcome);
  add_bench(app, outcome);
  add_fit(app, outcome);
  add_doctor(app, outcome);
  add_completion(app);
  add_manual(app);
  return run_program(app, outcome, argc, argv);
}

}  // namespace
}  // namespace squint::cli

// What escapes is memory running out while an error is printed.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) { return squint::cli::run(argc, argv); }
