// One pass over the weights against the composition of plain ops, for sizes split into one task,
// several, and an uneven last one.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/feed_forward.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/state.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

constexpr Activation kActivations[] = {Activation::relu, Activation::gelu, Activation::swiglu};

FeedForwardWeights some_weights(std::int64_t C, std::int64_t F, Activation f, bool bias,
                                DType dtype) {
  Rng rng(1);
  const double in = 1 / std::sqrt(static_cast<double>(C));
  const auto matrix = [&](std::int64_t rows, std::int64_t cols) {
    Tensor w = randn({rows, cols}, rng, dtype);
    w.copy_from(w * in);
    return w;
  };
  FeedForwardWeights w{
      .w1 = matrix(F, C), .b1 = {}, .w2 = matrix(C, F), .b2 = {}, .w3 = {}, .b3 = {}};
  if (f == Activation::swiglu) w.w3 = matrix(F, C);
  if (!bias) return w;
  w.b1 = randn({F}, rng, dtype);
  w.b2 = randn({C}, rng, dtype);
  if (f == Activation::swiglu) w.b3 = randn({F}, rng, dtype);
  return w;
}

// Sizes (C, F): 1 x 1 is one element, 8 x 40 one task, the others several.
constexpr std::int64_t kSizes[][2] = {{1, 1}, {3, 5}, {8, 40}, {64, 777}, {128, 512}, {200, 1500}};

}  // namespace

TEST_CASE("feed_forward: one pass equals the reference, for few rows and for many") {
  const NoGrad guard;
  Rng rng(2);
  for (const auto& size : kSizes)
    for (const Activation f : kActivations)
      for (const bool bias : {true, false})
        for (const std::int64_t rows : {1, 2, 5, 8, 9}) {
          const std::int64_t C = size[0],
                             F = size[1];  // clang 14 cannot capture structured bindings
          CAPTURE(C);
          CAPTURE(F);
          CAPTURE(rows);
          const FeedForwardWeights w = some_weights(C, F, f, bias, DType::f64);
          const Tensor x = randn({rows, 1, C}, rng, DType::f64);
          const Tensor y = feed_forward(x, f, w), want = feed_forward_reference(x, f, w);
          CHECK(max_difference(y, want) <= 1e-11);
        }
}

TEST_CASE("feed_forward: float, views as x and as weights") {
  const NoGrad guard;
  Rng rng(3);
  FeedForwardWeights w = some_weights(128, 512, Activation::gelu, true, DType::f32);
  w.w1 = narrow(randn({600, 128}, rng), 0, 50, 512);
  w.w2 = transpose(randn({512, 128}, rng), 0, 1);
  const Tensor x = transpose(randn({128, 4}, rng), 0, 1);  // (4, 128), columns
  const Tensor y = feed_forward(x, Activation::gelu, w);
  const Tensor want = feed_forward_reference(x, Activation::gelu, w);
  CHECK(max_difference(y, want) <= 1e-5 * max_difference(want, zeros(want.shape())));
}

TEST_CASE("feed_forward: a row is bitwise independent of the threads and of the other rows") {
  const NoGrad guard;
  Rng rng(4);
  const FeedForwardWeights w = some_weights(128, 512, Activation::swiglu, true, DType::f32);
  const Tensor x = randn({8, 128}, rng);
  const int before = num_threads();
  set_num_threads(1);
  const Tensor alone = feed_forward(x, Activation::swiglu, w);
  for (const int threads : {2, 3, 4, 8}) {
    set_num_threads(threads);
    CHECK(max_difference(feed_forward(x, Activation::swiglu, w), alone) == 0);
  }
  set_num_threads(before);
  for (std::int64_t row = 0; row < 8; ++row)
    CHECK(max_difference(feed_forward(narrow(x, 0, row, 1), Activation::swiglu, w),
                         narrow(alone, 0, row, 1)) == 0);
}

TEST_CASE("feed_forward: gradients flow where they are required") {
  Rng rng(5);
  FeedForwardWeights w = some_weights(4, 6, Activation::gelu, true, DType::f64);
  for (Tensor* t : {&w.w1, &w.b1, &w.w2, &w.b2}) t->set_requires_grad();
  sum(feed_forward(randn({2, 4}, rng, DType::f64), Activation::gelu, w)).backward();
  for (Tensor* t : {&w.w1, &w.b1, &w.w2, &w.b2})
    CHECK(max_difference(t->grad(), zeros(t->shape(), DType::f64)) > 0);
}

TEST_CASE("feed_forward: an audit reports that the weights' path ends in it") {
  Rng rng(5);
  FeedForwardWeights w = some_weights(4, 6, Activation::gelu, true, DType::f64);
  for (Tensor* t : {&w.w1, &w.b1, &w.w2, &w.b2}) t->set_requires_grad();
  const GradientAudit audit;
  {
    const NoGrad guard;
    feed_forward(randn({2, 4}, rng, DType::f64), Activation::gelu, w);
  }
  const NamedTensors weights{{"w1", w.w1}, {"b1", w.b1}, {"w2", w.w2}, {"b2", w.b2}};
  const auto found = audit.findings(weights);
  CHECK(found.size() == 4);
  for (const auto& one : found) CHECK(one.cut_by == "feed_forward");
}

TEST_CASE("feed_forward: errors") {
  Rng rng(6);
  const FeedForwardWeights w = some_weights(4, 6, Activation::gelu, true, DType::f32);
  const auto gelu_of = [&](const Tensor& x, const FeedForwardWeights& weights) {
    return [&x, &weights] { feed_forward(x, Activation::gelu, weights); };
  };
  const Tensor x = zeros({2, 4}), wide = zeros({2, 5}), exact = zeros({2, 4}, DType::f64);
  CHECK(message_of<ShapeError>(gelu_of(wide, w)) ==
        "feed_forward: x (2, 5), w1 (6, 4) and w2 (4, 6): must be (..., C), (F, C) and (C, F)");
  CHECK(message_of<DTypeError>(gelu_of(exact, w)).find("w1 is f32, inputs are f64") !=
        std::string::npos);
  FeedForwardWeights other = w;
  other.b1 = zeros({4});
  CHECK(message_of<ShapeError>(gelu_of(x, other)) == "feed_forward: b1 (4,): must be (6,)");
  other = w;
  other.w3 = w.w1;
  CHECK(message_of<ValueError>(gelu_of(x, other)) ==
        "feed_forward: w3 is given: must be given for swiglu, and for swiglu only");
  CHECK(message_of<ValueError>([&] { feed_forward(x, Activation::swiglu, w); }) ==
        "feed_forward: w3 is undefined: must be given for swiglu, and for swiglu only");
}
