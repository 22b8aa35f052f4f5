// packed_layers.h: the quantized linear layers of a checkpoint, as compressed-tensors
// (pack-quantized), AutoAWQ (gemm) or GPTQ stores them, in one form (spec awq-w4a16.md §4.1, §4.7,
// §4.8). For looking at files of any writer; what the engine runs is in compressed_tensors.h.
//
//     format              words hold             zero points hold         scales
//     compressed-tensors  columns, [out, in/n]   rows, [out/n, groups]    [out, groups]
//     AutoAWQ             rows,    [in, out/n]   rows, [groups, out/n]    [groups, out]
//     GPTQ                columns, [in/n, out]   rows, [groups, out/n]    [groups, out]
//
// n = 32 / bits. AutoAWQ interleaves the codes of a word; GPTQ's first version stores zero points
// less one.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "io/checkpoint.h"
#include "io/quantization_config.h"

namespace squint::io {

enum class PackedFormat : uint8_t { compressed_tensors, autoawq, gptq };

// Where in a word the codes 0, 1, .. stand, in 4 bits: 0 1 2 3 4 5 6 7, 0 4 1 5 2 6 3 7, or
// 7 6 5 4 3 2 1 0.
enum class CodeOrder : uint8_t { sequential, interleaved, reversed };
std::string_view name(CodeOrder order);

// How a layer's words are read. A format says one way; files with mistakes are right in another.
struct PackedReading {
  CodeOrder weights = CodeOrder::sequential;
  CodeOrder zero_points = CodeOrder::sequential;
  int zero_shift = 0;  // added to stored zero points, modulo 2^bits
  friend bool operator==(const PackedReading&, const PackedReading&) = default;
};

// A matrix of codes in words: the word of (r, c) is r' * row_stride + c' * col_stride, where one of
// r' and c' counts words and the other is the index itself.
struct PackedMatrix {
  Tensor words;  // i32
  int bits = 4;
  bool along_rows = false;  // neighbours in a word are rows
  int64_t row_stride = 1;
  int64_t col_stride = 1;

  int code(int64_t r, int64_t c, CodeOrder order) const;
};

struct PackedLayer {
  int64_t rows = 0;
  int64_t cols = 0;
  int64_t groups = 0;
  int bits = 4;
  PackedMatrix weights;               // [rows, cols]
  std::optional<PackedMatrix> zeros;  // [rows, groups]; absent: 2^(bits-1)
  DType scale_dtype = DType::bf16;
  std::vector<float> scales;             // [rows, groups]
  std::vector<int32_t> group_of_column;  // [cols]
  int64_t stored_bytes = 0;              // of all its tensors

  // Zero points [rows, groups] of rows [begin, begin + count).
  std::vector<int> zero_points(const PackedReading& reading, int64_t begin, int64_t count) const;
  // Weights of rows [begin, begin + count) into out [count, cols].
  void dequantize(const PackedReading& reading, int64_t begin, int64_t count,
                  std::span<float> out) const;
};

// What config.json says of a checkpoint's packed layers.
struct Packing {
  PackedFormat format = PackedFormat::compressed_tensors;
  PackedReading reading;
  QuantizationConfig config;  // compressed-tensors
  QuantizationScheme scheme;  // the others; for compressed-tensors that of the first group
  std::vector<std::string> not_packed;  // AutoAWQ: parts of names

  std::string description() const;  // "AutoAWQ, W4A16, groups of 128, asymmetric"
  // Whether loaders expect a linear layer to be packed; nothing where config.json does not say.
  std::optional<bool> expects(const std::string& module) const;
};

// Of a parsed config.json. Error(bad_input): it describes no quantization, or contradicts itself.
// Error(unsupported): another method, width or version.
Packing parse_packing(const Json& config, std::string_view where);

class PackedLayers {
 public:
  // Keeps a reference to the checkpoint. Throws as parse_packing does.
  explicit PackedLayers(const Checkpoint& checkpoint);

  const Packing& packing() const { return packing_; }
  std::vector<std::string> modules() const;  // that have packed weights, sorted
  // Its tensors, as far as they exist.
  std::vector<std::string> tensor_names(const std::string& module) const;
  // A layer of rows x cols. Error(bad_input), naming the tensor, where one is missing or is not
  // what the format asks for.
  PackedLayer get(const std::string& module, int64_t rows, int64_t cols) const;

 private:
  QuantizationScheme scheme_of(const std::string& module) const;
  Tensor tensor(const std::string& name, std::optional<DType> dtype, const Shape& shape) const;
  void expect_stated_shape(const std::string& module, int64_t rows, int64_t cols) const;
  PackedMatrix weights_of(const std::string& module, const PackedLayer& layer) const;
  std::optional<PackedMatrix> zeros_of(const std::string& module, const PackedLayer& layer,
                                       bool symmetric) const;
  std::vector<int32_t> column_groups(const std::string& name, const PackedLayer& layer) const;

  const Checkpoint& checkpoint_;
  Packing packing_;
};

}  // namespace squint::io
