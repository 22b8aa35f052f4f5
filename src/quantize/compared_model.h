// compared_model.h: one of several models over the same rows, loaded part by part.
#pragma once

#include <filesystem>
#include <functional>
#include <memory>
#include <string>

#include "models/qwen3_vl/model.h"
#include "quantize/module_schemes.h"

namespace squint::quantize {

class ComparedModel {
 public:
  // Opens the folder and checks that every layer is there. Error(bad_input) for what is missing.
  explicit ComparedModel(const std::filesystem::path& folder);
  // The base, its layers rounded to nearest with ranges by minmax on the way. Error(bad_input)
  // where groups do not divide a layer or the base is already quantized.
  ComparedModel(const ComparedModel& base, ModuleSchemes rounding, std::string name);

  const std::string& name() const { return name_; }  // as a person would call it
  const qwen3_vl::Config& config() const { return files_->config; }
  const qwen3_vl::Weights& weights() const { return files_->weights; }
  const io::Checkpoint& checkpoint() const { return files_->checkpoint; }

  qwen3_vl::DecoderBlock block(Context& cx, int64_t layer) const;

  // Error(bad_input) unless `other` has the shape of something made from this model.
  void expect_kin(const ComparedModel& other) const;
  // Called between parts of what takes seconds; may throw to stop.
  using OnPart = std::function<void()>;
  // Whether both make the same hidden states of a row before the first layer, and turn positions
  // into the same angles.
  bool same_inputs(const ComparedModel& other, const OnPart& on_part) const;
  bool same_head(const ComparedModel& other, const OnPart& on_part) const;

  // Bytes as stored; prepared, a weight takes as much.
  int64_t vision_bytes() const;
  int64_t block_bytes() const;  // of the largest layer
  int64_t head_bytes() const;

 private:
  struct Files {
    io::Checkpoint checkpoint;
    qwen3_vl::Config config;
    qwen3_vl::Weights weights;

    explicit Files(const std::filesystem::path& folder);
  };

  std::string name_;
  std::shared_ptr<const Files> files_;
  ModuleSchemes rounding_;  // empty: as stored
};

}  // namespace squint::quantize
