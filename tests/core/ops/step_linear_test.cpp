// StepLinear equals a linear layer of [x; z], step by step.
#include <fovea/core/autograd.h>
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/step_linear.h>
#include <fovea/core/random.h>
#include <fovea/core/storage.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

constexpr std::int64_t B = 3, T = 4, E = 5, Z = 2, out = 6;

// inputs: x (B, T, E), weight, bias, the first z (B, Z). Each later z depends on the previous step.
using Inputs = std::vector<Tensor>;

Tensor next_z(const Tensor& y) { return tanh(slice(y, 1, 0, Z)); }

Tensor by_steps(const Inputs& in) {
  StepLinear step(in[0], in[1], in[2]);
  std::vector<Tensor> ys;
  Tensor z = in[3];
  for (std::int64_t t = 0; t < T; ++t) {
    ys.push_back(step(z));
    z = next_z(ys.back());
  }
  return stack(ys, 1);  // (B, T, out)
}

Tensor by_definition(const Inputs& in) {
  std::vector<Tensor> ys;
  Tensor z = in[3];
  for (std::int64_t t = 0; t < T; ++t) {
    ys.push_back(linear(concat({select(in[0], 1, t), z}, 1), in[1], in[2]));
    z = next_z(ys.back());
  }
  return stack(ys, 1);
}

Inputs random_inputs() {
  Rng rng(3);
  Inputs in{randn({B, T, E}, rng, DType::f64), randn({out, E + Z}, rng, DType::f64),
            randn({out}, rng, DType::f64), randn({B, Z}, rng, DType::f64)};
  for (Tensor& x : in) x.set_requires_grad();
  return in;
}

// A loss with a different weight for each element.
Tensor loss_of(const Tensor& y) {
  Rng rng(4);
  return sum(square(y) * randn(y.shape(), rng, y.dtype()));
}

}  // namespace

TEST_CASE("StepLinear: values and gradients equal the reference, in a second run too") {
  Inputs in = random_inputs(), want = random_inputs();
  const Tensor y = by_steps(in), expected = by_definition(want);
  CHECK(test::max_difference(y, expected) <= 1e-12);
  for (int times = 0; times < 2; ++times) {
    loss_of(y).backward({}, {.retain_graph = true});
    loss_of(expected).backward({}, {.retain_graph = true});
    for (std::size_t i = 0; i < in.size(); ++i) {
      CAPTURE(i);
      CHECK(test::max_difference(in[i].grad(), want[i].grad()) <= 1e-11);
    }
  }
}

TEST_CASE("StepLinear: first and second derivatives, by finite differences") {
  const auto first = gradcheck(by_steps, random_inputs());
  CHECK_MESSAGE(first.ok, first.message);
  const auto second = gradgradcheck(by_steps, random_inputs());
  CHECK_MESSAGE(second.ok, second.message);
}

TEST_CASE("StepLinear: without a late part, without a bias, and with a frozen weight") {
  const Inputs in = random_inputs();
  const Tensor narrow_weight = slice(in[1], 1, 0, E).detach().clone().set_requires_grad();
  StepLinear plain(in[0], narrow_weight, {});
  std::vector<Tensor> ys;
  for (std::int64_t t = 0; t < T; ++t) ys.push_back(plain({}));
  const Tensor y = stack(ys, 1), expected = linear(in[0], narrow_weight, {});
  CHECK(test::max_difference(y, expected) <= 1e-12);
  CHECK(test::max_difference(grad(loss_of(y), narrow_weight),
                             grad(loss_of(expected), narrow_weight)) <= 1e-11);

  Inputs frozen = random_inputs(), want = random_inputs();
  frozen[1] = frozen[1].detach();
  want[1] = want[1].detach();
  loss_of(by_steps(frozen)).backward();
  loss_of(by_definition(want)).backward();
  CHECK(test::max_difference(frozen[0].grad(), want[0].grad()) <= 1e-11);
  CHECK(test::max_difference(frozen[3].grad(), want[3].grad()) <= 1e-11);
}

TEST_CASE("StepLinear: fewer steps than prepared") {
  Inputs in = random_inputs(), want = random_inputs();
  StepLinear step(in[0], in[1], in[2]);
  const Tensor y = stack({step(in[3]), step(tanh(in[3]))}, 1);
  const Tensor x = slice(want[0], 1, 0, 2), z = stack({want[3], tanh(want[3])}, 1);
  loss_of(y).backward();
  loss_of(linear(concat({x, z}, 2), want[1], want[2])).backward();
  for (std::size_t i = 0; i < in.size(); ++i) {
    CAPTURE(i);
    CHECK(test::max_difference(in[i].grad(), want[i].grad()) <= 1e-11);
  }
}

TEST_CASE("StepLinear: unrecorded steps give no gradient, and save nothing") {
  Inputs in = random_inputs();
  {
    const NoGrad guard;
    StepLinear step(in[0], in[1], in[2]);
    const std::int64_t before = memory_stats().live_bytes;
    CHECK_FALSE(step(in[3].clone()).requires_grad());
    CHECK(memory_stats().live_bytes == before);
  }
  const Inputs want = random_inputs();  // one step of two is recorded
  StepLinear step(in[0], in[1], in[2]);
  {
    const NoGrad guard;
    step(in[3]);
  }
  loss_of(step(in[3])).backward();
  const Tensor x = select(want[0], 1, 1);
  loss_of(linear(concat({x, want[3]}, 1), want[1], want[2])).backward();
  for (std::size_t i = 0; i < in.size(); ++i) {
    CAPTURE(i);
    CHECK(test::max_difference(in[i].grad(), want[i].grad()) <= 1e-11);
  }
}

TEST_CASE("StepLinear: recording that begins with the steps") {
  const Inputs in = random_inputs(), want = random_inputs();
  const auto prepared = [&] {
    const NoGrad guard;
    return StepLinear(in[0], in[1], in[2]);
  };
  StepLinear step = prepared();
  loss_of(step(in[3])).backward();
  const Tensor constant =
      linear(select(want[0], 1, 0).detach(), slice(want[1], 1, 0, E).detach(), want[2].detach());
  loss_of(constant + linear(want[3], slice(want[1], 1, E, E + Z), {})).backward();
  CHECK_FALSE(in[0].grad().defined());
  for (const std::size_t i : {1, 3})
    CHECK(test::max_difference(in[i].grad(), want[i].grad()) <= 1e-11);
}

TEST_CASE(
    "StepLinear: a z modified in place before the backward is an error, not a wrong gradient") {
  const Inputs in = random_inputs();
  StepLinear step(in[0], in[1], in[2]);
  Tensor z = in[3].detach().clone();
  const Tensor loss = loss_of(step(z));
  z.mutable_data<double>()[0] += 1;
  CHECK_THROWS_AS(loss.backward(), StateError);
}

TEST_CASE("StepLinear: errors") {
  const Inputs in = random_inputs();
  CHECK(message_of<ShapeError>([&] { StepLinear(in[2], in[1], in[2]); }) ==
        "StepLinear: x (6,), weight (6, 7): must be (B, T, E) and (out, E + Z)");
  StepLinear step(in[0], in[1], in[2]);
  CHECK(message_of<StateError>([&] { step({}); }) == "StepLinear: z is undefined");
  CHECK(message_of<ShapeError>([&] { step(in[1]); }) == "StepLinear: z (6, 7): must be (3, 2)");
  for (std::int64_t t = 0; t < T; ++t) step(in[3]);
  CHECK(message_of<StateError>([&] { step(in[3]); }) == "StepLinear: step 5 of 4");
}
