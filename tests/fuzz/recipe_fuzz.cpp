// Any bytes as a recipe; one that is read is written and read again.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/check.h"
#include "models/qwen3_vl/config.h"
#include "quantize/mappings.h"
#include "quantize/module_schemes.h"
#include "quantize/recipe.h"
#include "squint/error.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace squint;
  QuantizeOptions options;
  quantize::ModuleSchemes schemes;
  try {
    quantize::read_recipe({reinterpret_cast<const char*>(data), size}, "fuzz", options);
    schemes = quantize::module_schemes(options, 2);
  } catch (const Error&) {
    return 0;  // What bytes from outside may cause; anything else is a finding.
  }
  const std::string written = quantize::recipe_yaml(options, schemes);
  QuantizeOptions again;
  quantize::read_recipe(written, "written", again);
  SQUINT_CHECK(quantize::module_schemes(again, 2) == schemes);
  qwen3_vl::TextConfig config;
  config.layers = 2;
  config.heads = config.kv_heads = 4;
  try {
    quantize::choose_groups(options.mappings, config);
  } catch (const Error&) {
  }
  return 0;
}
