#include "io/compressed_tensors.h"

#include <fmt/format.h>

#include <array>
#include <span>
#include <utility>

#include "base/checked_math.h"
#include "squint/error.h"

namespace squint::io {
namespace {

// A layer that no model reaches, so that products of its sizes stay far from overflow.
constexpr int64_t kMaxFeatures = int64_t{1} << 31;

std::string packed_name(const std::string& module) { return module + ".weight_packed"; }
std::string scale_name(const std::string& module) { return module + ".weight_scale"; }
std::string shape_name(const std::string& module) { return module + ".weight_shape"; }
std::string zero_point_name(const std::string& module) { return module + ".weight_zero_point"; }
std::string column_order_name(const std::string& module) { return module + ".weight_g_idx"; }

[[noreturn]] void contradiction(const Checkpoint& checkpoint, const std::string& what) {
  throw Error(ErrorCode::bad_input, fmt::format("{}: {}", checkpoint.folder().string(), what));
}

Tensor get_checked(const Checkpoint& checkpoint, const std::string& name, DType dtype,
                   const Shape& shape) {
  Tensor tensor = checkpoint.get(name);
  if (tensor.dtype() != dtype || tensor.shape() != shape) {
    contradiction(
        checkpoint,
        fmt::format("tensor \"{}\" should be {} {}, but is {} {}", name, squint::name(dtype),
                    shape.to_string(), squint::name(tensor.dtype()), tensor.shape().to_string()));
  }
  return tensor;
}

// Rows and columns as the layer states them: those of the packed words are rounded up.
std::pair<int64_t, int64_t> stated_shape(const Checkpoint& checkpoint, const std::string& module) {
  const Tensor shape = get_checked(checkpoint, shape_name(module), DType::i64, {2});
  const std::span<const int64_t> sizes = shape.span<const int64_t>();
  for (const int64_t size : sizes) {
    if (size <= 0 || size > kMaxFeatures) {
      contradiction(checkpoint, fmt::format("tensor \"{}\" says [{}, {}]; expected positive sizes",
                                            shape_name(module), sizes[0], sizes[1]));
    }
  }
  return {sizes[0], sizes[1]};
}

QuantizationScheme scheme_of(const Checkpoint& checkpoint, const std::string& module,
                             const QuantizationConfig& config) {
  const QuantizationGroup* group = config.group_of(module);
  if (config.ignores(module) || group == nullptr) {
    contradiction(checkpoint,
                  fmt::format("tensor \"{}\" exists, but {} says that the layer is not quantized; "
                              "files of different checkpoints in one folder?",
                              packed_name(module), kConfigFileName));
  }
  return group->scheme;
}

void check_zero_point_presence(const Checkpoint& checkpoint, const std::string& module,
                               bool symmetric) {
  const bool present = checkpoint.find(zero_point_name(module)) != nullptr;
  if (present == !symmetric) return;
  contradiction(checkpoint, fmt::format("tensor \"{}\" {}, but {} says \"symmetric\": {}",
                                        zero_point_name(module), present ? "exists" : "is missing",
                                        kConfigFileName, symmetric));
}

}  // namespace

std::optional<PackedLinear> find_packed_linear(const Checkpoint& checkpoint,
                                               const std::string& module,
                                               const QuantizationConfig& config) {
  if (checkpoint.find(packed_name(module)) == nullptr) return std::nullopt;
  const QuantizationScheme scheme = scheme_of(checkpoint, module, config);
  if (checkpoint.find(column_order_name(module)) != nullptr) {
    throw Error(ErrorCode::unsupported,
                fmt::format("{}: tensor \"{}\": weights stored in another order of columns are not "
                            "supported",
                            checkpoint.folder().string(), column_order_name(module)));
  }
  const auto [rows, cols] = stated_shape(checkpoint, module);
  if (!scheme.divides(cols)) {
    contradiction(checkpoint, fmt::format("\"{}\" has {} columns, which groups of {} do not divide",
                                          module, cols, scheme.group_size));
  }
  check_zero_point_presence(checkpoint, module, scheme.symmetric);
  const Tensor scale = checkpoint.get(scale_name(module));
  if (scale.dtype() == DType::f16 || scale.dtype() == DType::f32) {
    throw Error(
        ErrorCode::unsupported,
        fmt::format("{}: tensor \"{}\" is {}; scales are supported in BF16",
                    checkpoint.folder().string(), scale_name(module), squint::name(scale.dtype())));
  }
  const int64_t per_word = codes_per_word(scheme.bits);
  const int64_t groups = scheme.groups(cols);
  PackedLinear linear{
      .rows = rows,
      .cols = cols,
      .group_size = scheme.group_columns(cols),
      .bits = scheme.bits,
      .packed = get_checked(checkpoint, packed_name(module), DType::i32,
                            {rows, ceil_div(cols, per_word)}),
      .scale = get_checked(checkpoint, scale_name(module), DType::bf16, {rows, groups}),
      .zero_point = {}};
  if (!scheme.symmetric) {
    linear.zero_point = get_checked(checkpoint, zero_point_name(module), DType::i32,
                                    {ceil_div(rows, per_word), groups});
  }
  return linear;
}

void append_packed_linear(std::vector<NamedTensor>& out, const std::string& module,
                          const PackedLinear& linear) {
  const std::array<int64_t, 2> shape = {linear.rows, linear.cols};
  out.push_back({packed_name(module), linear.packed});
  out.push_back({scale_name(module), linear.scale});
  out.push_back({shape_name(module), Tensor::copy_of<int64_t>(shape, {2})});
  if (!linear.symmetric()) out.push_back({zero_point_name(module), linear.zero_point});
}

}  // namespace squint::io
