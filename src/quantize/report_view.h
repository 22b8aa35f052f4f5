// report_view.h: what the text and the page of a report share: its linear layers by layer and role,
// and numbers as people read them.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "squint/quantize.h"

namespace squint::quantize {

struct Place {
  int64_t layer = 0;
  std::string role;  // "q_proj"
};
// Of "model.language_model.layers.3.self_attn.q_proj"; layer -1 where the name has none.
Place place_of(const std::string& module);

struct ErrorMean {
  double error = 0;
  double plain = 0;
};
ErrorMean mean_error(const std::vector<const LinearReport*>& linears);

class ErrorTable {
 public:
  explicit ErrorTable(const QuantizeReport& report);

  const std::vector<std::string>& roles() const { return roles_; }  // in the forward pass's order
  const std::vector<int64_t>& layers() const { return layers_; }
  const LinearReport* find(int64_t layer, const std::string& role) const;
  std::vector<const LinearReport*> of_layer(int64_t layer) const;
  std::vector<const LinearReport*> of_role(const std::string& role) const;
  const std::vector<const LinearReport*>& all() const { return all_; }
  std::vector<const LinearReport*> worst(size_t count) const;  // the largest errors, descending

 private:
  std::vector<std::string> roles_;
  std::vector<int64_t> layers_;
  std::vector<const LinearReport*> all_;
  std::map<int64_t, std::map<std::string, const LinearReport*>> by_place_;
};

bool is_identity(const SmoothingReport& smoothing);
// Loss that is left, of that without smoothing; 1 where there is nothing to lose.
double loss_left(const SmoothingReport& smoothing);

// "awq, W4A16, groups of 128, symmetric, observer mse"
std::string options_text(const QuantizeOptions& options);
// "8 bits: k, q, v in layers 0, 3; down in layer 1", a line for each number of bits that is not the
// usual one.
std::vector<std::string> other_bits(const QuantizeReport& report);
// "the outputs" or, without calibration, "the weights"
std::string error_of(const QuantizeReport& report);

std::string bytes_text(int64_t bytes);                 // "35.4 MB"
std::string count_text(int64_t count);                 // "17.7 million", "7,063"
std::string percent_text(double share, int decimals);  // "5.3 %"
std::string seconds_text(double seconds);              // "12 ms", "8.2 s", "1:45 min"
double share_of(int64_t part, int64_t whole);          // 0 of nothing

}  // namespace squint::quantize
