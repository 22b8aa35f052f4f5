#include "io/packed_layers.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <nlohmann/json.hpp>

#include "base/checked_math.h"
#include "squint/error.h"

namespace squint::io {
namespace {

constexpr const char* kKey = "quantization_config";

// Names of a layer's tensors, after the module's.
struct Suffixes {
  const char* weights;
  const char* zeros;
  const char* scales;
  const char* column_groups;
  const char* shape;  // nullptr: the format stores none
};

const Suffixes& suffixes(PackedFormat format) {
  static constexpr Suffixes kCompressed{".weight_packed", ".weight_zero_point", ".weight_scale",
                                        ".weight_g_idx", ".weight_shape"};
  static constexpr Suffixes kOthers{".qweight", ".qzeros", ".scales", ".g_idx", nullptr};
  return format == PackedFormat::compressed_tensors ? kCompressed : kOthers;
}

[[noreturn]] void refuse(std::string_view where, const std::string& what) {
  throw Error(
      ErrorCode::unsupported,
      fmt::format("{}: {}; squint reads compressed-tensors (pack-quantized), AutoAWQ (gemm) "
                  "and GPTQ, in 4 or 8 bits",
                  where, what));
}

// The engine refuses columns in another order; here they are only a matter of reading.
Json with_column_orders_allowed(Json config) {
  const auto it = config[kKey].find("config_groups");
  if (it == config[kKey].end() || !it->is_object()) return config;
  for (Json& group : *it) {
    if (!group.is_object() || !group.contains("weights")) continue;
    Json& weights = group["weights"];
    if (weights.is_object() && weights.value("actorder", Json()) == "group") {
      weights["actorder"] = "static";
    }
  }
  return config;
}

int position(CodeOrder order, int64_t index, int64_t per_word) {
  switch (order) {
    case CodeOrder::sequential:
      return static_cast<int>(index);
    case CodeOrder::interleaved:
      return static_cast<int>(index / 2 + index % 2 * (per_word / 2));
    case CodeOrder::reversed:
      return static_cast<int>(per_word - 1 - index);
  }
  return 0;
}

// A matrix of scales with a row for each row of the weight.
std::vector<float> by_row(const Tensor& scales, bool transposed) {
  const Tensor values = to_f32(scales);
  const std::span<const float> from = values.span<const float>();
  std::vector<float> out(from.begin(), from.end());
  if (!transposed) return out;
  const auto groups = static_cast<size_t>(scales.dim(0));
  const auto rows = static_cast<size_t>(scales.dim(1));
  for (size_t i = 0; i < from.size(); ++i) out[i % rows * groups + i / rows] = from[i];
  return out;
}

}  // namespace

std::string_view name(CodeOrder order) {
  switch (order) {
    case CodeOrder::sequential:
      return "in sequence";
    case CodeOrder::interleaved:
      return "interleaved";
    case CodeOrder::reversed:
      return "reversed";
  }
  return "";
}

int PackedMatrix::code(int64_t r, int64_t c, CodeOrder order) const {
  const int64_t per_word = 32 / bits;
  const int64_t packed = along_rows ? r : c;
  const int64_t at = along_rows ? r / per_word * row_stride + c * col_stride
                                : r * row_stride + c / per_word * col_stride;
  const auto word = static_cast<uint32_t>(reinterpret_cast<const int32_t*>(words.raw())[at]);
  const int shift = bits * position(order, packed % per_word, per_word);
  return static_cast<int>(word >> shift & ((1u << bits) - 1));
}

std::vector<int> PackedLayer::zero_points(const PackedReading& reading, int64_t begin,
                                          int64_t count) const {
  std::vector<int> out(static_cast<size_t>(count * groups), 1 << (bits - 1));
  const int mask = (1 << bits) - 1;
  for (size_t i = 0; i < out.size(); ++i) {
    const auto at = static_cast<int64_t>(i);
    if (zeros) out[i] = zeros->code(begin + at / groups, at % groups, reading.zero_points);
    out[i] = (out[i] + reading.zero_shift) & mask;
  }
  return out;
}

void PackedLayer::dequantize(const PackedReading& reading, int64_t begin, int64_t count,
                             std::span<float> out) const {
  const std::vector<int> zero = zero_points(reading, begin, count);
  for (int64_t r = 0; r < count; ++r) {
    const float* scale = scales.data() + (begin + r) * groups;
    const int* zero_of_row = zero.data() + r * groups;
    for (int64_t c = 0; c < cols; ++c) {
      const int32_t group = group_of_column[static_cast<size_t>(c)];
      const int code = weights.code(begin + r, c, reading.weights) - zero_of_row[group];
      out[static_cast<size_t>(r * cols + c)] = static_cast<float>(code) * scale[group];
    }
  }
}

namespace {

std::string text_or(const Json& config, const char* key, const char* absent,
                    std::string_view where) {
  const auto it = config.find(key);
  return it == config.end() || it->is_null() ? absent : string_member(config, key, where);
}

void parse_gptq(const Json& config, std::string_view where, Packing& out) {
  const std::string version = text_or(config, "checkpoint_format", "gptq", where);
  if (version != "gptq" && version != "gptq_v2") {
    refuse(where, fmt::format("the checkpoint_format is {}", version));
  }
  out.reading.zero_shift = version == "gptq" ? 1 : 0;
  out.scheme.symmetric = bool_member(config, "sym", where);
}

void parse_autoawq(const Json& config, std::string_view where, Packing& out) {
  const std::string version = text_or(config, "version", "gemm", where);
  if (version != "gemm" && version != "GEMM") {
    refuse(where, fmt::format("the version is {}", version));
  }
  out.reading = {.weights = CodeOrder::interleaved, .zero_points = CodeOrder::interleaved};
  out.scheme.symmetric = false;
  const auto skipped = config.find("modules_to_not_convert");
  if (skipped == config.end() || !skipped->is_array()) return;
  for (const Json& part : *skipped) {
    if (part.is_string()) out.not_packed.push_back(part.get<std::string>());
  }
}

QuantizationScheme parse_foreign_scheme(const Json& config, std::string_view where) {
  const int64_t bits = int_member(config, "bits", where);
  if (bits != 4 && bits != 8) refuse(where, fmt::format("weights have {} bits", bits));
  const int64_t group_size = int_member(config, "group_size", where);
  if (group_size == 0 || group_size < -1) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: \"group_size\" should be positive, or -1 for a scale per row, but "
                            "is {}",
                            where, group_size));
  }
  return {.bits = static_cast<int>(bits), .group_size = std::max<int64_t>(group_size, 0)};
}

}  // namespace

Packing parse_packing(const Json& config, std::string_view where) {
  const auto it = config.is_object() ? config.find(kKey) : config.end();
  if (it == config.end() || it->is_null()) {
    throw Error(ErrorCode::bad_input,
                fmt::format("{}: there is no \"{}\"; is this the original model?", where, kKey));
  }
  const std::string here = fmt::format("{}: {}", where, kKey);
  const std::string method = string_member(*it, "quant_method", here);
  Packing out;
  if (method == "compressed-tensors") {
    out.config = *find_quantization_config(with_column_orders_allowed(config), where);
    out.scheme = out.config.groups.front().scheme;
    return out;
  }
  if (method != "awq" && method != "gptq") refuse(here, fmt::format("the method is {}", method));
  out.format = method == "awq" ? PackedFormat::autoawq : PackedFormat::gptq;
  out.scheme = parse_foreign_scheme(*it, here);
  method == "awq" ? parse_autoawq(*it, here, out) : parse_gptq(*it, here, out);
  return out;
}

std::string Packing::description() const {
  static constexpr std::array kNames = {"compressed-tensors", "AutoAWQ", "GPTQ"};
  const std::string groups =
      scheme.group_size == 0 ? "a scale per row" : fmt::format("groups of {}", scheme.group_size);
  return fmt::format("{}, W{}A16, {}, {}", kNames.at(static_cast<size_t>(format)), scheme.bits,
                     groups, scheme.symmetric ? "symmetric" : "asymmetric");
}

std::optional<bool> Packing::expects(const std::string& module) const {
  switch (format) {
    case PackedFormat::compressed_tensors:
      return !config.ignores(module) && config.group_of(module) != nullptr;
    case PackedFormat::autoawq:
      return module != "lm_head" && std::ranges::none_of(not_packed, [&](const std::string& part) {
               return module.find(part) != std::string::npos;
             });
    case PackedFormat::gptq:
      break;
  }
  return std::nullopt;
}

PackedLayers::PackedLayers(const Checkpoint& checkpoint)
    : checkpoint_(checkpoint),
      packing_(
          parse_packing(checkpoint.config(), (checkpoint.folder() / kConfigFileName).string())) {}

std::vector<std::string> PackedLayers::modules() const {
  const std::string_view suffix = suffixes(packing_.format).weights;
  std::vector<std::string> out;
  for (const std::string& name : checkpoint_.names()) {
    if (name.ends_with(suffix)) out.push_back(name.substr(0, name.size() - suffix.size()));
  }
  return out;
}

std::vector<std::string> PackedLayers::tensor_names(const std::string& module) const {
  const Suffixes& s = suffixes(packing_.format);
  std::vector<std::string> out;
  for (const char* suffix : {s.weights, s.zeros, s.scales, s.column_groups, s.shape}) {
    if (suffix != nullptr && checkpoint_.find(module + suffix) != nullptr) {
      out.push_back(module + suffix);
    }
  }
  return out;
}

QuantizationScheme PackedLayers::scheme_of(const std::string& module) const {
  if (packing_.format != PackedFormat::compressed_tensors) return packing_.scheme;
  if (packing_.expects(module).value_or(false)) return packing_.config.group_of(module)->scheme;
  throw Error(ErrorCode::bad_input,
              fmt::format("is packed, but {} says that it is not quantized", kConfigFileName));
}

Tensor PackedLayers::tensor(const std::string& name, std::optional<DType> dtype,
                            const Shape& shape) const {
  const Tensor* found = checkpoint_.find(name);
  if (found == nullptr) {
    throw Error(ErrorCode::bad_input, fmt::format("tensor \"{}\" is missing", name));
  }
  const DType type = found->dtype();
  const bool fits =
      dtype ? type == *dtype : type == DType::f16 || type == DType::bf16 || type == DType::f32;
  if (!fits || !(found->shape() == shape)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("tensor \"{}\" should be {} {}, but is {} {}", name,
                            dtype ? squint::name(*dtype) : "floating point", shape.to_string(),
                            squint::name(type), found->shape().to_string()));
  }
  return *found;
}

std::vector<int32_t> PackedLayers::column_groups(const std::string& name,
                                                 const PackedLayer& layer) const {
  const int64_t size = layer.cols / layer.groups;
  std::vector<int32_t> out(static_cast<size_t>(layer.cols));
  for (size_t c = 0; c < out.size(); ++c)
    out[c] = static_cast<int32_t>(c) / static_cast<int32_t>(size);
  if (packing_.format == PackedFormat::autoawq || checkpoint_.find(name) == nullptr) return out;
  const Tensor stored = tensor(name, DType::i32, {layer.cols});
  std::vector<int64_t> members(static_cast<size_t>(layer.groups));
  for (size_t c = 0; c < out.size(); ++c) {
    const int32_t group = stored.span<const int32_t>()[c];
    if (group < 0 || group >= layer.groups) {
      throw Error(ErrorCode::bad_input,
                  fmt::format("tensor \"{}\" puts column {} into group {} of {}", name, c, group,
                              layer.groups));
    }
    out[c] = group;
    ++members[static_cast<size_t>(group)];
  }
  for (size_t g = 0; g < members.size(); ++g) {
    if (members[g] == size) continue;
    throw Error(ErrorCode::bad_input, fmt::format("tensor \"{}\" gives group {} {} columns, not {}",
                                                  name, g, members[g], size));
  }
  return out;
}

void PackedLayers::expect_stated_shape(const std::string& module, int64_t rows,
                                       int64_t cols) const {
  const char* suffix = suffixes(packing_.format).shape;
  if (suffix == nullptr) return;
  const Tensor shape = tensor(module + suffix, DType::i64, {2});
  const std::span<const int64_t> stated = shape.span<const int64_t>();
  if (stated[0] == rows && stated[1] == cols) return;
  throw Error(ErrorCode::bad_input,
              fmt::format("tensor \"{}\" says [{}, {}], the base model has [{}, {}]",
                          module + suffix, stated[0], stated[1], rows, cols));
}

PackedMatrix PackedLayers::weights_of(const std::string& module, const PackedLayer& layer) const {
  const int64_t per_word = 32 / layer.bits;
  const bool compressed = packing_.format == PackedFormat::compressed_tensors;
  const bool by_rows = packing_.format == PackedFormat::autoawq;
  Shape words{layer.cols / per_word, layer.rows};
  if (compressed) words = {layer.rows, ceil_div(layer.cols, per_word)};
  if (by_rows) words = {layer.cols, layer.rows / per_word};
  return {.words = tensor(module + suffixes(packing_.format).weights, DType::i32, words),
          .bits = layer.bits,
          .along_rows = by_rows,
          .row_stride = compressed ? words[1] : 1,
          .col_stride = compressed ? 1 : words[1]};
}

std::optional<PackedMatrix> PackedLayers::zeros_of(const std::string& module,
                                                   const PackedLayer& layer, bool symmetric) const {
  const bool compressed = packing_.format == PackedFormat::compressed_tensors;
  const std::string name = module + suffixes(packing_.format).zeros;
  if (compressed && symmetric) {
    if (checkpoint_.find(name) == nullptr) return std::nullopt;
    throw Error(
        ErrorCode::bad_input,
        fmt::format("tensor \"{}\" exists, but {} says \"symmetric\": true; vLLM refuses it", name,
                    kConfigFileName));
  }
  const int64_t words = ceil_div(layer.rows, 32 / layer.bits);
  return PackedMatrix{
      .words = tensor(name, DType::i32,
                      compressed ? Shape{words, layer.groups} : Shape{layer.groups, words}),
      .bits = layer.bits,
      .along_rows = true,
      .row_stride = compressed ? layer.groups : 1,
      .col_stride = compressed ? 1 : words};
}

PackedLayer PackedLayers::get(const std::string& module, int64_t rows, int64_t cols) const {
  const bool compressed = packing_.format == PackedFormat::compressed_tensors;
  const QuantizationScheme scheme = scheme_of(module);
  const int64_t per_word = 32 / scheme.bits;
  const bool whole_words = rows % per_word == 0 && cols % per_word == 0;
  if (rows <= 0 || cols <= 0 || cols > INT32_MAX || !scheme.divides(cols) ||
      !(compressed || whole_words)) {
    throw Error(ErrorCode::bad_input,
                fmt::format("a layer of [{}, {}] cannot be stored {} to a word in groups of {}",
                            rows, cols, per_word, scheme.group_size));
  }
  expect_stated_shape(module, rows, cols);
  PackedLayer out{.rows = rows, .cols = cols, .groups = scheme.groups(cols), .bits = scheme.bits};
  out.weights = weights_of(module, out);
  out.zeros = zeros_of(module, out, scheme.symmetric);
  const Tensor scales = tensor(module + suffixes(packing_.format).scales, std::nullopt,
                               compressed ? Shape{rows, out.groups} : Shape{out.groups, rows});
  out.scale_dtype = scales.dtype();
  out.scales = by_row(scales, !compressed);
  out.group_of_column = column_groups(module + suffixes(packing_.format).column_groups, out);
  for (const std::string& name : tensor_names(module)) {
    out.stored_bytes += checkpoint_.get(name).bytes();
  }
  return out;
}

}  // namespace squint::io
