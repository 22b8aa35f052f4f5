// Any bytes as each of the configuration files of a checkpoint, and what follows from their
// numbers.
#include <cstddef>
#include <cstdint>
#include <nlohmann/json.hpp>
#include <string_view>
#include <vector>

#include "base/check.h"
#include "base/json.h"
#include "io/quantization_config.h"
#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/image_processor.h"
#include "models/qwen3_vl/positions.h"
#include "runtime/generation_config.h"
#include "squint/error.h"

namespace {

void use_model(const squint::Json& json) {
  const squint::qwen3_vl::Config config = squint::qwen3_vl::parse_config(json, "fuzz");
  // Products that loading a model forms without looking again.
  SQUINT_CHECK(config.text.heads % config.text.kv_heads == 0);
  SQUINT_CHECK(config.text.vocab * config.text.hidden > 0);
  SQUINT_CHECK(config.vision.merged_hidden() * config.vision.merged_hidden() > 0);
  SQUINT_CHECK(config.vision.head_dim() * config.vision.heads == config.vision.hidden);
  SQUINT_CHECK(config.vision.patch_values() * config.vision.hidden > 0);
  const std::vector<squint::qwen3_vl::Position> positions = {{1, 2, 3}};
  squint::qwen3_vl::text_rotary(positions, config.text);
}

void use_image_processor(const squint::Json& json) {
  const auto config = squint::qwen3_vl::parse_image_processor(json, "fuzz");
  for (const int64_t side : {int64_t{1}, int64_t{33}, int64_t{5000}}) {
    const auto size = squint::qwen3_vl::smart_resize(side, 50, config);
    SQUINT_CHECK(!size || (size->height >= 32 && size->height % 32 == 0 && size->width >= 32));
  }
}

template <class Action>
void attempt(const Action& action) {
  try {
    action();
  } catch (const squint::Error&) {
    // What bytes from outside may cause; anything else is a finding.
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  attempt([&] {
    const squint::Json json =
        squint::parse_json({reinterpret_cast<const char*>(data), size}, "fuzz");
    attempt([&] { use_model(json); });
    attempt([&] { use_image_processor(json); });
    attempt([&] { squint::io::find_quantization_config(json, "fuzz"); });
    attempt([&] {
      const auto config = squint::runtime::parse_generation_config(json, "fuzz");
      squint::runtime::check_sampling(config.sampling);
    });
  });
  return 0;
}
