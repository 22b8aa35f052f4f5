#include "squint/pull.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <memory>
#include <string>
#include <vector>

#include "command.h"
#include "hub_environment.h"
#include "terminal.h"

namespace squint::cli {
namespace {

struct Options {
  PullOptions pull;
  std::string from;
  bool json = false;
};

// What a subcommand fetches where nothing else is said.
struct Preset {
  const char* command;
  const char* about;
  const char* footer;
  RepoKind kind;
  const char* id;
  const char* from;
  std::vector<std::string> include;
};

std::string note_of(const PullProgress& p) {
  return fmt::format("{}/s  {}/{} files", bytes_text(static_cast<int64_t>(p.bytes_per_second)),
                     p.files_done, p.files_total);
}

// A row for each file on its way; the ends of long names tell them apart.
std::vector<std::string> rows_of(const PullProgress& p) {
  constexpr size_t kMostRows = 8;
  constexpr size_t kNumbers = 32;
  const size_t room = static_cast<size_t>(std::max(terminal_width(), 60)) - kNumbers;
  std::vector<std::string> rows;
  for (const PullFile& file : p.files) {
    if (rows.size() == kMostRows) break;
    std::string path = file.path;
    if (path.size() > room) path = "..." + path.substr(path.size() - room + 3);
    const std::string state = file.present_bytes == file.bytes
                                  ? "checking"
                                  : fmt::format("{:3.0f} % of {}",
                                                100 * static_cast<double>(file.present_bytes) /
                                                    static_cast<double>(file.bytes),
                                                bytes_text(file.bytes));
    rows.push_back(fmt::format("  {:<{}}  {}", path, room, state));
  }
  return rows;
}

void watch(PullOptions& pull, Progress& progress) {
  pull.on_progress = [&](const PullProgress& p) {
    if (p.checking) {
      fmt::print(stderr, "checking {}, which is there already\n", p.files.front().path);
    } else {
      // The end is when the last file has been checked, not when its last byte is there.
      const bool all = p.files_done == p.files_total;
      progress.show_below(rows_of(p), all ? p.total : std::min(p.done, p.total - 1), p.total,
                          note_of(p), p.already);
    }
  };
  pull.on_file = [&](const PullFile& file) {
    progress.clear();
    fmt::print(stderr, "{}  {}\n", file.path, bytes_text(file.bytes));
  };
  pull.on_notice = [&](const std::string& text) {
    progress.clear();
    fmt::print(stderr, "{}\n", text);
  };
}

void run(Options& options, const Outcome& outcome) {
  PullOptions& pull = options.pull;
  pull.hub = options.from == "hf" ? HubKind::hugging_face : HubKind::modelscope;
  pull.stop = outcome.stop;
  apply_environment(pull);
  Progress progress("pull");
  watch(pull, progress);
  const PullResult done = squint::pull(pull);
  progress.finish();
  if (options.json) {
    fmt::print("{}\n", pull.dry_run ? done.plan.to_json() : done.to_json());
  } else if (pull.dry_run) {
    fmt::print("{}", done.plan.to_text());
  } else {
    const size_t files = done.plan.files.size();
    fmt::print("{} {}, {}, {} of them fetched in {}: {}\n", files, files == 1 ? "file" : "files",
               bytes_text(done.plan.total_bytes), bytes_text(done.fetched_bytes),
               duration_text(done.seconds), done.plan.folder.string());
  }
}

void add_preset(CLI::App& app, Outcome& outcome, const Preset& preset) {
  const auto options = std::make_shared<Options>();
  PullOptions& pull = options->pull;
  pull.kind = preset.kind;
  pull.id = preset.id;
  pull.include = preset.include;
  options->from = preset.from;
  CLI::App* command = app.add_subcommand(preset.command, preset.about);
  command->footer(preset.footer);
  command->add_option("ID", pull.id, "OWNER/NAME")->check(refuse_empty)->capture_default_str();
  command->add_option("--from", options->from, "the hub")
      ->check(CLI::IsMember({"modelscope", "hf"}))
      ->capture_default_str();
  command
      ->add_option("-o,--output", pull.output,
                   "folder for the files; without it they go to the hub's own cache")
      ->check(refuse_empty);
  command
      ->add_option("--revision", pull.revision,
                   "branch, tag or commit; main on Hugging Face, master on ModelScope")
      ->check(refuse_empty);
  CLI::Option* include =
      command->add_option("--include", pull.include,
                          "only files whose path fits one of these patterns; * also crosses /");
  include->allow_extra_args(false)->check(refuse_empty);
  if (!pull.include.empty()) include->capture_default_str();
  command->add_option("--exclude", pull.exclude, "none of these")
      ->allow_extra_args(false)
      ->check(refuse_empty);
  command->add_flag("--dry-run", pull.dry_run, "list the files and their sizes, fetch nothing");
  command->add_flag("--json", options->json, "for machines");
  command->callback([options, &outcome] { run(*options, outcome); });
}

}  // namespace

void add_pull(CLI::App& app, Outcome& outcome) {
  CLI::App* pull = app.add_subcommand(
      "pull", "Fetch a model, calibration data or a benchmark from ModelScope or Hugging Face");
  pull->require_subcommand(1);
  add_preset(*pull, outcome,
             {.command = "model",
              .about = "A checkpoint folder",
              .footer = "Examples:\n  squint pull model -o models/qwen3-vl-8b\n  squint pull model "
                        "Qwen/Qwen3-VL-4B-Instruct --from hf --dry-run\n\nInterrupted, the same "
                        "command continues. Files are checked by their digests.",
              .kind = RepoKind::model,
              .id = "Qwen/Qwen3-VL-8B-Instruct",
              .from = "modelscope",
              .include = {}});
  add_preset(*pull, outcome,
             {.command = "calibration",
              .about = "Conversations to calibrate with, as Parquet",
              .footer = "Example:\n  squint pull calibration --include llm.parquet -o "
                        "data/neuralmagic",
              .kind = RepoKind::dataset,
              .id = "neuralmagic/calibration",
              .from = "hf",
              .include = {"*.parquet"}});
  add_preset(*pull, outcome,
             {.command = "ocrbench",
              .about = "The questions of OCRBench, as Parquet",
              .footer = "Example:\n  squint pull ocrbench -o data/ocrbench",
              .kind = RepoKind::dataset,
              .id = "echo840/OCRBench",
              .from = "hf",
              .include = {"*.parquet"}});
}

}  // namespace squint::cli
