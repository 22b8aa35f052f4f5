// kv_cache.h: keys and values of every layer of one sequence.
#pragma once

#include <vector>

#include "ops/ops.h"

namespace squint {

struct KvCache {
  std::vector<KvLayer> layers;

  int64_t length() const { return layers.empty() ? 0 : layers.front().length; }
};

}  // namespace squint
