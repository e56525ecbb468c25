// Linear attention by running sums against its reference and naive loops, and its memory bound.
#include <fovea/core/autograd.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

struct Sizes {
  std::int64_t B, T, S, D, E;
};

struct Problem {
  std::vector<Tensor> inputs;  // q, k, v: leaves
  Tensor dy;

  Problem to(DType dtype) const {
    Problem p{{}, dy.to(dtype)};
    for (const Tensor& x : inputs)
      p.inputs.push_back(x.detach().to(dtype).clone().set_requires_grad());
    return p;
  }
};

Problem random_problem(const Sizes& n) {
  Rng rng(7);
  Problem p;
  for (const Shape& shape : {Shape{n.B, n.T, n.D}, Shape{n.B, n.S, n.D}})
    p.inputs.push_back(rand(shape, rng, DType::f64).set_requires_grad());
  p.inputs.push_back(randn({n.B, n.S, n.E}, rng, DType::f64).set_requires_grad());
  p.dy = randn({n.B, n.T, n.E}, rng, DType::f64);
  return p;
}

// The three gradients and the output.
template <class F>
std::vector<Tensor> results(const F& attention, const Problem& p, const Mask& mask) {
  const Tensor y = attention(p.inputs[0], p.inputs[1], p.inputs[2], mask);
  std::vector<Tensor> all = grad({&y, 1}, p.inputs, {&p.dy, 1});
  all.push_back(y);
  return all;
}

std::vector<Mask> masks_for(const Sizes& n) {
  std::vector<std::int64_t> lengths, prefixes;
  for (std::int64_t b = 0; b < n.B; ++b) {
    lengths.push_back((b * 3 + n.S) % (n.S + 1));  // including 0
    prefixes.push_back((b * 2) % (n.S + 1));
  }
  const Mask causal = Mask::causal(Mask::Corner::bottom_right);
  return {Mask::none(),
          Mask::lengths(lengths),
          causal,
          Mask::causal(Mask::Corner::top_left),
          causal & Mask::lengths(lengths),
          Mask::prefix_lm(prefixes, Mask::Corner::bottom_right),
          Mask::window(-1, 2, Mask::Corner::top_left)};
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

}  // namespace

TEST_CASE("linear_attention: running sums equal the (T, S) weights, values and gradients") {
  for (const Sizes n : {Sizes{1, 1, 1, 1, 1},
                        {2, 5, 5, 3, 4},
                        {3, 4, 9, 2, 70},
                        {2, 9, 4, 5, 1},
                        {1, 33, 33, 17, 130}}) {
    const Problem p = random_problem(n);
    for (const Mask& mask : masks_for(n)) {
      CAPTURE(n.E);
      CAPTURE(mask.describe(n.B, n.T, n.S));
      const auto found = results(linear_attention, p, mask);
      const auto expected = results(linear_attention_reference, p, mask);
      const auto in_f32 = results(linear_attention, p.to(DType::f32), mask);
      // Sums of S (or T) D products, divided by sums of the same size.
      const double terms = static_cast<double>(8 + n.D * (n.S + n.T)), eps = 1.2e-7;
      for (std::size_t i = 0; i < expected.size(); ++i) {
        CAPTURE(i);
        const double scale = 1 + largest(expected[i]);
        CHECK(max_difference(found[i], expected[i]) <= 1e-12 * scale);
        CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <= terms * eps * scale);
      }
    }
  }
}

TEST_CASE("linear_attention: values by naive loops") {
  const Sizes n{2, 4, 4, 3, 2};
  const Problem p = random_problem(n);
  const Tensor y = linear_attention(p.inputs[0], p.inputs[1], p.inputs[2],
                                    Mask::causal() & Mask::lengths({4, 2}));
  const auto q = p.inputs[0].to_vector<double>(), k = p.inputs[1].to_vector<double>(),
             v = p.inputs[2].to_vector<double>();
  for (std::int64_t b = 0; b < n.B; ++b)
    for (std::int64_t t = 0; t < n.T; ++t) {
      std::vector<double> sums(2);
      double total = 0;
      for (std::int64_t s = 0; s <= t && s < (b == 0 ? 4 : 2); ++s) {
        double a = 0;
        for (std::int64_t d = 0; d < n.D; ++d)
          a += q[static_cast<std::size_t>((b * n.T + t) * n.D + d)] *
               k[static_cast<std::size_t>((b * n.S + s) * n.D + d)];
        total += a;
        for (std::size_t e = 0; e < 2; ++e)
          sums[e] += a * v[static_cast<std::size_t>((b * n.S + s) * n.E) + e];
      }
      for (std::size_t e = 0; e < 2; ++e)
        CHECK(y.data<double>()[static_cast<std::size_t>((b * n.T + t) * n.E) + e] ==
              doctest::Approx(sums[e] / total).epsilon(1e-12));
    }
}

TEST_CASE("elu_feature") {
  const Tensor y = elu_feature(tensor({-1, 0, 2, -200}));
  CHECK(max_difference(y, tensor({std::exp(-1.0f), 1, 3, 0})) <= 1e-6);
  Tensor x = tensor({-1, 0, 2, -200});
  x.set_requires_grad();
  sum(elu_feature(x)).backward();
  CHECK(max_difference(x.grad(), tensor({std::exp(-1.0f), 1, 1, 0})) <= 1e-6);
}

TEST_CASE(
    "linear_attention: a fully masked row, or one with all weights 0, has zero output and "
    "gradients") {
  const Problem p = random_problem({2, 3, 4, 5, 2});
  const auto all = results(linear_attention, p, Mask::lengths({4, 0}));
  for (const Tensor& x : all) {
    CHECK(largest(select(x, 0, 1)) == 0);
    CHECK(largest(select(x, 0, 0)) > 0);
  }
  Problem without = random_problem({1, 2, 3, 4, 2});
  without.inputs[0] = zeros({1, 2, 4}, DType::f64).set_requires_grad();
  for (const auto& attention : {linear_attention, linear_attention_reference})
    for (const Tensor& x : results(attention, without, Mask::none())) {
      CAPTURE(x.shape().str());
      CHECK(largest(x) == 0);
    }
}

TEST_CASE("linear_attention: masked and future keys have no effect, not even NaN") {
  Problem p = random_problem({1, 3, 5, 4, 2});
  const Mask mask = Mask::lengths({3});
  const auto before = results(linear_attention, p, mask);
  for (const std::size_t i : {1, 2}) narrow(p.inputs[i].detach(), 1, 3, 2).fill(std::nan(""));
  const auto after = results(linear_attention, p, mask);
  for (std::size_t i = 0; i < before.size(); ++i) CHECK(max_difference(before[i], after[i]) == 0);

  Problem causal = random_problem({1, 5, 5, 4, 2});
  const Tensor y = results(linear_attention, causal, Mask::causal())[3];
  for (const std::size_t i : {1, 2}) narrow(causal.inputs[i].detach(), 1, 3, 2).fill(std::nan(""));
  const Tensor z = results(linear_attention, causal, Mask::causal())[3];
  CHECK(max_difference(narrow(y, 1, 0, 3), narrow(z, 1, 0, 3)) == 0);
}

TEST_CASE("linear_attention: weights of some queries") {
  const Problem p = random_problem({2, 4, 4, 3, 2});
  const Mask mask = Mask::causal() & Mask::lengths({4, 0});
  const Tensor eye4 = broadcast_to(eye(4, DType::f64), {2, 4, 4});
  const Tensor all = linear_attention_reference(p.inputs[0], p.inputs[1], eye4, mask);
  const Tensor some = linear_attention_weights(p.inputs[0], p.inputs[1], mask, 1, 3);
  CHECK(max_difference(some, narrow(all, 1, 1, 2)) <= 1e-15);
  CHECK_FALSE(some.requires_grad());
}

TEST_CASE(
    "linear_attention: bitwise equal for any number of threads, and close for each instruction "
    "set") {
  const int before = num_threads();
  const kernels::Isa isa = kernels::active_isa();
  const Sizes n{5, 37, 37, 17, 150};
  const Problem p = random_problem(n).to(DType::f32);
  for (const Mask& mask : {Mask::none(), Mask::causal()}) {
    set_num_threads(1);
    const auto expected = results(linear_attention, p, mask);
    for (const int threads : {2, 3, 8}) {
      set_num_threads(threads);
      const auto found = results(linear_attention, p, mask);
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) == 0);
    }
    for (const kernels::Isa other : {kernels::Isa::baseline, kernels::Isa::v3, kernels::Isa::v4}) {
      if (kernels::set_isa(other) != other) continue;  // not supported by this processor
      const auto found = results(linear_attention, p, mask);
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) <= 1e-4 * (1 + largest(expected[i])));
    }
    kernels::set_isa(isa);
  }
  set_num_threads(before);
}

TEST_CASE("linear_attention: memory is linear in T, not quadratic") {
  const auto peak = [](std::int64_t T) {
    const Problem p = random_problem({1, T, T, 8, 8}).to(DType::f32);
    const std::int64_t before = memory_stats().live_bytes;
    reset_peak_memory();
    results(linear_attention, p, Mask::causal());
    return static_cast<double>(memory_stats().peak_bytes - before);
  };
  const double small = peak(2048), large = peak(8192);
  CHECK(large <= 4.5 * small);
  CHECK(large < 8192.0 * 8192.0);  // one byte per pair would be more
}

TEST_CASE("linear_attention: no queries, no keys, no batch, no values") {
  for (const Sizes n :
       {Sizes{2, 0, 3, 4, 5}, {2, 3, 0, 4, 5}, {0, 2, 3, 4, 5}, {2, 3, 3, 4, 0}, {2, 3, 3, 0, 4}}) {
    const auto all = results(linear_attention, random_problem(n), Mask::none());
    CHECK(all[3].shape() == Shape{n.B, n.T, n.E});
    for (const Tensor& x : all) CHECK(std::isfinite(largest(x)));
  }
}

TEST_CASE("linear_attention: errors") {
  const Tensor q = zeros({2, 3, 4}), v = zeros({2, 3, 5});
  const auto under = [&](const Mask& mask) {
    return message_of<ValueError>([&] { linear_attention(q, q, v, mask); });
  };
  const Tensor table = ones({3, 3}).to(DType::boolean);
  CHECK(under(Mask::keep(table)) ==
        "linear_attention: mask: must be lengths, causal, prefix_lm or & of these: running sums "
        "cannot skip single keys (Mask::keep or drop)");
  const std::string lets_go =
      "linear_attention: mask: must be lengths, causal, prefix_lm or & of these: running sums "
      "cannot remove keys (Mask::window with a left bound, or Mask::documents)";
  CHECK(under(Mask::window(1, 0)) == lets_go);
  const auto ids = [](const std::vector<std::int64_t>& values) {
    return Mask::documents(from_data(values, {3}));
  };
  CHECK(under(ids({0, 1, 1})) == lets_go);
  CHECK(under(ids({0, 1, 0})) == lets_go);
  CHECK(under(ids({1, 1, 1})) == "no error");
  CHECK(message_of<ShapeError>([&] {
          linear_attention(q, zeros({2, 3, 3}), v);
        }) ==
        "linear_attention: q (2, 3, 4), k (2, 3, 3), v (2, 3, 5): must be (B, T, D), (B, S, D), "
        "(B, S, E)");
  CHECK(message_of<DTypeError>([&] { linear_attention(q, q, v.to(DType::f64)); }) ==
        "linear_attention: q f32, k f32, v f64: dtypes must be equal");
}
