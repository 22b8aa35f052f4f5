// Operators that a backend offers whole, against what the reference makes of plain ones.
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <vector>

#include "conformance/guarded_tensor.h"
#include "conformance/host_side.h"
#include "conformance/linear_weights.h"
#include "conformance/on_every_backend.h"
#include "conformance/random_values.h"
#include "support/fused_reference.h"

namespace squint::test {
namespace {

constexpr float kEps = 1e-6f;
constexpr int64_t kTokens[] = {1, 2, 3, 5, 8, 9, 31, 33, 70};
constexpr QuantizationScheme kGroups128{.bits = 4, .group_size = 128, .symmetric = true};
constexpr QuantizationScheme kGroups64{.bits = 4, .group_size = 64, .symmetric = false};
constexpr QuantizationScheme kGroups32{.bits = 4, .group_size = 32, .symmetric = false};
constexpr QuantizationScheme kEightBits{.bits = 8, .group_size = 128, .symmetric = false};

class Fused : public OnEveryBackend {
 protected:
  FusedOperators& fused() { return *backend().fused(); }
  FusedReference& plain() { return plain_; }

  // Weights of [out, in] as they come, in every form that has a way of its own.
  static std::vector<LinearWeight> forms(int64_t in, int64_t out, uint64_t seed) {
    return {packed({.in = in, .out = out, .bias = true, .seed = seed}, kGroups128),
            packed({.in = in, .out = out, .seed = seed}, kGroups64),
            packed({.in = in, .out = out, .seed = seed}, kGroups32),
            packed({.in = in, .out = out, .bias = true, .seed = seed}, kEightBits),
            dense_bf16({.in = in, .out = out, .seed = seed}),
            dense_f32({.in = in, .out = out, .seed = seed})};
  }

 private:
  FusedReference plain_{1};
};

std::vector<std::string> backends_with_fused() {
  std::vector<std::string> names;
  for (const std::string& name : backends_here()) {
    if (open_named(name, 1)->fused() != nullptr) names.push_back(name);
  }
  return names;
}

INSTANTIATE_TEST_SUITE_P(Kernels, Fused, ::testing::ValuesIn(backends_with_fused()), backend_name);
GTEST_ALLOW_UNINSTANTIATED_PARAMETERIZED_TEST(Fused);

TEST_P(Fused, NormLinears) {
  constexpr int64_t kIn = 384;
  const GuardedTensor norm(random_values(kIn, 200), {kIn});
  const std::vector<LinearWeight> wide = forms(kIn, 80, 201);
  const std::vector<LinearWeight> narrow = forms(kIn, 17, 202);
  for (size_t form = 0; form < wide.size(); ++form) {
    // The last one is of another form, once.
    const LinearWeight& third = form == 0 ? narrow[4] : narrow[form];
    const std::array plain_weights{&wide[form], &narrow[form], &third};
    const LinearWeight ready[] = {backend().prepare(wide[form]), backend().prepare(narrow[form]),
                                  backend().prepare(third)};
    for (const int64_t tokens : kTokens) {
      const GuardedTensor x(random_values(tokens * kIn, 203, 3), {tokens, kIn});
      std::vector<GuardedTensor> outs;
      std::vector<Tensor> found;
      std::vector<Tensor> expected;
      for (const int64_t out : {80, 17, 17}) {
        outs.emplace_back(DType::f32, Shape{tokens, out});
        found.push_back(*outs.back());
        expected.push_back(Tensor::on_host(DType::f32, {tokens, out}));
      }
      fused().norm_linears(*x, *norm, kEps, std::array{&ready[0], &ready[1], &ready[2]}, found);
      plain().norm_linears(*x, *norm, kEps, plain_weights, expected);
      for (size_t i = 0; i < 3; ++i) {
        ASSERT_TRUE(near(found[i], expected[i], linear_tolerance()))
            << "form " << form << " tokens " << tokens << " output " << i;
        ASSERT_TRUE(outs[i].guards_hold());
      }
    }
  }
}

TEST_P(Fused, NormGated) {
  constexpr int64_t kIn = 256;
  constexpr int64_t kOut = 72;
  const GuardedTensor norm(random_values(kIn, 210), {kIn});
  const std::vector<LinearWeight> gates = forms(kIn, kOut, 211);
  const std::vector<LinearWeight> ups = forms(kIn, kOut, 212);
  for (size_t form = 0; form < gates.size(); ++form) {
    const LinearWeight gate = backend().prepare(gates[form]);
    const LinearWeight up = backend().prepare(ups[form]);
    for (const int64_t tokens : kTokens) {
      const GuardedTensor x(random_values(tokens * kIn, 213, 2), {tokens, kIn});
      const GuardedTensor out(DType::f32, {tokens, kOut});
      const Tensor expected = Tensor::on_host(DType::f32, {tokens, kOut});
      fused().norm_gated(*x, *norm, kEps, gate, up, *out);
      plain().norm_gated(*x, *norm, kEps, gates[form], ups[form], expected);
      ASSERT_TRUE(near(*out, expected, gated_tolerance()))
          << "form " << form << " tokens " << tokens;
      ASSERT_TRUE(out.guards_hold());
    }
  }
}

TEST_P(Fused, NormGatedAdd) {
  constexpr int64_t kIn = 256;
  const GuardedTensor norm(random_values(kIn, 260), {kIn});
  for (const int64_t inner : {128, 68}) {
    const std::vector<LinearWeight> gates = forms(kIn, inner, 261);
    const std::vector<LinearWeight> ups = forms(kIn, inner, 262);
    const std::vector<LinearWeight> downs =
        inner == 128 ? forms(inner, 40, 263)
                     : std::vector(6, dense_bf16({.in = inner, .out = 40, .seed = 263}));
    for (size_t form = 0; form < gates.size(); ++form) {
      const LinearWeight gate = backend().prepare(gates[form]);
      const LinearWeight up = backend().prepare(ups[form]);
      const LinearWeight down = backend().prepare(downs[form]);
      for (const int64_t tokens : kTokens) {
        const GuardedTensor x(random_values(tokens * kIn, 264, 2), {tokens, kIn});
        const Tensor between = Tensor::on_host(DType::f32, {tokens, inner});
        const Tensor plain_between = Tensor::on_host(DType::f32, {tokens, inner});
        const std::vector<float> before = random_values(tokens * 40, 265);
        const GuardedTensor out(before, {tokens, 40});
        const Tensor expected = Tensor::copy_of<float>(before, {tokens, 40});
        fused().norm_gated_add(*x, *norm, kEps, gate, up, down, between, *out);
        plain().norm_gated_add(*x, *norm, kEps, gates[form], ups[form], downs[form], plain_between,
                               expected);
        ASSERT_TRUE(near(*out, expected, kFastGatedTolerance))
            << "form " << form << " inner " << inner << " tokens " << tokens;
        ASSERT_TRUE(out.guards_hold());
      }
    }
  }
}

// 64 outputs of 2048 columns are too few for a card: columns are split.
TEST_P(Fused, LinearAdd) {
  for (const auto& [in, out] : {std::pair<int64_t, int64_t>{384, 97}, {2048, 64}}) {
    const std::vector<LinearWeight> weights = forms(in, out, 220);
    for (size_t form = 0; form < weights.size(); ++form) {
      const LinearWeight ready = backend().prepare(weights[form]);
      for (const int64_t tokens : kTokens) {
        const GuardedTensor x(random_values(tokens * in, 221), {tokens, in});
        const std::vector<float> before = random_values(tokens * out, 222);
        const GuardedTensor sum(before, {tokens, out});
        const Tensor expected = Tensor::copy_of<float>(before, {tokens, out});
        fused().linear_add(*x, ready, *sum);
        plain().linear_add(*x, weights[form], expected);
        ASSERT_TRUE(near(*sum, expected, linear_tolerance()))
            << "form " << form << " tokens " << tokens << " in " << in;
        ASSERT_TRUE(sum.guards_hold());
      }
    }
  }
}

// Four floats at a time, and one by one.
TEST_P(Fused, LayerNormLinears) {
  for (const int64_t in : {384, 67}) {
    const GuardedTensor norm(random_values(in, 230), {in});
    const GuardedTensor bias(random_values(in, 231), {in});
    const std::array plain_weights{dense_bf16({.in = in, .out = 48, .bias = true, .seed = 232}),
                                   dense_f32({.in = in, .out = 48, .bias = true, .seed = 233})};
    for (const LinearWeight& weight : plain_weights) {
      const LinearWeight ready = backend().prepare(weight);
      for (const int64_t tokens : kTokens) {
        const GuardedTensor x(random_values(tokens * in, 234, 3), {tokens, in});
        const GuardedTensor out(DType::f32, {tokens, 48});
        const Tensor expected = Tensor::on_host(DType::f32, {tokens, 48});
        fused().layer_norm_linears(*x, *norm, *bias, kEps, std::array{&ready}, std::array{*out});
        plain().layer_norm_linears(*x, *norm, *bias, kEps, std::array{&weight},
                                   std::array{expected});
        ASSERT_TRUE(near(*out, expected, linear_tolerance()))
            << "tokens " << tokens << " in " << in;
        ASSERT_TRUE(out.guards_hold());
      }
    }
  }
}

TEST_P(Fused, GeluLinearAdd) {
  for (const int64_t in : {384, 67}) {
    const LinearWeight weight = dense_bf16({.in = in, .out = 40, .bias = true, .seed = 240});
    const LinearWeight ready = backend().prepare(weight);
    for (const int64_t tokens : kTokens) {
      const std::vector<float> values = random_values(tokens * in, 241, 2);
      const GuardedTensor x(values, {tokens, in});
      const std::vector<float> before = random_values(tokens * 40, 242);
      const GuardedTensor sum(before, {tokens, 40});
      const Tensor expected = Tensor::copy_of<float>(before, {tokens, 40});
      fused().gelu_linear_add(*x, ready, *sum);
      plain().gelu_linear_add(Tensor::copy_of<float>(values, {tokens, in}), weight, expected);
      ASSERT_TRUE(near(*sum, expected, linear_tolerance())) << "tokens " << tokens << " in " << in;
      ASSERT_TRUE(sum.guards_hold());
      ASSERT_TRUE(x.guards_hold());
    }
  }
}

struct Batch {
  std::vector<int64_t> before;  // keys in the cache of each sequence
  std::vector<int64_t> counts;
};

KvLayer cache_of(Backend& backend, int64_t before, int64_t count, int64_t heads, int64_t d,
                 uint64_t seed) {
  const int64_t capacity = before + count + 3;
  KvLayer kv =
      backend.make_kv(backend.allocate(backend.kv_bytes(heads, d, capacity)), heads, d, capacity);
  const Shape shape{before, heads, d};
  backend.append_kv(Tensor::copy_of<float>(random_values(shape.numel(), seed), shape),
                    Tensor::copy_of<float>(random_values(shape.numel(), seed + 1), shape), kv);
  return kv;
}

Tensor near_one(int64_t count, uint64_t seed) {
  std::vector<float> values = random_values(count, seed, 0.1f);
  for (float& x : values) x += 1;
  return Tensor::copy_of<float>(values, {count});
}

struct HeadSizes {
  int64_t heads;
  int64_t kv_heads;
  int64_t d;
};

// Sequences with caches of a backend and of the plain one.
struct Sequences {
  std::vector<KvLayer> caches;
  std::vector<KvLayer> plain_caches;
  std::vector<KvSlice> slices;
  std::vector<KvSlice> plain_slices;
  int64_t tokens = 0;

  Sequences(Backend& backend, Backend& plain, const Batch& batch, const HeadSizes& s) {
    caches.reserve(batch.counts.size());
    plain_caches.reserve(batch.counts.size());
    for (size_t i = 0; i < batch.counts.size(); ++i) {
      const int64_t count = batch.counts[i];
      const uint64_t seed = 230 + 2 * i;
      caches.push_back(cache_of(backend, batch.before[i], count, s.kv_heads, s.d, seed));
      plain_caches.push_back(cache_of(plain, batch.before[i], count, s.kv_heads, s.d, seed));
      slices.push_back({.begin = tokens, .count = count, .kv = &caches[i]});
      plain_slices.push_back({.begin = tokens, .count = count, .kv = &plain_caches[i]});
      tokens += count;
    }
  }
};

HeadsArgs random_heads(int64_t tokens, const HeadSizes& s, uint64_t seed) {
  const auto random = [](const Shape& shape, uint64_t number) {
    return Tensor::copy_of<float>(random_values(shape.numel(), number), shape);
  };
  const Tensor cosine = random({tokens, s.d / 2}, seed + 5);
  const Tensor sine = copy_of(cosine);
  for (float& angle : cosine.span<float>()) angle = std::cos(angle);
  for (float& angle : sine.span<float>()) angle = std::sin(angle);
  return {.query = random({tokens, s.heads, s.d}, seed),
          .key = random({tokens, s.kv_heads, s.d}, seed + 1),
          .value = random({tokens, s.kv_heads, s.d}, seed + 2),
          .query_norm = near_one(s.d, seed + 3),
          .key_norm = near_one(s.d, seed + 4),
          .eps = kEps,
          .cosine = cosine,
          .sine = sine};
}

constexpr HeadSizes kHeadSizes[] = {{8, 2, 128}, {6, 2, 64}, {4, 4, 20}};

std::vector<Batch> batches() {
  return {{{0}, {1}},
          {{700}, {1}},
          {{0}, {37}},
          {{90}, {40}},
          {{5, 0, 64}, {1, 9, 2}},
          {{3, 300, 1}, {1, 1, 1}},
          {{63, 30}, {3, 4}},
          {std::vector<int64_t>(70, 9), std::vector<int64_t>(70, 1)}};
}

// A step of decoding, a step of many, prompts, and both at once; whole and long caches. In two
// operators, and in one, after which the caches are attended to again.
TEST_P(Fused, NormRotateAppendAndAttend) {
  for (const HeadSizes s : kHeadSizes) {
    const float scale = 1 / std::sqrt(static_cast<float>(s.d));
    for (const Batch& batch : batches()) {
      for (const bool whole : {false, true}) {
        Sequences all(backend(), plain(), batch, s);
        const HeadsArgs args = random_heads(all.tokens, s, 240);
        HeadsArgs plain_args = args;
        plain_args.query = copy_of(args.query);
        plain_args.key = copy_of(args.key);
        const Shape shape{all.tokens, s.heads * s.d};
        const GuardedTensor out(DType::f32, shape);
        const Tensor expected = Tensor::on_host(DType::f32, shape);
        plain().norm_rotate_append(plain_args, all.plain_slices);
        plain().attend(plain_args.query, all.plain_slices, scale, expected);
        const auto holds = [&] {
          return near(*out, expected, attention_tolerance())
                 << "d " << s.d << " sequences " << all.slices.size() << " before "
                 << batch.before[0] << " whole " << whole;
        };
        if (whole) {
          fused().attend_heads(args, all.slices, scale, *out);
          ASSERT_TRUE(holds());
        } else {
          fused().norm_rotate_append(args, all.slices);
          constexpr Tolerance kRotated{.abs = 2e-5f, .rel = 2e-5f};
          ASSERT_TRUE(near(args.query, plain_args.query, kRotated));
        }
        for (size_t i = 0; i < all.slices.size(); ++i) {
          ASSERT_EQ(all.caches[i].length, all.plain_caches[i].length);
        }
        fused().attend(plain_args.query, all.slices, scale, *out);
        ASSERT_TRUE(holds());
        ASSERT_TRUE(out.guards_hold());
      }
    }
  }
}

Tensor moved(Backend& to, const Tensor& tensor) {
  const Tensor there(to.allocate(tensor.bytes()), 0, tensor.dtype(), tensor.shape());
  to.copy(tensor, there);
  return there;
}

// The same step for token after token, across lengths where caches are cut otherwise, then for
// other sequences. Its tensors stay where they are.
TEST_P(Fused, ARepeatedStepIsMadeAnew) {
  auto* const side = dynamic_cast<HostSide*>(&backend());
  Backend& device = side != nullptr ? side->behind() : backend();
  constexpr HeadSizes kSizes{8, 2, 128};
  constexpr float kScale = 0.1f;
  const Batch batch{{30, 62, 29}, {1, 1, 1}};
  HeadsArgs args = random_heads(3, kSizes, 250);
  for (Tensor* tensor : {&args.query, &args.key, &args.value, &args.query_norm, &args.key_norm,
                         &args.cosine, &args.sine}) {
    *tensor = moved(device, *tensor);
  }
  const Tensor expected = Tensor::on_host(DType::f32, {3, kSizes.heads * kSizes.d});
  const Tensor found = copy_of(expected);
  const Tensor out = moved(device, expected);
  for (int answer = 0; answer < 2; ++answer) {
    Sequences all(backend(), plain(), batch, kSizes);
    std::vector<KvLayer*> caches;
    for (KvLayer& cache : all.caches) caches.push_back(&cache);
    const std::array tensors{args.query, out};
    const RepeatedStep step{.whose = &batch, .tensors = tensors, .caches = caches, .sequences = 3};
    for (uint64_t token = 0; token < 4; ++token) {
      HeadsArgs plain_args = random_heads(3, kSizes, 250);
      const HeadsArgs values = random_heads(3, kSizes, 260 + 10 * token);
      plain_args.query = values.query;
      plain_args.key = values.key;
      plain_args.value = values.value;
      device.copy(values.query, args.query);
      device.copy(values.key, args.key);
      device.copy(values.value, args.value);
      device.repeat(step, [&] { device.fused()->attend_heads(args, all.slices, kScale, out); });
      device.copy(out, found);
      device.synchronize();
      plain().norm_rotate_append(plain_args, all.plain_slices);
      plain().attend(plain_args.query, all.plain_slices, kScale, expected);
      ASSERT_TRUE(near(found, expected, attention_tolerance()))
          << "answer " << answer << " token " << token;
      for (size_t i = 0; i < 3; ++i) ASSERT_EQ(all.caches[i].length, all.plain_caches[i].length);
    }
  }
}

}  // namespace
}  // namespace squint::test
