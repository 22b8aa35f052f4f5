// The checks that every backend relies on.
#include "ops/ops.h"

#include <gtest/gtest.h>

#include <vector>

#include "squint/backend.h"
#include "squint/error.h"

namespace squint {
namespace {

class Ops : public ::testing::Test {
 protected:
  // Zeros.
  static Tensor t(const Shape& shape, DType dtype = DType::f32) {
    const Tensor made = Tensor::on_host(dtype, shape);
    std::fill(made.raw(), made.raw() + made.bytes(), std::byte{0});
    return made;
  }

  BackendPtr backend_ = open_backend({.name = "reference", .threads = 1});
  Arena arena_{*backend_};
  Context cx_{.backend = *backend_, .scratch = arena_};
};

TEST_F(Ops, LinearChecksSizes) {
  LinearWeight w{.out_features = 2, .in_features = 3, .weight = t({2, 3}), .bias = {}};
  EXPECT_NO_THROW(ops::linear(cx_, t({4, 3}), w, t({4, 2})));
  EXPECT_THROW(ops::linear(cx_, t({4, 2}), w, t({4, 2})), InternalError);
  EXPECT_THROW(ops::linear(cx_, t({4, 3}), w, t({4, 3})), InternalError);
  EXPECT_THROW(ops::linear(cx_, t({4, 3}), w, t({5, 2})), InternalError);
  EXPECT_THROW(ops::linear(cx_, t({3}), w, t({4, 2})), InternalError);
  EXPECT_THROW(ops::linear(cx_, t({4, 3}, DType::bf16), w, t({4, 2})), InternalError);
  EXPECT_THROW(ops::linear(cx_, {}, w, t({4, 2})), InternalError);
  w.bias = t({3});
  EXPECT_THROW(ops::linear(cx_, t({4, 3}), w, t({4, 2})), InternalError);
}

TEST_F(Ops, LinearShowsItsInputToTheObserver) {
  struct Recorder : LinearObserver {
    void saw(const LinearWeight& weight, const Tensor& x) override {
      weights.push_back(&weight);
      rows.push_back(x.dim(0));
    }
    std::vector<const LinearWeight*> weights;
    std::vector<int64_t> rows;
  } recorder;
  const LinearWeight w{.out_features = 2, .in_features = 3, .weight = t({2, 3}), .bias = {}};
  cx_.observer = &recorder;
  ops::linear(cx_, t({4, 3}), w, t({4, 2}));
  EXPECT_EQ(recorder.weights, std::vector<const LinearWeight*>{&w});
  EXPECT_EQ(recorder.rows, std::vector<int64_t>{4});
}

TEST_F(Ops, TraceIsOptional) {
  struct Recorder : Trace {
    void saw(std::string_view name, int64_t index, const Tensor&) override {
      seen.push_back(std::string(name) + std::to_string(index));
    }
    std::vector<std::string> seen;
  } recorder;
  EXPECT_NO_THROW(cx_.show("block", 1, t({1})));
  cx_.trace = &recorder;
  cx_.show("block", 2, t({1}));
  EXPECT_EQ(recorder.seen, std::vector<std::string>{"block2"});
}

TEST_F(Ops, NormsCheckSizes) {
  EXPECT_NO_THROW(ops::rms_norm(cx_, t({2, 3, 4}), t({4}), 1e-6f, t({2, 3, 4})));
  EXPECT_THROW(ops::rms_norm(cx_, t({2, 4}), t({3}), 1e-6f, t({2, 4})), InternalError);
  EXPECT_THROW(ops::rms_norm(cx_, t({2, 4}), t({4}), 1e-6f, t({4, 2})), InternalError);
  EXPECT_NO_THROW(ops::layer_norm(cx_, t({2, 4}), t({4}), t({4}), 1e-6f, t({2, 4})));
  EXPECT_THROW(ops::layer_norm(cx_, t({2, 4}), t({4}), t({3}), 1e-6f, t({2, 4})), InternalError);
  EXPECT_THROW(ops::layer_norm(cx_, t({2, 4}), t({4}), {}, 1e-6f, t({2, 4})), InternalError);
}

TEST_F(Ops, RotateChecksSizes) {
  EXPECT_NO_THROW(ops::rotate(cx_, t({5, 2}), t({5, 2}), t({5, 3, 4})));
  EXPECT_THROW(ops::rotate(cx_, t({5, 2}), t({5, 2}), t({6, 3, 4})), InternalError);
  EXPECT_THROW(ops::rotate(cx_, t({5, 4}), t({5, 4}), t({5, 3, 4})), InternalError);
  EXPECT_THROW(ops::rotate(cx_, t({5, 2}), t({5, 1}), t({5, 3, 4})), InternalError);
  EXPECT_THROW(ops::rotate(cx_, t({5, 2}), t({5, 2}), t({5, 4})), InternalError);
}

TEST_F(Ops, CachesFillUpAndNoFurther) {
  KvLayer kv = ops::make_kv(cx_, 2, 4, 5);
  ops::append_kv(cx_, t({3, 2, 4}), t({3, 2, 4}), kv);
  EXPECT_EQ(kv.length, 3);
  EXPECT_THROW(ops::append_kv(cx_, t({3, 2, 4}), t({3, 2, 4}), kv), InternalError);
  EXPECT_THROW(ops::append_kv(cx_, t({1, 3, 4}), t({1, 3, 4}), kv), InternalError);
  EXPECT_THROW(ops::append_kv(cx_, t({1, 2, 4}), t({2, 2, 4}), kv), InternalError);
  EXPECT_EQ(kv.length, 3) << "refused calls change nothing";
  const Arena::Scope scope(arena_);
  EXPECT_EQ(ops::make_scratch_kv(cx_, 2, 4, 5).capacity, 5);
}

TEST_F(Ops, AttentionChecksSizes) {
  KvLayer kv = ops::make_kv(cx_, 2, 4, 5);
  AttentionArgs args{
      .query = t({3, 4, 4}), .kv = &kv, .first_position = 0, .causal = true, .scale = 1};
  EXPECT_THROW(ops::attention(cx_, args, t({3, 16})), InternalError) << "nothing to attend to";
  ops::append_kv(cx_, t({3, 2, 4}), t({3, 2, 4}), kv);
  EXPECT_NO_THROW(ops::attention(cx_, args, t({3, 16})));
  EXPECT_THROW(ops::attention(cx_, args, t({3, 8})), InternalError);
  args.first_position = 1;
  EXPECT_THROW(ops::attention(cx_, args, t({3, 16})), InternalError) << "keys not there yet";
  args.causal = false;
  EXPECT_NO_THROW(ops::attention(cx_, args, t({3, 16})));
  args.query = t({3, 3, 4});
  EXPECT_THROW(ops::attention(cx_, args, t({3, 12})), InternalError) << "3 heads on 2";
}

TEST_F(Ops, PointwiseOpsCheckSizes) {
  EXPECT_NO_THROW(ops::swiglu(cx_, t({2, 3}), t({2, 3}), t({2, 3})));
  EXPECT_THROW(ops::swiglu(cx_, t({2, 3}), t({3, 2}), t({2, 3})), InternalError);
  EXPECT_NO_THROW(ops::gelu(cx_, t({2, 3}), GeluKind::erf, t({2, 3})));
  EXPECT_THROW(ops::gelu(cx_, t({2, 3}), GeluKind::erf, t({2, 4})), InternalError);
  EXPECT_NO_THROW(ops::add(cx_, t({2, 3}), t({6})));
  EXPECT_THROW(ops::add(cx_, t({2, 3}), t({5})), InternalError);
}

TEST_F(Ops, SumsCheckSizes) {
  EXPECT_NO_THROW(ops::add_second_moment(cx_, t({2, 3}), t({3, 3})));
  EXPECT_THROW(ops::add_second_moment(cx_, t({2, 3}), t({2, 2})), InternalError);
  EXPECT_NO_THROW(ops::add_abs_sum(cx_, t({2, 3}), t({3})));
  EXPECT_THROW(ops::add_abs_sum(cx_, t({2, 3}), t({2})), InternalError);
  EXPECT_EQ(ops::dot(cx_, t({2, 3}), t({2, 3})), 0);
  EXPECT_THROW(ops::dot(cx_, t({2, 3}), t({3, 2})), InternalError);
}

TEST_F(Ops, QuantizingChecksSizes) {
  const QuantizationScheme scheme{.group_size = 4};
  const QuantizedWeight out = QuantizedWeight::on_host(2, 8, scheme);
  const Tensor w = t({2, 8}, DType::bf16);
  EXPECT_NO_THROW(ops::quantize_weight(cx_, w, scheme, Observer::minmax, out));
  EXPECT_THROW(ops::quantize_weight(cx_, t({2, 8}), scheme, Observer::minmax, out), InternalError);
  EXPECT_THROW(ops::quantize_weight(cx_, w, {.group_size = 3}, Observer::minmax, out),
               InternalError);
  EXPECT_THROW(ops::quantize_weight(cx_, w, {.group_size = 8}, Observer::minmax, out),
               InternalError);
  EXPECT_NO_THROW(ops::quantization_error(cx_, w, {}, scheme, t({2, 8})));
  EXPECT_THROW(ops::quantization_error(cx_, w, t({2}), scheme, t({2, 8})), InternalError);
  EXPECT_THROW(ops::quantization_error(cx_, w, {}, scheme, t({8, 2})), InternalError);
}

}  // namespace
}  // namespace squint
