#include "backends/cuda/fast_backend.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <vector>

#include "backends/cuda/device_memory.h"
#include "backends/cuda/device_tensor.h"
#include "base/checked_math.h"
#include "squint/error.h"

namespace squint::cuda {
namespace {

constexpr int64_t kBf16Bytes = 2;
constexpr int64_t kTicketBytes = kSplitTickets * 4;
constexpr int64_t kFastWorkspaceBytes = kWorkspaceBytes + kTicketBytes +
                                        CublasLibrary::kWorkspaceBytes + kMostRoundedBytes +
                                        kMostUnpackedBytes + kMostTemporaryBytes;
static_assert(kWorkspaceBytes >= kSplitFloats * 4);

const float* bias_of(const LinearWeight& weight) {
  return weight.bias.empty() ? nullptr : floats(weight.bias);
}

}  // namespace

int64_t bf16_stride(int64_t columns) { return round_up(columns, 8); }

static FastCache view(const KvLayer& kv) {
  SQUINT_CHECK(kv.keys.dtype() == DType::bf16);
  return {.keys = reinterpret_cast<uint16_t*>(kv.keys.raw()),
          .values = reinterpret_cast<uint16_t*>(kv.values.raw()),
          .stride = static_cast<int32_t>(bf16_stride(kv.head_dim)),
          .capacity = static_cast<int32_t>(kv.capacity),
          .length = static_cast<int32_t>(kv.length)};
}

FastSlice view(const KvSlice& slice, int64_t position) {
  return {.cache = view(*slice.kv),
          .begin = static_cast<int32_t>(slice.begin),
          .count = static_cast<int32_t>(slice.count),
          .position = static_cast<int32_t>(position)};
}

void* GrowingMemory::at_least(int64_t bytes) {
  constexpr int64_t kStep = int64_t{16} << 20;  // so that prompts of all lengths end with one size
  if (storage_ == nullptr || storage_->bytes() < bytes) {
    storage_.reset();  // waits for what uses it
    storage_ = allocate_on(index_, round_up(bytes, kStep));
  }
  return storage_->data();
}

FastBackend::FastBackend(int index, BackendPtr host)
    : CudaBackend(index, std::move(host)), rounded_(index), unpacked_(index), steps_(index) {
  cudaDeviceProp properties{};
  check(cudaGetDeviceProperties(&properties, index), "asking for the card's properties");
  card_ = {.multiprocessors = properties.multiProcessorCount,
           .shared_per_block = static_cast<int>(properties.sharedMemPerBlockOptin),
           .shared_per_multiprocessor = static_cast<int>(properties.sharedMemPerMultiprocessor),
           .hopper_attention = hopper_attention_known()};
  allow_tf32();
  cublas_ = CublasLibrary::open(index);
  set_kernels(fmt::format("{} fast, {}", kernels(),
                          cublas_ ? "cuBLAS " + cublas_->version() : "without cuBLAS"));
  tickets_ = allocate_on(index, kTicketBytes);
  check(cudaMemsetAsync(tickets_->data(), 0, kTicketBytes, stream()), "clearing tickets");
}

LinearWeight FastBackend::prepare(const LinearWeight& weight) {
  steps_.forget();
  return prepare_as(weight, WeightLayout::tiles);
}

PreparedSize FastBackend::prepared_size(const WeightForm& form) const {
  return DeviceWeight::size_of(form, WeightLayout::tiles);
}

int64_t FastBackend::kv_bytes(int64_t heads, int64_t head_dim, int64_t capacity) const {
  return 2 * heads * capacity * bf16_stride(head_dim) * kBf16Bytes;
}

int64_t FastBackend::attention_bytes(int64_t, int64_t) const { return kFastWorkspaceBytes; }

KvLayer FastBackend::make_kv(std::shared_ptr<Storage> storage, int64_t heads, int64_t head_dim,
                             int64_t capacity) {
  return make_kv_of(std::move(storage), {2, heads, capacity, bf16_stride(head_dim)}, DType::bf16,
                    head_dim);
}

Product FastBackend::choose(int64_t rows, Weights weights) const {
  const auto of = [&](const LinearWeight& weight) {
    const FastMatrix matrix = DeviceWeight::of(weight).fast();
    return choose_product({.rows = rows,
                           .float32 = matrix.rows.format == WeightFormat::f32,
                           .tiled = matrix.tiled,
                           .readable = fast_few_rows_apply(matrix, card_),
                           .matrices = cublas_ != nullptr});
  };
  const Product first = of(*weights.front());
  const WeightFormat format = DeviceWeight::of(*weights.front()).fast().rows.format;
  for (const LinearWeight* weight : weights) {
    const bool same = DeviceWeight::of(*weight).fast().rows.format == format;
    if (of(*weight) != first || (first == Product::few_rows && !same)) return Product::exact;
  }
  return first;
}

void FastBackend::few_rows(const Input& input, Weights weights, std::span<const Tensor> outs,
                           Epilogue epilogue) {
  FewRowsArgs args{};
  args.norm = input.norm.empty() ? nullptr : floats(input.norm);
  args.eps = input.eps;
  args.in = static_cast<int32_t>(input.x.dim(1));
  args.epilogue = epilogue;
  args.partial = reinterpret_cast<float*>(workspace().data());
  args.tickets = reinterpret_cast<uint32_t*>(tickets_->data());
  for (size_t first = 0; first < weights.size(); first += kMostOutputs) {
    const Weights some =
        weights.subspan(first, std::min<size_t>(kMostOutputs, weights.size() - first));
    args.count = static_cast<int32_t>(some.size());
    for (int64_t row = 0; row < input.x.dim(0); row += kFewRowsAtATime) {
      args.rows = static_cast<int32_t>(std::min(kFewRowsAtATime, input.x.dim(0) - row));
      args.x = floats(input.x) + row * args.in;
      for (size_t i = 0; i < some.size(); ++i) {
        // Of gated weights there is one output.
        const Tensor& out = outs[std::min(first + i, outs.size() - 1)];
        args.outputs[i] = {.weight = DeviceWeight::of(*some[i]).fast(),
                           .bias = bias_of(*some[i]),
                           .out = floats(out) + row * some[i]->out_features};
      }
      fast_few_rows(args, card_, stream());
      launched("multiplying by a weight");
    }
  }
}

void FastBackend::matrices(const Input& input, Weights weights, std::span<const Tensor> outs,
                           bool add) {
  steps_.refuse();  // cuBLAS chooses when it is asked
  const int64_t in = input.x.dim(1);
  const int64_t stride = bf16_stride(in);
  const int64_t all = input.x.dim(0);
  const int64_t step = rows_at_a_time(all, stride * kBf16Bytes, kMostRoundedBytes, 1);
  void* rounded = rounded_.at_least(step * stride * kBf16Bytes);
  for (int64_t row = 0; row < all; row += step) {
    const int64_t rows = std::min(step, all - row);
    round_to_bf16({.x = floats(input.x) + row * in,
                   .norm = input.norm.empty() ? nullptr : floats(input.norm),
                   .norm_bias = input.norm_bias.empty() ? nullptr : floats(input.norm_bias),
                   .gelu = input.gelu,
                   .eps = input.eps,
                   .rows = rows,
                   .n = in,
                   .stride = stride,
                   .out = rounded},
                  stream());
    launched("rounding");
    for (size_t i = 0; i < weights.size(); ++i) {
      const int64_t outs_of = weights[i]->out_features;
      multiply({.rows = rows,
                .outs = outs_of,
                .in = in,
                .x = rounded,
                .x_stride = stride,
                .weight = nullptr,
                .weight_stride = stride,
                .bias = bias_of(*weights[i]),
                .add = add,
                .out = outs[i].raw() + row * outs_of * byte_size(outs[i].dtype()),
                .out_stride = outs_of,
                .half = outs[i].dtype() == DType::bf16},
               *weights[i]);
    }
  }
}

// A bf16 weight is multiplied where it lies, integers some rows at a time.
void FastBackend::multiply(const CublasLibrary::Product& product, const LinearWeight& weight) {
  const FastMatrix matrix = DeviceWeight::of(weight).fast();
  CublasLibrary::Product part = product;
  if (matrix.rows.format == WeightFormat::bf16) {
    part.weight = matrix.rows.values;
    return cublas_->multiply(part, stream());
  }
  const int64_t row_bytes = product.weight_stride * kBf16Bytes;
  const int64_t step = rows_at_a_time(product.outs, row_bytes, kMostUnpackedBytes, kTileRows);
  void* unpacked = unpacked_.at_least(step * row_bytes);
  for (int64_t first = 0; first < product.outs; first += step) {
    part.outs = std::min(step, product.outs - first);
    unpack_to_bf16(matrix, first, part.outs, product.weight_stride, unpacked, stream());
    launched("unpacking a weight");
    part.weight = unpacked;
    part.bias = product.bias == nullptr ? nullptr : product.bias + first;
    part.out = static_cast<std::byte*>(product.out) +
               first * byte_size(product.half ? DType::bf16 : DType::f32);
    cublas_->multiply(part, stream());
  }
}

Tensor FastBackend::temporary(const Shape& shape) {
  const int64_t bytes = shape.numel() * byte_size(DType::f32);
  if (temporary_ == nullptr || temporary_->bytes() < bytes) {
    temporary_.reset();
    temporary_ = allocate_on(index(), bytes);
  }
  return Tensor(temporary_, 0, DType::f32, shape);
}

void FastBackend::linear(const Tensor& x, const LinearWeight& weight, const Tensor& out) {
  if (out.numel() == 0) return;
  const std::array weights{&weight};
  const std::array outs{out};
  switch (choose(x.dim(0), weights)) {
    case Product::few_rows:
      return few_rows({.x = x, .norm = {}}, weights, outs, Epilogue::store);
    case Product::matrix:
      return matrices({.x = x, .norm = {}}, weights, outs, false);
    case Product::exact:
      if (!multiply_float32(x, weight, out)) CudaBackend::linear(x, weight, out);
      return;
  }
}

void FastBackend::append_kv(const Tensor& keys, const Tensor& values, KvLayer& kv) {
  if (keys.numel() == 0) return;
  AppendArgs args{};
  args.from.key = floats(keys);
  args.from.value = floats(values);
  args.kv_heads = static_cast<int32_t>(kv.heads);
  args.head_dim = static_cast<int32_t>(kv.head_dim);
  args.count = 1;
  args.slices[0] = view(KvSlice{.begin = 0, .count = keys.dim(0), .kv = &kv}, kv.length);
  append_fast(args, stream());
  launched("filling a cache");
  kv.length += keys.dim(0);
}

void FastBackend::attention(const AttentionArgs& args, const Tensor& out) {
  if (out.numel() == 0) return;
  KvLayer kv = *args.kv;
  const std::array slices{KvSlice{.begin = 0, .count = args.query.dim(0), .kv = &kv}};
  FastAttention launch = attention_of(args.query, args.scale, args.causal, out);
  launch_attention(launch, slices, std::array{args.first_position});
}

FastAttention FastBackend::attention_of(const Tensor& query, float scale, bool causal,
                                        const Tensor& out) const {
  FastAttention args{};
  args.query = floats(query);
  args.out = floats(out);
  args.heads = static_cast<int32_t>(query.dim(1));
  args.head_dim = static_cast<int32_t>(query.dim(2));
  args.scale = scale;
  args.causal = causal;
  args.partial = reinterpret_cast<float*>(workspace().data());
  args.partial_floats = workspace().bytes() / byte_size(DType::f32);
  args.tickets = reinterpret_cast<uint32_t*>(tickets_->data());
  return args;
}

void FastBackend::launch_attention(FastAttention& args, std::span<const KvSlice> slices,
                                   std::span<const int64_t> positions) {
  args.count = 0;
  const auto decode = [&](size_t end) {
    if (args.count == 0) return;
    const auto count = static_cast<size_t>(args.count);
    args.recorded = steps_.find(slices.subspan(end - count, count));
    attend_decode(args, card_.multiprocessors, stream());
    launched("attending");
    args.count = 0;
  };
  for (size_t i = 0; i < slices.size(); ++i) {
    args.kv_heads = static_cast<int32_t>(slices[i].kv->heads);
    if (slices[i].count <= kMostDecodeTokens) {
      args.slices[args.count++] = view(slices[i], positions[i]);
      if (args.count == kMostSlices) decode(i + 1);
      continue;
    }
    decode(i);
    steps_.refuse();
    args.slices[0] = view(slices[i], positions[i]);
    args.count = 1;
    if (hopper_attention_applies(slices[i].count, args.head_dim, card_)) {
      attend_prefill_hopper(args, stream());
    } else {
      attend_prefill(args, prefill_tiles(slices[i].count, args.heads, args.head_dim, card_),
                     stream());
    }
    launched("attending");
    args.count = 0;
  }
  decode(slices.size());
}

void FastBackend::repeat(const RepeatedStep& step, const std::function<void()>& body) {
  const void* temporary = temporary_ == nullptr ? nullptr : temporary_->data();
  steps_.repeat(step, std::array{rounded_.now(), unpacked_.now(), temporary}, stream(), body);
}

}  // namespace squint::cuda
