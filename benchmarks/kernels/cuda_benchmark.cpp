// What fast mode's kernels take on the card at hand, at an 8B's sizes: products of a decode step
// over the weights of all layers, so that no cache holds them, whole decode steps, products of
// prompts, and attention. Each as a CUDA graph, the median of several replays.
//
//     cuda_benchmark [LAYERS [decode]]
#include <cuda_runtime_api.h>
#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <functional>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "backends/cuda/cublas_library.h"
#include "backends/cuda/device_memory.h"
#include "backends/cuda/fast_kernels.h"

namespace squint::cuda {
namespace {

constexpr int64_t kHidden = 4096;
constexpr int64_t kInner = 12288;
constexpr int64_t kKv = 1024;
constexpr int64_t kVocab = 151936;
constexpr int64_t kHeads = 32;
constexpr int64_t kKvHeads = 8;
constexpr int64_t kHeadDim = 128;
constexpr uint32_t kGroup = 0x3c234308;  // scale 0.01, zero point 8: see FastMatrix

using Memory = std::shared_ptr<Storage>;

// Bytes of a pattern, which is repeated.
template <class T>
Memory filled(int64_t count, const std::vector<T>& pattern) {
  const int64_t bytes = count * static_cast<int64_t>(sizeof(T));
  const auto step = static_cast<int64_t>(pattern.size() * sizeof(T));
  Memory memory = allocate_on(0, bytes);
  for (int64_t at = 0; at < bytes; at += step) {
    check(cudaMemcpy(memory->data() + at, pattern.data(),
                     static_cast<size_t>(std::min(step, bytes - at)), cudaMemcpyHostToDevice),
          "filling");
  }
  return memory;
}

std::vector<float> bell(size_t count, float deviation) {
  static std::mt19937 random(1);
  std::normal_distribution<float> normal(0, deviation);
  std::vector<float> values(count);
  for (float& x : values) x = normal(random);
  return values;
}

std::vector<uint16_t> bell_bf16(size_t count, float deviation) {
  std::vector<uint16_t> values;
  for (const float x : bell(count, deviation)) {
    uint32_t bits = 0;
    std::memcpy(&bits, &x, sizeof bits);
    values.push_back(static_cast<uint16_t>(bits >> 16));
  }
  return values;
}

struct Weight {
  FastMatrix matrix;
  std::vector<Memory> memory;
  int64_t bytes;
};

Weight int4(int64_t out, int64_t in) {
  static const std::vector<uint32_t> codes = [] {
    std::mt19937 random(2);
    std::vector<uint32_t> words(1 << 20);
    for (uint32_t& word : words) word = static_cast<uint32_t>(random());
    return words;
  }();
  const std::vector<uint32_t> groups(1 << 16, kGroup);
  Weight w{};
  w.memory = {filled(out * in / 8, codes), filled(out * in / 128, groups)};
  w.matrix.rows = {WeightFormat::int4,
                   in,
                   out,
                   w.memory[0]->data(),
                   in / 32,
                   reinterpret_cast<const uint32_t*>(w.memory[1]->data()),
                   in / 128,
                   128};
  w.matrix.tiled = true;
  w.matrix.group_shift = 1;
  w.bytes = out * in / 2 + out * in / 32;
  return w;
}

Weight bf16(int64_t out, int64_t in) {
  Weight w{};
  w.memory = {filled(out * in, bell_bf16(1 << 20, 0.02f))};
  w.matrix.rows = {WeightFormat::bf16, in, out, w.memory[0]->data(), in / 8, nullptr, 0, in};
  w.matrix.group_shift = -1;
  w.bytes = out * in * 2;
  return w;
}

class Bench {
 public:
  Bench() {
    check(cudaSetDevice(0), "choosing the card");
    cudaDeviceProp p{};
    check(cudaGetDeviceProperties(&p, 0), "asking");
    card = {p.multiProcessorCount, static_cast<int>(p.sharedMemPerBlockOptin),
            static_cast<int>(p.sharedMemPerMultiprocessor)};
    check(cudaStreamCreateWithFlags(&stream, cudaStreamNonBlocking), "creating a stream");
    cublas = CublasLibrary::open(0);
    fmt::print("{}, {} multiprocessors, cuBLAS {}\n", p.name, p.multiProcessorCount,
               cublas ? cublas->version() : "none");
    const std::vector<float> values = bell(1 << 20, 1);
    for (Memory* m : {&x, &y, &z, &wide, &wide2}) *m = filled(int64_t{8192} * kInner, values);
    cosine = filled(int64_t{8192} * 64, values);
    ones = filled(kInner, std::vector<float>(1 << 16, 1.0f));
    partial = allocate_on(0, 16 << 20);
    tickets = filled(kSplitTickets, std::vector<uint32_t>(kSplitTickets, 0));
    half_x = filled(int64_t{8192} * kInner, bell_bf16(1 << 20, 1));
    unpacked = allocate_on(0, kInner * kHidden * 2);
  }

  // Median microseconds of what `launch` puts on the stream.
  double time(const std::function<void()>& launch, int replays = 7) {
    launch();  // outside of the capture once: attributes, plans
    check(cudaGetLastError(), "launching");
    check(cudaStreamSynchronize(stream), "warming up");
    cudaGraph_t graph = nullptr;
    cudaGraphExec_t exec = nullptr;
    check(cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed), "capturing");
    launch();
    check(cudaGetLastError(), "launching");
    check(cudaStreamEndCapture(stream, &graph), "capturing");
    check(cudaGraphInstantiate(&exec, graph, 0), "instantiating");
    cudaEvent_t begin = nullptr;
    cudaEvent_t end = nullptr;
    check(cudaEventCreate(&begin), "timing");
    check(cudaEventCreate(&end), "timing");
    std::vector<float> times;
    for (int i = 0; i < replays + 2; ++i) {
      check(cudaEventRecord(begin, stream), "timing");
      check(cudaGraphLaunch(exec, stream), "replaying");
      check(cudaEventRecord(end, stream), "timing");
      check(cudaEventSynchronize(end), "timing");
      float ms = 0;
      check(cudaEventElapsedTime(&ms, begin, end), "timing");
      if (i >= 2) times.push_back(ms);
    }
    std::ranges::sort(times);
    cudaEventDestroy(begin);
    cudaEventDestroy(end);
    cudaGraphExecDestroy(exec);
    cudaGraphDestroy(graph);
    return times[times.size() / 2] * 1e3;
  }

  static float* floats(const Memory& m) { return reinterpret_cast<float*>(m->data()); }

  void product(int rows, const Memory& from, const Memory& norm, Epilogue epilogue,
               const std::vector<const Weight*>& weights, const std::vector<Memory>& outs) {
    FewRowsArgs a{};
    a.x = floats(from);
    a.norm = norm ? floats(norm) : nullptr;
    a.eps = 1e-6f;
    a.rows = rows;
    a.in = static_cast<int32_t>(weights[0]->matrix.rows.in);
    a.count = static_cast<int32_t>(weights.size());
    a.epilogue = epilogue;
    for (size_t i = 0; i < weights.size(); ++i) {
      a.outputs[i] = {weights[i]->matrix, nullptr, floats(outs[std::min(i, outs.size() - 1)])};
    }
    a.partial = floats(partial);
    a.tickets = reinterpret_cast<uint32_t*>(tickets->data());
    fast_few_rows(a, card, stream);
  }

  FastAttention attention(const Memory& cache, int64_t heads, int64_t kv_heads, int64_t d,
                          int slices, int tokens, int length, bool causal) const {
    FastAttention a{};
    a.query = floats(x);
    a.out = floats(z);
    a.heads = static_cast<int32_t>(heads);
    a.kv_heads = static_cast<int32_t>(kv_heads);
    a.head_dim = static_cast<int32_t>(d);
    a.scale = 0.1f;
    a.causal = causal;
    a.count = slices;
    a.partial = floats(partial);
    a.partial_floats = partial->bytes() / 4;
    a.tickets = reinterpret_cast<uint32_t*>(tickets->data());
    for (int i = 0; i < slices; ++i) {
      auto* keys = reinterpret_cast<uint16_t*>(cache->data()) + 2 * i * kv_heads * length * d;
      a.slices[i] = {{keys, keys + kv_heads * length * d, static_cast<int32_t>(d), length, length},
                     i * tokens,
                     tokens,
                     length - tokens};
    }
    return a;
  }

  CardLimits card{};
  cudaStream_t stream = nullptr;
  std::unique_ptr<CublasLibrary> cublas;
  Memory x, y, z, wide, wide2, cosine, ones, partial, tickets, half_x, unpacked;
};

struct Layer {
  Weight q, k, v, o, gate, up, down;
};

struct Model {
  std::vector<Layer> layers;
  Weight head;
};

Model make_model(int count) {
  Model m;
  for (int i = 0; i < count; ++i) {
    m.layers.push_back({int4(kHidden, kHidden), int4(kKv, kHidden), int4(kKv, kHidden),
                        int4(kHidden, kHidden), int4(kInner, kHidden), int4(kInner, kHidden),
                        int4(kHidden, kInner)});
  }
  m.head = bf16(kVocab, kHidden);
  return m;
}

void row(const std::string& name, double us, double amount, const char* unit) {
  fmt::print("{:<44} {:>9.2f} us {:>9.1f} {}\n", name, us, amount, unit);
}

void decode_products(Bench& b, const Model& m) {
  const auto n = static_cast<double>(m.layers.size());
  const auto report = [&](const std::string& name, double us, double bytes) {
    row(name, us, bytes / us / 1e3, "GB/s");
  };
  for (const int rows : {1, 2, 4, 8}) {
    const Layer& l0 = m.layers[0];
    const auto each = [&](const char* name, double bytes,
                          const std::function<void(const Layer&)>& f) {
      const double us = b.time([&] {
        for (const Layer& l : m.layers) f(l);
      }) / n;
      report(fmt::format("{} rows {}", name, rows), us, bytes);
    };
    const auto d = [](int64_t bytes) { return static_cast<double>(bytes); };
    each("q,k,v of norm", d(l0.q.bytes + 2 * l0.k.bytes), [&](const Layer& l) {
      b.product(rows, b.x, b.ones, Epilogue::store, {&l.q, &l.k, &l.v}, {b.y, b.z, b.wide});
    });
    each("o, added", d(l0.o.bytes),
         [&](const Layer& l) { b.product(rows, b.y, nullptr, Epilogue::add, {&l.o}, {b.x}); });
    each("gate, up of norm", d(2 * l0.up.bytes), [&](const Layer& l) {
      b.product(rows, b.x, b.ones, Epilogue::gated, {&l.gate, &l.up}, {b.wide});
    });
    each("up alone 12288 x 4096", d(l0.up.bytes), [&](const Layer& l) {
      b.product(rows, b.x, nullptr, Epilogue::store, {&l.up}, {b.wide});
    });
    each("down 4096 x 12288, added", d(l0.down.bytes), [&](const Layer& l) {
      b.product(rows, b.wide2, nullptr, Epilogue::add, {&l.down}, {b.x});
    });
    each("k alone 1024 x 4096", d(l0.k.bytes),
         [&](const Layer& l) { b.product(rows, b.x, nullptr, Epilogue::store, {&l.k}, {b.z}); });
    report(fmt::format("head 151936 x 4096 bf16 rows {}", rows),
           b.time([&] { b.product(rows, b.x, b.ones, Epilogue::store, {&m.head}, {b.wide}); }),
           d(m.head.bytes));
  }
}

HeadsOfStep heads(const Bench& b) {
  return {.key = Bench::floats(b.z),
          .value = Bench::floats(b.wide),
          .query_norm = Bench::floats(b.ones),
          .key_norm = Bench::floats(b.ones),
          .eps = 1e-6f,
          .cosine = Bench::floats(b.cosine),
          .sine = Bench::floats(b.cosine)};
}

void append(Bench& b, const FastAttention& a) {
  AppendArgs args{};
  args.query = Bench::floats(b.y);
  args.from = heads(b);
  args.heads = kHeads;
  args.kv_heads = kKvHeads;
  args.head_dim = kHeadDim;
  args.count = a.count;
  std::copy(a.slices, a.slices + a.count, args.slices);
  append_fast(args, b.stream);
}

// What a step does: heads made and attended to at once.
void attend_heads(Bench& b, FastAttention a) {
  a.query = Bench::floats(b.y);
  a.from = heads(b);
  attend_decode(a, b.card.multiprocessors, b.stream);
}

// Two kernels of a step in turns, to see what one costs the other.
void decode_pairs(Bench& b, const Model& m, const Memory& cache) {
  const FastAttention a = b.attention(cache, kHeads, kKvHeads, kHeadDim, 1, 1, 512, true);
  const auto each = [&](const char* name, const std::function<void(const Layer&)>& f) {
    const double us = b.time([&] {
      for (const Layer& l : m.layers) f(l);
    });
    row(name, us / static_cast<double>(m.layers.size()), 0, "");
  };
  const auto qkv = [&](const Layer& l) {
    b.product(1, b.x, b.ones, Epilogue::store, {&l.q, &l.k, &l.v}, {b.y, b.z, b.wide});
  };
  const auto o = [&](const Layer& l) { b.product(1, b.z, nullptr, Epilogue::add, {&l.o}, {b.x}); };
  const auto attend = [&] { attend_heads(b, a); };
  each("q,k,v; attend 512", [&](const Layer& l) { qkv(l), attend(); });
  each("attend 512; o", [&](const Layer& l) { attend(), o(l); });
  each("o; q,k,v", [&](const Layer& l) { o(l), qkv(l); });
  each("gate, up; down", [&](const Layer& l) {
    b.product(1, b.x, b.ones, Epilogue::gated, {&l.gate, &l.up}, {b.wide});
    b.product(1, b.wide, nullptr, Epilogue::add, {&l.down}, {b.x});
  });
}

void decode_steps(Bench& b, const Model& m, const Memory& cache) {
  double bytes = static_cast<double>(m.head.bytes);
  for (const Layer& l : m.layers) {
    for (const Weight* w : {&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down}) {
      bytes += static_cast<double>(w->bytes);
    }
  }
  for (const int batch : {1, 8}) {
    for (const int length : {0, 512, 2048}) {
      const FastAttention a =
          b.attention(cache, kHeads, kKvHeads, kHeadDim, batch, 1, std::max(length, 1), true);
      const double us = b.time([&] {
        for (const Layer& l : m.layers) {
          b.product(batch, b.x, b.ones, Epilogue::store, {&l.q, &l.k, &l.v}, {b.y, b.z, b.wide});
          attend_heads(b, a);
          b.product(batch, b.z, nullptr, Epilogue::add, {&l.o}, {b.x});
          b.product(batch, b.x, b.ones, Epilogue::gated, {&l.gate, &l.up}, {b.wide});
          b.product(batch, b.wide, nullptr, Epilogue::add, {&l.down}, {b.x});
        }
        b.product(batch, b.x, b.ones, Epilogue::store, {&m.head}, {b.wide});
      });
      row(fmt::format("decode step, batch {} at {}: {:.0f} tok/s", batch, length, batch * 1e6 / us),
          us, bytes / us / 1e3, "GB/s");
    }
  }
}

void multiply(Bench& b, const Weight& w, int64_t rows, bool add, const Memory& out) {
  const DeviceMatrix& r = w.matrix.rows;
  unpack_to_bf16(w.matrix, 0, r.out, r.in, b.unpacked->data(), b.stream);
  b.cublas->multiply({rows, r.out, r.in, b.half_x->data(), r.in, b.unpacked->data(), r.in, nullptr,
                      add, Bench::floats(out), r.out},
                     b.stream);
}

void prefill(Bench& b, const Model& m, const Memory& cache) {
  const auto& l = m.layers[0];
  for (const int64_t rows : {512, 2048}) {
    const auto round = [&](const Memory& from, int64_t n, const Memory& norm) {
      round_to_bf16({Bench::floats(from), norm ? Bench::floats(norm) : nullptr, nullptr, false,
                     1e-6f, rows, n, n, b.half_x->data()},
                    b.stream);
    };
    const auto one = [&](const char* name, const Weight& w) {
      const DeviceMatrix& r = w.matrix.rows;
      const double unpack = b.time([&] {
        for (int i = 0; i < 10; ++i) {
          unpack_to_bf16(w.matrix, 0, r.out, r.in, b.unpacked->data(), b.stream);
        }
      }) / 10;
      row(fmt::format("unpack {} {}x{}", name, r.out, r.in), unpack,
          static_cast<double>(w.bytes + 2 * r.out * r.in) / unpack / 1e3, "GB/s");
      for (const bool add : {false, true}) {
        const double us = b.time([&] {
          for (int i = 0; i < 10; ++i) {
            b.cublas->multiply({rows, r.out, r.in, b.half_x->data(), r.in, b.unpacked->data(), r.in,
                                nullptr, add, Bench::floats(b.wide), r.out},
                               b.stream);
          }
        }) / 10;
        row(fmt::format("cuBLAS {} rows {}{}", name, rows, add ? ", added" : ""), us,
            2e-6 * static_cast<double>(rows * r.out * r.in) / us, "TFLOP/s");
      }
    };
    one("q", l.q);
    one("k", l.k);
    one("up", l.up);
    one("down", l.down);
    row(fmt::format("norm, rounded, 4096, rows {}", rows),
        b.time([&] { round(b.x, kHidden, b.ones); }), 0, "");
    row(fmt::format("rounded, 12288, rows {}", rows),
        b.time([&] { round(b.wide, kInner, nullptr); }), 0, "");
    row(fmt::format("gate, rows {}", rows), b.time([&] {
      gate_values(Bench::floats(b.wide), Bench::floats(b.wide2), rows * kInner, b.stream);
    }),
        0, "");
    const FastAttention a = b.attention(cache, kHeads, kKvHeads, kHeadDim, 1,
                                        static_cast<int>(rows), static_cast<int>(rows), true);
    const auto layer = [&](const Layer& w) {
      round(b.x, kHidden, b.ones);
      multiply(b, w.q, rows, false, b.y);
      multiply(b, w.k, rows, false, b.z);
      multiply(b, w.v, rows, false, b.wide);
      append(b, a);
      attend_prefill(a, prefill_tiles(rows, kHeads, kHeadDim, b.card), b.stream);
      round(b.z, kHidden, nullptr);
      multiply(b, w.o, rows, true, b.x);
      round(b.x, kHidden, b.ones);
      multiply(b, w.gate, rows, false, b.wide);
      multiply(b, w.up, rows, false, b.wide2);
      gate_values(Bench::floats(b.wide), Bench::floats(b.wide2), rows * kInner, b.stream);
      round(b.wide, kInner, nullptr);
      multiply(b, w.down, rows, true, b.x);
    };
    const double us = b.time(
        [&] {
          for (const Layer& w : m.layers) layer(w);
        },
        5);
    const double tokens = static_cast<double>(rows) * 1e6 / us;
    row(fmt::format("prefill {}: {:.0f} tok/s", rows, tokens), us,
        tokens * 14e9 * static_cast<double>(m.layers.size()) / 36 / 1e12, "TFLOP/s");
  }
}

// tiles 0: Hopper's own.
void attend_many(Bench& b, const FastAttention& a, int tiles) {
  tiles == 0 ? attend_prefill_hopper(a, b.stream) : attend_prefill(a, tiles, b.stream);
}

void attention(Bench& b, const Memory& cache) {
  const int least = hopper_attention_known() ? 0 : 1;
  for (const int tokens : {512, 2048, 8192}) {
    for (int tiles = least; tiles <= 2; ++tiles) {
      const FastAttention a =
          b.attention(cache, kHeads, kKvHeads, kHeadDim, 1, tokens, tokens, true);
      const double us = b.time([&] { attend_many(b, a, tiles); });
      row(fmt::format("attention causal {} tiles {}", tokens, tiles), us,
          2e-6 * tokens * tokens * kHeads * kHeadDim / us, "TFLOP/s");
    }
  }
  for (const int tiles : {1, 2}) {
    const FastAttention a = b.attention(cache, 16, 16, 72, 1, 4096, 4096, false);
    const double us = b.time([&] { attend_many(b, a, tiles); });
    row(fmt::format("attention of 4096 patches, 16x72, tiles {}", tiles), us,
        4e-6 * 4096.0 * 4096 * 16 * 72 / us, "TFLOP/s");
  }
  for (const int batch : {1, 8}) {
    for (const int length : {1, 512, 2048, 8192}) {
      const FastAttention a =
          b.attention(cache, kHeads, kKvHeads, kHeadDim, batch, 1, length, true);
      const double us = b.time([&] {
        for (int i = 0; i < 10; ++i) attend_decode(a, b.card.multiprocessors, b.stream);
      }) / 10;
      row(fmt::format("attention of a step, batch {} at {}", batch, length), us,
          4.0 * batch * length * kKvHeads * kHeadDim / us / 1e3, "GB/s");
      if (length <= 1) {
        row(fmt::format("norm, rotate, append, batch {}", batch), b.time([&] {
          for (int i = 0; i < 10; ++i) append(b, a);
        }) / 10,
            0, "");
      }
    }
  }
}

int run(int layers, bool only_decode) {
  Bench b;
  const Model m = make_model(layers);
  const Memory cache = filled(int64_t{8} * 2 * kKvHeads * 8192 * kHeadDim, bell_bf16(1 << 20, 1));
  if (!only_decode) decode_products(b, m);
  decode_pairs(b, m, cache);
  decode_steps(b, m, cache);
  if (only_decode) return 0;
  attention(b, cache);
  if (b.cublas) prefill(b, m, cache);
  return 0;
}

}  // namespace
}  // namespace squint::cuda

int main(int argc, char** argv) {
  return squint::cuda::run(argc > 1 ? std::stoi(argv[1]) : 36, argc > 2);
}
