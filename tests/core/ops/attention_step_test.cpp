// The fused step against the reference in plain ops: outputs, and the cache afterwards.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention_step.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

struct Setting {
  std::int64_t B = 1, C = 16, H = 4, G = 4, D = 4;
  std::int64_t slots = 12, window = 12, steps = 12;
  bool packed = true, bias = true;
  std::optional<RopeOptions> rope = {};
  DType dtype = DType::f64;
};

struct Layer {
  Setting s;
  AttentionStepWeights weights;
  Tensor keys, values;

  explicit Layer(const Setting& setting) : s(setting) {
    Rng rng(1);
    const std::int64_t Q = s.H * s.D, KV = s.G * s.D;
    const auto matrix = [&](std::int64_t rows, std::int64_t cols) {
      return randn({rows, cols}, rng, s.dtype) * (1 / std::sqrt(static_cast<double>(cols)));
    };
    const Tensor all = matrix(Q + 2 * KV, s.C);
    weights.q = s.packed ? all : narrow(all, 0, 0, Q);
    if (!s.packed) weights.k = narrow(all, 0, Q, KV);
    if (!s.packed) weights.v = narrow(all, 0, Q + KV, KV);
    weights.out = matrix(s.C, Q);
    if (s.bias) weights.bias = randn({Q + 2 * KV}, rng, s.dtype);
    if (s.bias) weights.out_bias = randn({s.C}, rng, s.dtype);
    weights.rope = s.rope;
    // Unwritten slots must not be read.
    keys = full({s.B, s.G, s.slots, s.D}, std::nan(""), s.dtype);
    values = keys.clone();
  }

  AttentionStepCache at(std::int64_t m) const {
    return {keys, values, m, std::min(m + 1, s.window)};
  }
};

// The largest difference between both implementations, over some steps and the whole cache.
double difference(const Setting& s) {
  const NoGrad guard;
  const Layer one(s), plain(s);
  Rng rng(2);
  double largest = 0;
  for (std::int64_t m = 0; m < s.steps; ++m) {
    const Tensor x = randn({s.B, 1, s.C}, rng, s.dtype);
    const Tensor y = attention_step(x, one.weights, one.at(m));
    const Tensor want = attention_step_reference(x, plain.weights, plain.at(m));
    largest = std::max({largest, max_difference(y, want), max_difference(one.keys, plain.keys),
                        max_difference(one.values, plain.values)});
  }
  return largest;
}

}  // namespace

TEST_CASE("attention_step: outputs and cache equal the reference") {
  CHECK(difference({}) <= 1e-12);
  CHECK(difference({.bias = false}) <= 1e-12);
  CHECK(difference({.B = 3, .packed = false}) <= 1e-12);
  CHECK(difference({.B = 2, .H = 6, .G = 2, .packed = false}) <= 1e-12);
  CHECK(difference({.H = 6, .G = 1, .D = 5}) <= 1e-12);
  CHECK(difference({.C = 1, .H = 1, .G = 1, .D = 1}) <= 1e-12);
  // Several tasks, the last one smaller: 5 key heads of 16K weights each.
  CHECK(difference({.B = 2, .C = 128, .H = 5, .G = 5, .D = 32}) <= 1e-12);
  CHECK(difference({.B = 8, .C = 256, .H = 8, .G = 4, .D = 32, .packed = false}) <= 1e-12);
}

TEST_CASE(
    "attention_step: a ring buffer, whose oldest keys are overwritten or no longer attended") {
  CHECK(difference({.slots = 5, .window = 5, .steps = 23}) <= 1e-12);
  CHECK(difference({.B = 2, .G = 2, .slots = 7, .window = 3, .steps = 23}) <= 1e-12);
  CHECK(difference({.slots = 12, .window = 1}) <= 1e-12);
}

TEST_CASE("attention_step: rope") {
  for (const RopePairing pairing : {RopePairing::interleaved, RopePairing::halves})
    for (const std::int64_t dims : {0, 2}) {
      const RopeOptions rope{.base = 100, .pairing = pairing, .dims = dims};
      CHECK(difference({.B = 2, .rope = rope}) <= 1e-12);
      CHECK(difference({.H = 4, .G = 2, .slots = 4, .window = 4, .packed = false, .rope = rope}) <=
            1e-12);
    }
}

TEST_CASE("attention_step: float") {
  CHECK(difference(
            {.C = 128, .D = 32, .slots = 40, .window = 40, .steps = 40, .dtype = DType::f32}) <=
        1e-5);
}

TEST_CASE("attention_step: a row is bitwise independent of the threads and of the other rows") {
  const NoGrad guard;
  const Setting s{.B = 4, .C = 128, .H = 8, .G = 4, .D = 32, .packed = false, .dtype = DType::f32};
  const int before = num_threads();
  std::vector<Tensor> first;
  for (const int threads : {1, 2, 3, 4, 8}) {
    set_num_threads(threads);
    const Layer layer(s);
    Rng rng(3);
    for (std::int64_t m = 0; m < 6; ++m) {
      const Tensor y = attention_step(randn({4, 1, 128}, rng), layer.weights, layer.at(m));
      if (threads == 1)
        first.push_back(y);
      else
        CHECK(max_difference(y, first[static_cast<std::size_t>(m)]) == 0);
    }
  }
  set_num_threads(before);
  Setting one = s;
  one.B = 1;
  for (std::int64_t b = 0; b < 4; ++b) {
    const Layer layer(one);
    Rng rng(3);
    for (std::int64_t m = 0; m < 6; ++m) {
      const Tensor x = narrow(randn({4, 1, 128}, rng), 0, b, 1);
      CHECK(max_difference(attention_step(x, layer.weights, layer.at(m)),
                           narrow(first[static_cast<std::size_t>(m)], 0, b, 1)) == 0);
    }
  }
}

TEST_CASE("attention_step: errors") {
  const Layer layer{Setting{}};
  const Tensor x = zeros({1, 1, 16}, DType::f64);
  const auto step = [&](const Tensor& in, const AttentionStepWeights& w,
                        const AttentionStepCache& cache) {
    return [&] { attention_step(in, w, cache); };
  };
  const AttentionStepCache cache = layer.at(0);
  const Tensor two = zeros({1, 2, 16}, DType::f64), narrow_x = zeros({1, 1, 15}, DType::f64);
  CHECK(message_of<ShapeError>(step(two, layer.weights, cache))
            .find("attention_step: x (1, 2, 16), keys (1, 4, 12, 4)") == 0);
  CHECK(message_of<ShapeError>(step(narrow_x, layer.weights, cache)) ==
        "attention_step: q (48, 16): must be (48, 15)");
  const Tensor float_x = zeros({1, 1, 16});
  CHECK(message_of<DTypeError>(step(float_x, layer.weights, cache)) ==
        "attention_step: q is f64, inputs are f32: dtypes must be equal");
  for (const std::int64_t count : {0, 2, 13}) {
    AttentionStepCache wrong = cache;
    wrong.count = count;
    CHECK(message_of<ValueError>(step(x, layer.weights, wrong)).find("attention_step: ") == 0);
  }
  AttentionStepWeights rope = layer.weights;
  rope.rope = RopeOptions{.dims = 3};
  CHECK(message_of<ValueError>(step(x, rope, cache)) ==
        "attention_step: rope dims = 3 with head width 4: must be even and at most the head width");
  const std::string wanted = "attention_step: gradients are not supported with a cache: use NoGrad";
  const Layer apart{Setting{.packed = false}};
  using W = AttentionStepWeights;
  for (Tensor W::*const member : {&W::q, &W::k, &W::v, &W::bias, &W::out, &W::out_bias}) {
    W trained = apart.weights;
    trained.*member = (trained.*member).detach().set_requires_grad();
    CHECK(message_of<StateError>(step(x, trained, apart.at(0))) == wanted);
  }
  const Tensor trained_x = x.clone().set_requires_grad();
  CHECK(message_of<StateError>(step(trained_x, layer.weights, cache)) == wanted);
}
