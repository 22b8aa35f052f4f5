#include "quantize/foreign_checkpoint.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <string>
#include <vector>

namespace squint::test {
namespace {

// Of a positive number that f16 can hold, cut off.
uint16_t f16_bits(float x) {
  const auto bits = std::bit_cast<uint32_t>(x);
  return static_cast<uint16_t>((((bits >> 23) - 112) << 10) | (bits >> 13 & 0x3ff));
}

struct Integers {
  int64_t rows = 0;
  int64_t cols = 0;
  std::vector<int> codes;        // [rows, cols], 0..15
  std::vector<int> zeros;        // [rows, groups]
  std::vector<uint16_t> scales;  // [rows, groups], f16
};

Integers round_to_nearest(const Tensor& weight, const std::vector<int32_t>& group_of,
                          int64_t groups) {
  Integers out{.rows = weight.dim(0), .cols = weight.dim(1)};
  const std::span<const bf16> w = weight.span<const bf16>();
  for (int64_t r = 0; r < out.rows; ++r) {
    std::vector<float> low(static_cast<size_t>(groups));
    std::vector<float> high(static_cast<size_t>(groups));
    const auto group = [&](int64_t c) {
      return static_cast<size_t>(group_of[static_cast<size_t>(c)]);
    };
    const auto value = [&](int64_t c) {
      return to_float(w[static_cast<size_t>(r * out.cols + c)]);
    };
    for (int64_t c = 0; c < out.cols; ++c) {
      low[group(c)] = std::min(low[group(c)], value(c));
      high[group(c)] = std::max(high[group(c)], value(c));
    }
    std::vector<float> scale;
    std::vector<int> zero;
    for (size_t g = 0; g < low.size(); ++g) {
      out.scales.push_back(f16_bits((high[g] - low[g]) / 15));
      scale.push_back(to_float(f16{out.scales.back()}));
      zero.push_back(std::clamp(static_cast<int>(std::lround(-low[g] / scale[g])), 0, 15));
      out.zeros.push_back(zero[g]);
    }
    for (int64_t c = 0; c < out.cols; ++c) {
      const auto code = static_cast<int>(std::lround(value(c) / scale[group(c)])) + zero[group(c)];
      out.codes.push_back(std::clamp(code, 0, 15));
    }
  }
  return out;
}

// Words of eight values each; value(i, j) is the i-th of word j.
template <class Value>
Tensor words(const Shape& shape, const std::array<int, 8>& order, const Value& value) {
  Tensor out = Tensor::on_host(DType::i32, shape);
  for (int64_t j = 0; j < shape.numel(); ++j) {
    uint32_t word = 0;
    for (size_t i = 0; i < 8; ++i) {
      word |= static_cast<uint32_t>(value(static_cast<int64_t>(i), j) & 15) << (4 * order[i]);
    }
    out.span<int32_t>()[static_cast<size_t>(j)] = static_cast<int32_t>(word);
  }
  return out;
}

void pack_linear(TinyCheckpoint& checkpoint, const std::string& module,
                 const ForeignPacking& packing) {
  const Tensor weight = checkpoint.tensors.at(module + ".weight");
  const int64_t cols = weight.dim(1);
  const int64_t groups = cols / packing.group_size;
  std::vector<int32_t> group_of(static_cast<size_t>(cols));
  for (int64_t c = 0; c < cols; ++c) {
    group_of[static_cast<size_t>(c)] =
        static_cast<int32_t>(packing.shuffled ? c % groups : c / packing.group_size);
  }
  const Integers q = round_to_nearest(weight, group_of, groups);
  const auto code = [&](int64_t r, int64_t c) {
    return q.codes[static_cast<size_t>(r * cols + c)];
  };
  const int64_t row_words = q.rows / 8;
  checkpoint.tensors[module + ".qweight"] =
      packing.gptq
          ? words({cols / 8, q.rows}, packing.order,
                  [&](int64_t i, int64_t j) { return code(j % q.rows, j / q.rows * 8 + i); })
          : words({cols, row_words}, packing.order,
                  [&](int64_t i, int64_t j) { return code(j % row_words * 8 + i, j / row_words); });
  checkpoint.tensors[module + ".qzeros"] =
      words({groups, row_words}, packing.order, [&](int64_t i, int64_t j) {
        const int64_t row = j % row_words * 8 + i;
        return q.zeros[static_cast<size_t>(row * groups + j / row_words)] + packing.zero_offset;
      });
  Tensor scales = Tensor::on_host(DType::f16, {groups, q.rows});
  for (int64_t i = 0; i < scales.numel(); ++i) {
    reinterpret_cast<uint16_t*>(scales.raw())[i] =
        q.scales[static_cast<size_t>(i % q.rows * groups + i / q.rows)];
  }
  checkpoint.tensors[module + ".scales"] = scales;
  if (packing.gptq) {
    checkpoint.tensors[module + ".g_idx"] = Tensor::copy_of<int32_t>(group_of, {cols});
  }
  checkpoint.tensors.erase(module + ".weight");
}

template <class Factor>
void scale(TinyCheckpoint& checkpoint, const std::string& name, const Factor& factor) {
  const Tensor& from = checkpoint.tensors.at(name);
  Tensor to = Tensor::on_host(DType::bf16, from.shape());
  for (int64_t i = 0; i < from.numel(); ++i) {
    const auto at = static_cast<size_t>(i);
    to.span<bf16>()[at] = to_bf16(to_float(from.span<const bf16>()[at]) * factor(i));
  }
  checkpoint.tensors[name] = to;
}

}  // namespace

void pack_foreign(TinyCheckpoint& checkpoint, const ForeignPacking& packing) {
  std::vector<std::string> modules;
  for (const auto& [name, tensor] : checkpoint.tensors) {
    if (name.ends_with("_proj.weight")) modules.push_back(name.substr(0, name.size() - 7));
  }
  for (const std::string& module : modules) pack_linear(checkpoint, module, packing);
  checkpoint.patch("config.json", packing.gptq ? R"({"quantization_config": {"quant_method": "gptq",
      "bits": 4, "group_size": 16, "sym": false, "desc_act": true}})"
                                               : R"({"quantization_config": {"quant_method": "awq",
      "bits": 4, "group_size": 16, "zero_point": true, "version": "gemm",
      "modules_to_not_convert": ["visual"]}})");
}

void scale_columns(TinyCheckpoint& checkpoint, const std::string& name, float (*factor)(int64_t)) {
  const int64_t cols = checkpoint.tensors.at(name).shape()[-1];
  scale(checkpoint, name, [&](int64_t i) { return factor(i % cols); });
}

void scale_rows(TinyCheckpoint& checkpoint, const std::string& name, float (*factor)(int64_t)) {
  const int64_t cols = checkpoint.tensors.at(name).shape()[-1];
  scale(checkpoint, name, [&](int64_t i) { return factor(i / cols); });
}

}  // namespace squint::test
