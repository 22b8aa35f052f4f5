// vision_tower.h: patches of one image to features in the language model's width (spec qwen3-vl.md
// §4), plus the features of three inner blocks that the first text layers add ("deepstack").
#pragma once

#include <vector>

#include "models/qwen3_vl/config.h"
#include "models/qwen3_vl/image_processor.h"
#include "models/qwen3_vl/weights.h"
#include "ops/context.h"

namespace squint::qwen3_vl {

// On the backend's device, not in scratch.
struct ImageFeatures {
  Tensor embeds;                  // [tokens, hidden of the text model]
  std::vector<Tensor> deepstack;  // the same shape, one per tap
};

class VisionTower {
 public:
  VisionTower(const Weights& weights, const VisionConfig& config, Backend& backend);

  // Full attention inside the image: images of one prompt are encoded one by one.
  ImageFeatures encode(Context& cx, const Patches& patches) const;

 private:
  struct Norm {
    Tensor weight;
    Tensor bias;
  };
  struct Block {
    Norm norm1;
    Norm norm2;
    LinearWeight q, k, v, proj;
    LinearWeight fc1, fc2;
  };
  struct Merger {
    Norm norm;
    bool norm_after_merge;  // deepstack mergers; the main one normalises each patch
    LinearWeight fc1, fc2;
  };

  Block load_block(const Weights& weights, Backend& backend, int64_t index) const;
  Merger load_merger(const Weights& weights, Backend& backend, const std::string& prefix,
                     bool norm_after_merge) const;
  void run_block(Context& cx, const Block& block, const Tensor& cosine, const Tensor& sine,
                 const Tensor& x) const;
  Tensor merge(Context& cx, const Merger& merger, const Tensor& x) const;

  VisionConfig config_;
  LinearWeight patch_embed_;
  Tensor position_table_;  // as stored
  std::vector<Block> blocks_;
  Merger merger_;
  std::vector<Merger> deepstack_mergers_;
};

}  // namespace squint::qwen3_vl
