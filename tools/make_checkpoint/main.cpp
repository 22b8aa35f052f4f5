// main.cpp: make_checkpoint writes a Qwen3-VL checkpoint of any size with random weights, to
// measure time, memory and disk of a model that need not be downloaded. It cannot read.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <array>
#include <chrono>
#include <filesystem>
#include <memory>

#include "base/checked_math.h"
#include "base/thread_pool.h"
#include "interrupt.h"
#include "io/checkpoint_writer.h"
#include "io/mapped_file.h"
#include "program.h"
#include "squint/error.h"
#include "synthetic_model.h"
#include "synthetic_values.h"
#include "terminal.h"

namespace squint::tools {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBufferBytes = 16 << 20;
constexpr int64_t kMaxSideFileBytes = 64 << 20;

struct Options {
  std::string size;
  std::string output;
  std::string tokenizer;
  std::map<std::string, int64_t> sizes;  // by flag, where given
  bool plan = false;
  uint64_t seed = 0;
  int threads = 0;
  int64_t shard_bytes = io::CheckpointWriter::kMaxShardBytes;
  std::stop_token stop;
};

struct SizeFlag {
  const char* name;
  const char* help;
  int64_t& (*of)(qwen3_vl::Config& config);
};

constexpr std::array kSizeFlags = {
    SizeFlag{"--layers", "text layers",
             [](qwen3_vl::Config& c) -> int64_t& { return c.text.layers; }},
    SizeFlag{"--hidden", "width of the text model",
             [](qwen3_vl::Config& c) -> int64_t& { return c.text.hidden; }},
    SizeFlag{"--intermediate", "inner width of its MLP",
             [](qwen3_vl::Config& c) -> int64_t& { return c.text.intermediate; }},
    SizeFlag{"--heads", "query heads",
             [](qwen3_vl::Config& c) -> int64_t& { return c.text.heads; }},
    SizeFlag{"--kv-heads", "key and value heads",
             [](qwen3_vl::Config& c) -> int64_t& { return c.text.kv_heads; }},
    SizeFlag{"--head-dim", "width of a head",
             [](qwen3_vl::Config& c) -> int64_t& { return c.text.head_dim; }},
    SizeFlag{"--vocab", "rows of the embedding",
             [](qwen3_vl::Config& c) -> int64_t& { return c.text.vocab; }},
    SizeFlag{"--vision-depth", "blocks of the vision tower",
             [](qwen3_vl::Config& c) -> int64_t& { return c.vision.depth; }},
    SizeFlag{"--vision-hidden", "their width",
             [](qwen3_vl::Config& c) -> int64_t& { return c.vision.hidden; }},
    SizeFlag{"--vision-heads", "their heads",
             [](qwen3_vl::Config& c) -> int64_t& { return c.vision.heads; }},
    SizeFlag{"--vision-intermediate", "inner width of their MLP",
             [](qwen3_vl::Config& c) -> int64_t& { return c.vision.intermediate; }},
};

// Draws tensors block by block on all threads, and shows how far it is.
class Maker {
 public:
  Maker(const Options& options, int64_t total_bytes)
      : options_(options),
        total_bytes_(total_bytes),
        pool_(options.threads > 0 ? options.threads : available_cores()) {}

  io::StreamedTensor tensor(const TensorPlan& plan) {
    return {.name = plan.name,
            .dtype = DType::bf16,
            .shape = plan.shape,
            .produce = [this, &plan](const io::StreamedTensor::Sink& sink) { make(plan, sink); }};
  }

  std::string rate() const {
    const std::chrono::duration<double> elapsed = std::chrono::steady_clock::now() - start_;
    return fmt::format("{:.0f} MB/s", static_cast<double>(done_bytes_) / 1e6 / elapsed.count());
  }

 private:
  void make(const TensorPlan& plan, const io::StreamedTensor::Sink& sink) {
    const SyntheticValues values(plan, options_.seed);
    const int64_t columns = values.columns();
    const int64_t row_bytes = columns * byte_size(DType::bf16);
    const int64_t rows_at_once =
        std::min(values.rows(), std::max<int64_t>(1, kBufferBytes / row_bytes));
    buffer_.resize(static_cast<size_t>(rows_at_once * columns));
    for (int64_t first = 0; first < values.rows(); first += rows_at_once) {
      if (options_.stop.stop_requested()) {
        throw Error(ErrorCode::interrupted, "interrupted; nothing was written");
      }
      const int64_t rows = std::min(rows_at_once, values.rows() - first);
      pool_.parallel_for(rows, 1, [&](int64_t begin, int64_t end, int) {
        for (int64_t r = begin; r < end; ++r) {
          values.fill(first + r, std::span(buffer_).subspan(static_cast<size_t>(r * columns),
                                                            static_cast<size_t>(columns)));
        }
      });
      sink(std::as_bytes(std::span(buffer_).first(static_cast<size_t>(rows * columns))));
      done_bytes_ += rows * row_bytes;
      progress_.show(done_bytes_, total_bytes_, rate());
    }
  }

  const Options& options_;
  int64_t total_bytes_;
  ThreadPool pool_;
  cli::Progress progress_{"make_checkpoint"};
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
  int64_t done_bytes_ = 0;
  std::vector<bf16> buffer_;
};

std::map<std::string, std::string> tokenizer_files(const fs::path& folder) {
  std::map<std::string, std::string> files;
  for (const char* name :
       {"tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "chat_template.json",
        "chat_template.jinja", "special_tokens_map.json", "added_tokens.json"}) {
    if (fs::exists(folder / name)) {
      files[name] = io::read_file(folder / name, kMaxSideFileBytes);
    }
  }
  if (!files.contains("tokenizer.json")) {
    throw Error(ErrorCode::io, fmt::format("{}: there is no tokenizer.json", folder.string()));
  }
  return files;
}

void run(const Options& options) {
  qwen3_vl::Config config = presets().at(options.size);
  for (const SizeFlag& flag : kSizeFlags) {
    const auto given = options.sizes.find(flag.name);
    if (given != options.sizes.end()) flag.of(config) = given->second;
  }
  adapt(config);
  std::map<std::string, std::string> files = tokenizer_files(options.tokenizer);
  const std::string where = (fs::path(options.tokenizer) / "tokenizer.json").string();
  files.merge(model_files(config, text::Tokenizer::parse(files.at("tokenizer.json"), where)));
  const std::vector<TensorPlan> plans = tensors(config);
  int64_t parameters = 0;
  for (const TensorPlan& plan : plans) parameters += plan.shape.numel();
  const int64_t bytes = parameters * byte_size(DType::bf16);
  const std::string what = fmt::format("{} tensors, {} parameters, {}", plans.size(), parameters,
                                       cli::bytes_text(bytes));
  if (options.plan) {
    fmt::print("{}\n", what);
    return;
  }
  io::CheckpointWriter writer(options.output, options.shard_bytes);
  for (const auto& [name, text] : files) writer.write_side_file(name, text);
  Maker maker(options, bytes);
  for (const TensorPlan& plan : plans) writer.add(maker.tensor(plan));
  writer.publish(parameters);
  fmt::print("{}: {} at {}; peak memory {}\n", options.output, what, maker.rate(),
             cli::bytes_text(cli::peak_memory()));
}

int run_command_line(int argc, char** argv) {
  const cli::InterruptWatch interrupt;
  Options options{.stop = interrupt.token()};
  CLI::App app(
      "make_checkpoint: a Qwen3-VL checkpoint with random weights, of any size. The same seed "
      "gives the same bytes.");
  app.footer("Example:\n  make_checkpoint 8b --layers 4 --tokenizer models/reader -o out/8b-4");
  app.add_option("SIZE", options.size, "2b, 4b, 8b or 32b; the flags below change single sizes")
      ->required()
      ->check(CLI::IsMember(presets()));
  app.add_option("-o,--output", options.output, "folder to write; must be absent or empty")
      ->required();
  app.add_option("--tokenizer", options.tokenizer,
                 "folder with the tokenizer.json and its companions to copy")
      ->required();
  for (const SizeFlag& flag : kSizeFlags) {
    app.add_option(flag.name, options.sizes[flag.name], flag.help)->check(CLI::PositiveNumber);
  }
  app.add_option("--seed", options.seed, "of the weights")->capture_default_str();
  app.add_option("--threads", options.threads, "0: every core this process may use")
      ->check(CLI::Range(0, 4096))
      ->capture_default_str();
  app.add_option("--shard-bytes", options.shard_bytes, "largest file of weights")
      ->check(CLI::PositiveNumber)
      ->capture_default_str();
  app.add_flag("--plan", options.plan, "say what would be written, and stop");
  app.callback([&options] {
    std::erase_if(options.sizes, [](const auto& size) { return size.second == 0; });
    run(options);
  });
  return cli::run_program(app, {.stop = interrupt.token()}, argc, argv);
}

}  // namespace
}  // namespace squint::tools

// What escapes is memory running out while an error is printed.
// NOLINTNEXTLINE(bugprone-exception-escape)
int main(int argc, char** argv) { return squint::tools::run_command_line(argc, argv); }
