#include "quantize/vocabulary.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <memory>
#include <span>

#include "core/packed_int.h"
#include "models/qwen3_vl/model.h"
#include "ops/ops.h"
#include "squint/error.h"

namespace squint::quantize {
namespace {

constexpr int kTableBits = 8;
constexpr int64_t kRowsAtOnce = 4096;
constexpr const char* kHeadTarget = "re:.*lm_head$";
constexpr const char* kEmbeddingTarget = "re:.*embed_tokens$";

// Rounds a table from its first row to its last, as often as it is asked to.
class TableRounder {
 public:
  TableRounder(Context& cx, Tensor table, const QuantizationScheme& scheme)
      : cx_(cx),
        table_(std::move(table)),
        scheme_(scheme),
        scales_(Tensor::on_host(DType::bf16, {table_.dim(0), scheme.groups(table_.dim(1))})) {}

  void write_codes(const io::StreamedTensor::Sink& sink) {
    for (int64_t row = 0; row < table_.dim(0); row += kRowsAtOnce) {
      const int64_t count = std::min(kRowsAtOnce, table_.dim(0) - row);
      const QuantizedWeight rounded = QuantizedWeight::on_host(count, table_.dim(1), scheme_);
      ops::quantize_weight(cx_, table_.rows(row, count), scheme_, Observer::minmax, rounded);
      std::ranges::copy(rounded.scales.span<const bf16>(),
                        scales_.rows(row, count).span<bf16>().begin());
      const Tensor words = pack_weight(rounded.codes, scheme_.bits);
      sink(std::as_bytes(words.span<const int32_t>()));
    }
    rounded_ = true;
  }
  // Usually after the codes, which a shard holds first.
  void write_scales(const io::StreamedTensor::Sink& sink) {
    if (!rounded_) write_codes([](std::span<const std::byte>) {});
    sink(std::as_bytes(scales_.span<const bf16>()));
  }

 private:
  Context& cx_;
  Tensor table_;  // mapped
  QuantizationScheme scheme_;
  Tensor scales_;
  bool rounded_ = false;
};

}  // namespace

std::vector<std::string> packed_tables(const QuantizeOptions& options) {
  std::vector<std::string> modules;
  if (options.head_bits == kTableBits) modules.emplace_back(qwen3_vl::kHead);
  if (options.embedding_bits == kTableBits) modules.emplace_back(qwen3_vl::kEmbedding);
  return modules;
}

QuantizationScheme table_scheme(const QuantizeOptions& options) {
  return {.bits = kTableBits, .group_size = options.group_size, .symmetric = true};
}

io::QuantizationGroup table_group(const QuantizeOptions& options) {
  io::QuantizationGroup group{.scheme = table_scheme(options), .targets = {}};
  if (options.head_bits == kTableBits) group.targets.emplace_back(kHeadTarget);
  if (options.embedding_bits == kTableBits) group.targets.emplace_back(kEmbeddingTarget);
  return group;
}

std::optional<std::string> table_named(const std::string& target) {
  const io::ModulePattern pattern(target);
  if (pattern.kind() == io::ModulePattern::Kind::class_name ||
      pattern.matches(qwen3_vl::module_name(0, qwen3_vl::LinearRole::q))) {
    return std::nullopt;
  }
  const bool head = pattern.matches(qwen3_vl::kHead);
  const bool embedding = pattern.matches(qwen3_vl::kEmbedding);
  if (head == embedding) return std::nullopt;
  return head ? qwen3_vl::kHead : qwen3_vl::kEmbedding;
}

void check_tables(const QuantizeOptions& options, const qwen3_vl::Config& config,
                  const qwen3_vl::Weights& weights) {
  for (const auto& [what, bits] :
       {std::pair{"head", options.head_bits}, std::pair{"embedding", options.embedding_bits}}) {
    if (bits == 16 || bits == kTableBits) continue;
    throw Error(ErrorCode::usage,
                fmt::format("{}: expected 8 bits, or 16: left in BF16, found {}", what, bits));
  }
  const std::vector<std::string> modules = packed_tables(options);
  if (modules.empty()) return;
  const std::string folder = weights.checkpoint().folder().string();
  if (config.tied_head) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: {} cannot be packed: embedding and head are one matrix "
                            "(tie_word_embeddings), and loaders do not read a packed one as both",
                            folder, modules.front()));
  }
  if (!table_scheme(options).divides(config.text.hidden)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: groups of {} do not divide the {} columns of {}; choose another "
                            "group size",
                            folder, options.group_size, config.text.hidden, modules.front()));
  }
  for (const std::string& module : modules) {
    const Tensor table =
        weights.expected(module + ".weight", {config.text.vocab, config.text.hidden});
    if (table.dtype() == DType::bf16) continue;
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: \"{}.weight\" is {}; weights to be quantized must be BF16", folder,
                            module, squint::name(table.dtype())));
  }
}

std::vector<io::StreamedTensor> packed_table(Context& cx, const qwen3_vl::Weights& weights,
                                             const std::string& module,
                                             const QuantizationScheme& scheme) {
  const Tensor table = weights.checkpoint().get(module + ".weight");
  const int64_t rows = table.dim(0);
  const int64_t cols = table.dim(1);
  const auto rounder = std::make_shared<TableRounder>(cx, table, scheme);
  const std::array<int64_t, 2> shape = {rows, cols};
  std::vector<io::StreamedTensor> out;
  out.push_back({.name = module + ".weight_packed",
                 .dtype = DType::i32,
                 .shape = {rows, cols / codes_per_word(scheme.bits)},
                 .produce = [rounder](const auto& sink) { rounder->write_codes(sink); }});
  out.push_back({.name = module + ".weight_scale",
                 .dtype = DType::bf16,
                 .shape = {rows, scheme.groups(cols)},
                 .produce = [rounder](const auto& sink) { rounder->write_scales(sink); }});
  out.push_back(io::streamed({module + ".weight_shape", Tensor::copy_of<int64_t>(shape, {2})}));
  return out;
}

}  // namespace squint::quantize
