// checkpoint() has the values and gradients of the plain function and saves less memory.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

using Function = std::function<Tensor(std::span<const Tensor>)>;

Tensor random_leaf(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed);
  return randn(shape, rng, DType::f64).set_requires_grad();
}

struct Outcome {
  Tensor value;
  std::vector<Tensor> gradients;
};

Outcome outcome(const Tensor& y, const std::vector<Tensor>& leaves) {
  return {y.detach(), grad(std::span(&y, 1), leaves)};
}

void check_equal(const Outcome& a, const Outcome& b) {
  CHECK(max_difference(a.value, b.value) == 0);
  for (std::size_t i = 0; i < a.gradients.size(); ++i)
    CHECK(max_difference(a.gradients[i], b.gradients[i]) <= 1e-14);
}

}  // namespace

TEST_CASE("values and gradients equal those of the plain function, including captured parameters") {
  const Tensor x = random_leaf({4, 3}, 1), z = random_leaf({4, 3}, 2), w = random_leaf({3, 3}, 3);
  const Function f = [&w](std::span<const Tensor> in) { return tanh(matmul(in[0] * in[1], w)); };
  const Tensor inputs[] = {x, z};
  const std::vector<Tensor> leaves{x, z, w};
  check_equal(outcome(sum(checkpoint(f, inputs)), leaves), outcome(sum(f(inputs)), leaves));
}

TEST_CASE("a captured parameter that is also used outside, and nested checkpoints") {
  const Tensor x = random_leaf({4, 3}, 1), w = random_leaf({3, 3}, 3);
  const Function inner = [&w](std::span<const Tensor> in) { return tanh(matmul(in[0], w)); };
  const Function plain = [&](std::span<const Tensor> in) {
    const Tensor h = inner(in) + 1.0;
    return inner({&h, 1});
  };
  const Function nested = [&](std::span<const Tensor> in) {
    const Tensor h = checkpoint(inner, in) + 1.0;
    return checkpoint(inner, {&h, 1});
  };
  const std::vector<Tensor> leaves{x, w};
  const auto loss = [&](const Tensor& y) { return sum(y) + sum(w * w) + sum(x); };
  const Outcome expected = outcome(loss(plain({&x, 1})), leaves);
  check_equal(outcome(loss(checkpoint(nested, {&x, 1})), leaves), expected);
  loss(checkpoint(nested, {&x, 1})).backward();
  CHECK(max_difference(w.grad(), expected.gradients[1]) <= 1e-14);
}

TEST_CASE("one input computed from another: the partial derivatives stay separate") {
  const Tensor x = random_leaf({3}, 1);
  const Tensor h = x * x;
  const Tensor inputs[] = {x, h};
  const Function f = [](std::span<const Tensor> in) { return in[0] * in[1]; };
  CHECK(max_difference(grad(sum(checkpoint(f, inputs)), x), 3.0 * (x * x).detach()) <= 1e-14);
}

TEST_CASE("a function that returns its input, and one that does not require a gradient") {
  const Tensor x = random_leaf({3}, 1), constant = ones({3}, DType::f64);
  const Function same = [](std::span<const Tensor> in) { return in[0]; };
  CHECK(max_difference(grad(sum(checkpoint(same, {&x, 1}) * 2.0), x), constant * 2.0) == 0);
  CHECK_FALSE(checkpoint(same, {&constant, 1}).requires_grad());
  const Function twice = [](std::span<const Tensor> in) { return in[0] * 2.0; };
  const NoGrad guard;
  CHECK_FALSE(checkpoint(twice, {&x, 1}).requires_grad());
}

TEST_CASE("an undefined input is an error, recorded or not") {
  const Tensor inputs[] = {random_leaf({3}, 1), Tensor()};
  const Function first = [](std::span<const Tensor> in) { return in[0] * 2.0; };
  const auto call = [&] { checkpoint(first, inputs); };
  const std::string message = "checkpoint: input 1 is undefined";
  CHECK(message_of<StateError>(call) == message);
  const NoGrad guard;
  CHECK(message_of<StateError>(call) == message);
}

TEST_CASE("an overwritten input is an error") {
  const Tensor x = random_leaf({3}, 1);
  Tensor h = x * 2.0;
  const Function f = [](std::span<const Tensor> in) { return exp(in[0]); };
  const Tensor y = sum(checkpoint(f, {&h, 1}));
  h.fill(0);
  CHECK_THROWS_AS(y.backward(), StateError);
}

TEST_CASE("a chain of checkpointed blocks saves only the inputs of the blocks") {
  constexpr std::int64_t n = 10'000, blocks = 10, bytes = 8 * n;
  const Tensor x = random_leaf({n}, 1);
  const Function block = [](std::span<const Tensor> in) {
    Tensor h = in[0];
    for (int i = 0; i < 10; ++i) h = tanh(h);
    return h;
  };
  const auto run = [&](bool checkpointed) {
    const std::int64_t before = memory_stats().live_bytes;
    Tensor h = x;
    for (int b = 0; b < blocks; ++b) h = checkpointed ? checkpoint(block, {&h, 1}) : block({&h, 1});
    const std::int64_t kept = memory_stats().live_bytes - before;
    reset_peak_memory();
    const Tensor g = grad(sum(h), x);
    const std::int64_t peak = memory_stats().peak_bytes - before;
    return std::tuple{kept / bytes, peak / bytes, g};
  };
  const auto [plain_kept, plain_peak, plain_gradient] = run(false);
  const auto [kept, peak, gradient] = run(true);
  CHECK(plain_kept == 100);
  CHECK(kept == blocks);
  CHECK(plain_peak >= 100);
  CHECK(peak <= blocks + 10 + 5);  // one block at a time is recomputed
  CHECK(max_difference(gradient, plain_gradient) == 0);
}

TEST_CASE("backward_by_reference differentiates twice") {
  const Tensor x = random_leaf({3}, 1);
  const auto cube = [](const Tensor& in) {
    Tensor y;
    {
      const NoGrad computing;
      y = in * in * in;
    }
    return record<"test_cube">(
        y, {in}, [in = keep(in)](const Tensor& dy, NeedsGrad needs_grad) -> Grads {
          if (!grad_enabled()) return {dy * 3.0 * in.get() * in.get()};
          const auto reference = [](const std::vector<Tensor>& t) {
            return std::vector<Tensor>{t[0] * t[0] * t[0]};
          };
          const Tensor inputs[] = {in};
          return backward_by_reference(reference, inputs, {&dy, 1}, needs_grad);
        });
  };
  const Tensor first = grad(sum(cube(x)), x, {.create_graph = true});
  CHECK(max_difference(first, 3.0 * (x * x).detach()) <= 1e-14);
  CHECK(max_difference(grad(sum(first), x), 6.0 * x.detach()) <= 1e-14);
}

namespace {

// Values, gradients and draws of f(inputs, rng) are bitwise the same with and without checkpoint().
void check_same_draws(const std::function<Tensor(std::span<const Tensor>, Rng&)>& f,
                      std::vector<Tensor> inputs) {
  const auto run = [&](bool checkpointed) {
    Rng rng(7);
    rng.next_u64();  // in the middle of a block
    const Function bound = [&](std::span<const Tensor> in) { return f(in, rng); };
    const Tensor y = checkpointed ? checkpoint(bound, inputs) : bound(inputs);
    const RngState after_forward = rng.state();
    rng.uniform();  // draws between forward and backward
    const RngState before_backward = rng.state();
    Outcome found = outcome(sum(y * y), inputs);
    CHECK(rng.state() == before_backward);
    return std::pair{found, after_forward};
  };
  const auto [plain, plain_state] = run(false);
  const auto [again, state] = run(true);
  CHECK(state == plain_state);
  CHECK(max_difference(plain.value, again.value) == 0);
  for (std::size_t i = 0; i < inputs.size(); ++i)
    CHECK(max_difference(plain.gradients[i], again.gradients[i]) == 0);
}

}  // namespace

TEST_CASE("random functions are recomputed with the same draws") {
  const Tensor x = random_leaf({40, 5}, 1);
  SUBCASE("dropout") {
    check_same_draws([](auto in, Rng& rng) { return dropout(in[0], 0.5, rng); }, {x});
  }
  SUBCASE("relu_dropout, twice") {
    check_same_draws(
        [](auto in, Rng& rng) { return relu_dropout(dropout(in[0], 0.3, rng), 0.5, rng); }, {x});
  }
  SUBCASE("rand and randn") {
    check_same_draws(
        [](auto in, Rng& rng) {
          return in[0] * rand(in[0].shape(), rng, DType::f64) +
                 randn(in[0].shape(), rng, DType::f64);
        },
        {x});
  }
  SUBCASE("single draws and a shuffle") {
    check_same_draws(
        [](auto in, Rng& rng) {
          std::vector<double> factors{1, 2, 3, 4, 5};
          rng.shuffle(factors);
          return in[0] * from_data(factors, {5}) * (rng.chance(0.5) ? rng.normal() : rng.uniform());
        },
        {x});
  }
  SUBCASE("attention's dropout") {
    const std::vector<Tensor> qkv{random_leaf({1, 2, 6, 4}, 1), random_leaf({1, 2, 6, 4}, 2),
                                  random_leaf({1, 2, 6, 4}, 3)};
    check_same_draws(
        [](auto in, Rng& rng) {
          return scaled_dot_product_attention(in[0], in[1], in[2], Mask::causal(),
                                              {.dropout = 0.4, .rng = &rng});
        },
        qkv);
  }
  SUBCASE("a copy of the generator, and a generator local to the function") {
    check_same_draws(
        [](auto in, Rng& rng) {
          Rng copy = rng, own(3), from_state(rng.state());
          const Tensor h = dropout(dropout(in[0], 0.2, copy), 0.2, own);
          return dropout(dropout(h, 0.2, from_state), 0.2, rng);
        },
        {x});
  }
  SUBCASE("a generator that the function resets") {
    check_same_draws(
        [](auto in, Rng& rng) {
          const Tensor h = dropout(in[0], 0.2, rng);
          rng.set_state({.seed = 5});
          return dropout(h, 0.2, rng);
        },
        {x});
  }
  SUBCASE("nested checkpoints") {
    check_same_draws(
        [](auto in, Rng& rng) {
          const Function inner = [&rng](std::span<const Tensor> h) {
            return dropout(h[0] * 2.0, 0.5, rng);
          };
          const Tensor h = checkpoint(inner, in);
          return dropout(checkpoint(inner, {&h, 1}), 0.5, rng);
        },
        {x});
  }
}

TEST_CASE("a gradient audit includes inner parameters but not placeholders of the inputs") {
  const Tensor x = random_leaf({4, 3}, 1), w = random_leaf({3, 3}, 3);
  const Function f = [&w](std::span<const Tensor> in) { return tanh(matmul(in[0], w)); };
  const GradientAudit audit;
  const Tensor h = x * 2.0;
  sum(checkpoint(f, {&h, 1})).backward();
  using Named = std::vector<std::pair<std::string, Tensor>>;
  CHECK(audit.report(Named{{"x", x}, {"w", w}}) ==
        "every parameter got a finite, non-zero gradient\n");
  CHECK(audit.report(Named{{"x", x}}) ==
        "a leaf (3, 3) that matmul uses is not among the parameters: does visit() name its "
        "module?\n");
}

TEST_CASE("two generators, the second derivative, and a recomputation that throws") {
  const Tensor x = random_leaf({40}, 1);
  Rng a(1), b(2);
  bool fails = false;
  const Function f = [&](std::span<const Tensor> in) {
    const Tensor h = dropout(in[0] * in[0] * in[0], 0.5, a);
    if (fails) value_error("f", "fails");
    return dropout(h, 0.5, b);
  };
  const auto second = [&](bool checkpointed) {
    a = Rng(1);
    b = Rng(2);
    const Tensor y = checkpointed ? checkpoint(f, {&x, 1}) : f({&x, 1});
    return grad(sum(grad(sum(y), x, {.create_graph = true})), x);
  };
  CHECK(max_difference(second(true), second(false)) == 0);

  const Tensor y = sum(checkpoint(f, {&x, 1}));
  const RngState at_a = a.state(), at_b = b.state();
  fails = true;
  CHECK_THROWS_AS(y.backward(), ValueError);
  CHECK(a.state() == at_a);
  CHECK(b.state() == at_b);
}
