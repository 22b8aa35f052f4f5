// footprint.h: what a model takes of memory and of arithmetic, from its sizes alone: before any
// weight is there.
//
// Sizes of scratch memory repeat, tensor by tensor, what VisionTower::encode, Model::prefill and
// Model::step take; tests/models/footprint_test.cpp holds the two together.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "models/qwen3_vl/config.h"
#include "ops/arena.h"
#include "ops/backend.h"

namespace squint::qwen3_vl {

// How the weight of a module is stored.
using FormOf =
    std::function<WeightForm(const std::string& module, int64_t out_features, int64_t in_features)>;

enum class Component : uint8_t { vision, embedding, head, text };

// Tensors that are loaded together; then their pages of the file are given back.
struct LoadStep {
  Component component = Component::text;
  bool shared = false;        // its matrices are those of an earlier step: the tied head
  int64_t parameters = 0;     // of its matrices
  int64_t stored_bytes = 0;   // in the file: touched while loading
  int64_t kept_bytes = 0;     // allocated for as long as the model lives
  int64_t passing_bytes = 0;  // allocated while one of the matrices is prepared, the most of any
};
// In the order a Model loads them.
std::vector<LoadStep> load_steps(const Config& config, const Backend& backend,
                                 const FormOf& form_of);

// What encoding one image, and a prompt with its first token, take from scratch memory.
void lay_out_encode(ArenaLayout& scratch, const VisionConfig& config, const Backend& backend,
                    int64_t patches);
void lay_out_prompt(ArenaLayout& scratch, const TextConfig& config, int64_t tokens);

// Bytes of the features of one image, which live as long as its prompt.
int64_t feature_bytes(const Config& config, int64_t patches);
// Of the cache of one sequence.
int64_t cache_bytes(const TextConfig& config, const Backend& backend, int64_t tokens);

// Multiplications and additions. Matrices count 2 for every weight and row; attention 4 for every
// width of a head and pair of positions that see each other.
double encode_operations(const Config& config, int64_t patches);
double prefill_operations(const TextConfig& config, int64_t tokens);  // with one row of logits

}  // namespace squint::qwen3_vl
