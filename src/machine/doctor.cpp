#include "squint/doctor.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <functional>
#include <nlohmann/json.hpp>
#include <numeric>
#include <sstream>
#include <thread>

#include "base/json.h"
#include "base/thread_pool.h"
#include "io/atomic_file.h"
#include "machine/system_facts.h"
#include "ops/ops.h"
#include "squint/error.h"
#include "squint/version.h"

namespace squint {
namespace {

namespace fs = std::filesystem;
using namespace machine;

constexpr int64_t kBufferBytes = int64_t{256} << 20;  // many times any cache
constexpr int kSamples = 5;                           // the fastest counts
constexpr int64_t kSide = 1024;                       // of the matrices that are multiplied

// Files of /proc have no size to trust.
std::string text_of(const char* path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

double least_seconds(const std::function<void()>& work) {
  double least = 0;
  for (int i = 0; i < kSamples; ++i) {
    const auto start = std::chrono::steady_clock::now();
    work();
    const double seconds =
        std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (i == 0 || seconds < least) least = seconds;
  }
  return std::max(least, 1e-9);
}

double read_rate(std::span<const uint64_t> buffer, ThreadPool& threads) {
  std::vector<uint64_t> sums(static_cast<size_t>(threads.size()));
  const auto count = static_cast<int64_t>(buffer.size());
  const double seconds = least_seconds([&] {
    threads.parallel_for(
        count, count / threads.size() + 1, [&](int64_t begin, int64_t end, int worker) {
          const auto part =
              buffer.subspan(static_cast<size_t>(begin), static_cast<size_t>(end - begin));
          sums[static_cast<size_t>(worker)] += std::reduce(part.begin(), part.end());
        });
  });
  // So that no compiler leaves the sums out.
  const bool used = std::accumulate(sums.begin(), sums.end(), uint64_t{0}) != 1;
  return used ? static_cast<double>(kBufferBytes) / seconds : 0;
}

double product_rate(Backend& backend) {
  Arena scratch(backend);
  Context cx{.backend = backend, .scratch = scratch};
  const Tensor host = Tensor::on_host(DType::f32, {kSide, kSide});
  std::ranges::fill(host.span<float>(), 0.5f);
  LinearWeight weight{.out_features = kSide, .in_features = kSide};
  weight.weight = host;
  const LinearWeight ready = backend.prepare(weight);
  const Tensor x = scratch.tensor(host.shape());
  const Tensor out = scratch.tensor(host.shape());
  backend.copy(host, x);
  const double seconds = least_seconds([&] {
    ops::linear(cx, x, ready, out);
    backend.synchronize();
  });
  return 2.0 * kSide * kSide * kSide / seconds;
}

std::vector<std::string> graphics_cards() {
  std::vector<std::string> names;
  std::error_code ignored;
  for (const auto& entry : fs::directory_iterator("/proc/driver/nvidia/gpus", ignored)) {
    const std::string name = graphics_card_name(text_of((entry.path() / "information").c_str()));
    if (!name.empty()) names.push_back(name);
  }
  return names;
}

std::vector<std::string> notes_of(const MachineReport& r) {
  std::vector<std::string> notes;
  if (r.running == "scalar") {
    notes.emplace_back("This processor has no AVX2: portable kernels run, many times slower.");
  }
  if (r.threads < r.processors) {
    notes.push_back(
        fmt::format("{} of {} logical processors are used: the rest shares cores with these, is "
                    "not given to this process, or --threads said so.",
                    r.threads, r.processors));
  }
  if (!r.graphics_cards.empty() && !r.running.starts_with("sm_")) {
    notes.emplace_back(
        "The graphics card is not used: --device cuda does, where squint was built with CUDA.");
  }
  return notes;
}

std::string gigabytes(int64_t bytes) {
  return bytes > 0 ? fmt::format("{:.1f} GB", static_cast<double>(bytes) / 1e9) : "unknown";
}

}  // namespace

MachineReport examine_machine(Backend& backend, const fs::path& folder) {
  static const std::vector<std::string> kInstructions = {
      "avx2",        "fma",      "f16c",        "avx512f",  "avx512bw", "avx512vl",
      "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_bf16", "amx_int8"};
  const std::string cpuinfo = text_of("/proc/cpuinfo");
  const std::string meminfo = text_of("/proc/meminfo");
  MachineReport r;
  r.processor = processor_name(cpuinfo);
  r.threads = threads_of(backend);
  r.processors = static_cast<int>(std::thread::hardware_concurrency());
  r.instructions = instruction_sets(cpuinfo, kInstructions);
  r.kernels = runnable_kernels();
  r.fast_kernels = runnable_kernels(Arithmetic::fast);
  r.running = kernels_of(backend);
  r.memory_bytes = memory_fact(meminfo, "MemTotal").value_or(0);
  r.available_bytes = memory_fact(meminfo, "MemAvailable").value_or(0);
  if (const auto limit = container_limit(text_of("/sys/fs/cgroup/memory.max"))) {
    if (r.memory_bytes == 0 || *limit < r.memory_bytes) r.memory_bytes = *limit;
    r.available_bytes = std::min(r.available_bytes, *limit);
  }
  r.folder = fs::absolute(folder);
  r.disk_free_bytes = io::available_bytes(folder);
  r.graphics_cards = graphics_cards();
  {
    const std::vector<uint64_t> buffer(kBufferBytes / sizeof(uint64_t), 1);
    ThreadPool one(1);
    r.read_bytes_a_second_of_one = read_rate(buffer, one);
    r.read_bytes_a_second = read_rate(buffer, backend.host_threads());
  }
  r.float_operations_a_second = product_rate(backend);
  r.notes = notes_of(r);
  return r;
}

std::string MachineReport::to_json() const {
  const OrderedJson json = {{"kind", "machine"},
                            {"format", 1},
                            {"squint", kVersion},
                            {"processor", processor},
                            {"threads", threads},
                            {"processors", processors},
                            {"instructions", instructions},
                            {"kernels", kernels},
                            {"fast_kernels", fast_kernels},
                            {"running", running},
                            {"memory_bytes", memory_bytes},
                            {"available_bytes", available_bytes},
                            {"read_bytes_a_second", read_bytes_a_second},
                            {"read_bytes_a_second_of_one", read_bytes_a_second_of_one},
                            {"float_operations_a_second", float_operations_a_second},
                            {"folder", folder.string()},
                            {"disk_free_bytes", disk_free_bytes},
                            {"graphics_cards", graphics_cards},
                            {"notes", notes}};
  return json.dump(2, ' ', false, OrderedJson::error_handler_t::replace);
}

std::string MachineReport::to_text() const {
  std::string out;
  const auto fact = [&](std::string_view name, const std::string& value) {
    out += fmt::format("{:<14}{}\n", name, value);
  };
  fact("processor", fmt::format("{}, {} threads of {}", processor.empty() ? "unknown" : processor,
                                threads, processors));
  fact("instructions", instructions.empty() ? "none of those that help"
                                            : fmt::format("{}", fmt::join(instructions, " ")));
  fact("kernels", fmt::format("{} ({} can run; in fast arithmetic {})", running,
                              fmt::join(kernels, ", "), fmt::join(fast_kernels, ", ")));
  fact("arithmetic",
       fmt::format("{:.0f} GFLOP/s in float32 matrix products", float_operations_a_second / 1e9));
  fact("memory",
       fmt::format("{}, {} available", gigabytes(memory_bytes), gigabytes(available_bytes)));
  fact("bandwidth", fmt::format("{:.1f} GB/s reading, {:.1f} GB/s by one thread",
                                read_bytes_a_second / 1e9, read_bytes_a_second_of_one / 1e9));
  fact("disk", fmt::format("{} free at {}", gigabytes(disk_free_bytes), folder.string()));
  fact("graphics", graphics_cards.empty() ? "no NVIDIA card found"
                                          : fmt::format("{}", fmt::join(graphics_cards, ", ")));
  for (const std::string& note : notes) out += "note: " + note + "\n";
  return out;
}

}  // namespace squint
