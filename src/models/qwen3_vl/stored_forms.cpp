#include "models/qwen3_vl/stored_forms.h"

#include <fmt/format.h>

#include <nlohmann/json.hpp>

#include "io/quantization_config.h"
#include "models/qwen3_vl/model.h"
#include "squint/error.h"

namespace squint::qwen3_vl {
namespace {

// Both spellings, at either place; bfloat16 where none says anything, as published models are.
DType dtype_of(const Json& config, std::string_view where) {
  for (const Json* object : {&config, &config.at("text_config")}) {
    for (const char* key : {"dtype", "torch_dtype"}) {
      const auto it = object->find(key);
      if (it == object->end() || it->is_null()) continue;
      if (*it == "bfloat16") return DType::bf16;
      if (*it == "float16") return DType::f16;
      if (*it == "float32") return DType::f32;
      throw Error(ErrorCode::unsupported,
                  fmt::format("{}: \"{}\" is {}, supported are \"bfloat16\", \"float16\" and "
                              "\"float32\"",
                              where, key, it->dump()));
    }
  }
  return DType::bf16;
}

bool is_text_linear(std::string_view module) {
  return module.starts_with("model.language_model.layers.");
}

// Read as plain tensors, whatever a pattern says: a convolution, and a matrix that is three.
bool never_packed(std::string_view module) {
  return module.ends_with("patch_embed.proj") || module.ends_with("attn.qkv");
}

}  // namespace

FormOf stored_forms(const Json& config, std::string_view where,
                    const std::optional<QuantizationScheme>& assumed) {
  const DType dtype = dtype_of(config, where);
  const auto packed = io::find_quantization_config(config, where);
  if (packed && assumed) {
    throw Error(
        ErrorCode::usage,
        fmt::format("{}: its weights are quantized already; leave the assumption out", where));
  }
  return [=](const std::string& module, int64_t out, int64_t in) {
    WeightForm form{.out_features = out, .in_features = in, .dtype = dtype};
    if (never_packed(module)) return form;
    if (assumed) {
      if (is_text_linear(module)) form.scheme = assumed;
    } else if (packed && !packed->ignores(module)) {
      if (const io::QuantizationGroup* group = packed->group_of(module))
        form.scheme = group->scheme;
    }
    if (form.scheme && !form.scheme->divides(in)) {
      throw Error(ErrorCode::usage, fmt::format("groups of {} columns do not divide the {} of {}",
                                                form.scheme->group_size, in, module));
    }
    return form;
  };
}

std::string form_text(const WeightForm& form) {
  if (!form.scheme) return std::string(name(form.dtype));
  return fmt::format("W{}A16, {}", form.scheme->bits,
                     form.scheme->group_size == 0
                         ? "a scale per row"
                         : fmt::format("groups of {}", form.scheme->group_size));
}

}  // namespace squint::qwen3_vl
