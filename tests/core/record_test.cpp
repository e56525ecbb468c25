// Recording ops: user-defined ops, their saved tensors, and errors.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

Tensor leaf(const Tensor& x) {
  Tensor fresh = x.clone();
  return fresh.set_requires_grad();
}

// A user-defined op: y = x x; saves the input.
Tensor square_keeping_input(const Tensor& x) {
  Tensor y;
  {
    const NoGrad computing;
    y = x * x;
  }
  return record<"test_square">(
      y, {x}, [x = keep(x)](const Tensor& dy, NeedsGrad) { return Grads(2.0 * x.get() * dy); });
}

// y = exp(x); saves the output.
Tensor exp_keeping_output(const Tensor& x) {
  Tensor y;
  {
    const NoGrad computing;
    y = exp(x);
  }
  return record<"test_exp">(
      y, {x}, [](const Tensor& dy, const Tensor& kept, NeedsGrad) { return Grads(dy * kept); });
}

// (2 x, 3 x), which counts the outputs that were used.
std::vector<Tensor> two_and_three_times(const Tensor& x, int* used) {
  std::vector<Tensor> ys;
  {
    const NoGrad computing;
    ys = {2.0 * x, 3.0 * x};
  }
  return record_outputs<"test_two_outputs">(
      ys, {x}, [used](std::span<const Tensor> dys, NeedsGrad) -> Grads {
        *used = dys[0].defined() + 2 * dys[1].defined();
        Tensor dx;
        if (dys[0].defined()) dx = 2.0 * dys[0];
        if (dys[1].defined()) dx = dx.defined() ? dx + 3.0 * dys[1] : 3.0 * dys[1];
        return {dx};
      });
}

}  // namespace

TEST_CASE("a saved input that was overwritten is an error") {
  Tensor x = leaf(tensor({1, 2}));
  const Tensor y = sum(square_keeping_input(x));
  x.mutable_data<float>()[0] = 5;
  CHECK(message_of<StateError>([&] { y.backward(); }) ==
        "backward: a saved tensor (2,) was overwritten after the forward (version 0, now 1): write "
        "to a clone() instead");
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("a saved output that was overwritten is an error") {
  const Tensor x = leaf(tensor({1, 2}));
  Tensor e = exp_keeping_output(x);
  const Tensor y = sum(e);
  e.fill(0);
  CHECK(message_of<StateError>([&] { y.backward(); }) ==
        "test_exp: backward: its output (2,) was overwritten after the forward: write to a clone() "
        "instead");
}

TEST_CASE("overwriting a view overwrites what was saved, overwriting a clone does not") {
  const Tensor x = leaf(tensor({1, 2}));
  const Tensor h = x * 2.0;
  const Tensor y = sum(h * h);
  h.clone().mutable_data<float>()[0] = 9;
  SUBCASE("clone") {
    y.backward();
    CHECK(max_difference(x.grad(), tensor({8, 16})) == 0);
  }
  SUBCASE("view") {
    slice(h, 0, 0, 1).mutable_data<float>()[0] = 9;
    CHECK_THROWS_AS(y.backward(), StateError);
  }
}

TEST_CASE("the gradients of unused outputs are undefined") {
  const Tensor x = leaf(tensor({1}));
  int used = 0;
  SUBCASE("both") {
    const std::vector<Tensor> y = two_and_three_times(x, &used);
    (y[0] + y[1]).backward();
    CHECK(used == 3);
    CHECK(x.grad().item() == 5);
  }
  SUBCASE("the second only") {
    const std::vector<Tensor> y = two_and_three_times(x, &used);
    y[1].backward();
    CHECK(used == 2);
    CHECK(x.grad().item() == 3);
  }
  SUBCASE("with respect to one of its outputs") {
    const std::vector<Tensor> y = two_and_three_times(x, &used);
    const Tensor z = y[0] * 7.0 + y[1];
    CHECK(grad(z, y[0], {.retain_graph = true}).item() == 7);
    CHECK(grad(z, y[1]).item() == 1);
  }
}

TEST_CASE("a user-defined op is differentiated like an op of the library") {
  const Tensor x = leaf(tensor({1, 2}));
  sum(exp_keeping_output(square_keeping_input(x)) * 1.0).backward();
  CHECK(max_difference(x.grad(), 2.0 * x.detach() * exp(x.detach() * x.detach())) <= 1e-4);
  const Tensor s = leaf(scalar(2, DType::f64));
  const Tensor first = grad(exp_keeping_output(s), s, {.create_graph = true});
  CHECK(grad(first, s).item<double>() == doctest::Approx(std::exp(2)));
}

TEST_CASE("errors of a backward with a wrong result") {
  const Tensor x = leaf(tensor({1, 2}));
  const auto with = [&](auto backward) { return record<"test_wrong">(zeros({1}), {x}, backward); };
  CHECK(message_of<ShapeError>(
            [&] { with([](const Tensor&, NeedsGrad) { return Grads(zeros({3})); }).backward(); }) ==
        "test_wrong: backward returned a gradient (3,) f32 for input 0, which is (2,) f32: shape "
        "and dtype must be equal");
  CHECK(message_of<ShapeError>([&] {
          with([](const Tensor&, NeedsGrad) { return Grads(zeros({2}, DType::f64)); }).backward();
        }) ==
        "test_wrong: backward returned a gradient (2,) f64 for input 0, which is (2,) f32: shape "
        "and dtype must be equal");
  CHECK(message_of<StateError>([&] {
          with([](const Tensor&, NeedsGrad) { return Grads(2); }).backward();
        }) == "test_wrong: backward returned 2 gradients for 1 inputs");
  with([](const Tensor&, NeedsGrad) { return Grads(1); }).backward();
  CHECK_FALSE(x.grad().defined());  // an undefined gradient adds nothing
}

TEST_CASE("record requires a new output, contiguous if the backward takes it") {
  const Tensor x = leaf(tensor({1, 2}));
  const auto nothing = [](const Tensor&, NeedsGrad) { return Grads(1); };
  const auto with_output = [](const Tensor&, const Tensor&, NeedsGrad) { return Grads(1); };
  CHECK(message_of<StateError>([&] { record<"test_fresh">(x * 2.0, {x}, nothing); }) ==
        "test_fresh: record: output 0 already has a graph: must be a new tensor");
  const Tensor gaps = transpose(zeros({2, 3}), 0, 1);
  CHECK(message_of<StateError>([&] { record<"test_gaps">(gaps, {x}, with_output); }) ==
        "record: output (3, 2) is saved for backward: must be contiguous");
}

TEST_CASE("an op of many inputs receives which gradients are needed") {
  std::vector<Tensor> inputs;
  for (int i = 0; i < 70; ++i) {
    inputs.push_back(tensor({1}));
    if (i % 2 == 0) inputs.back().set_requires_grad();
  }
  const Tensor y = record<"test_many">(tensor({0}), std::span<const Tensor>(inputs),
                                       [](const Tensor& dy, NeedsGrad needs_grad) -> Grads {
                                         Grads grads(70);
                                         for (std::size_t i = 0; i < 70; ++i) {
                                           if (i < 64) CHECK(needs_grad[i] == (i % 2 == 0));
                                           if (needs_grad[i])
                                             grads[i] = dy * static_cast<double>(i);
                                         }
                                         return grads;
                                       });
  y.backward();
  for (std::size_t i = 0; i < 70; i += 2) CHECK(inputs[i].grad().item() == static_cast<float>(i));
}

TEST_CASE("a backward that throws leaves the graph usable") {
  const Tensor x = leaf(tensor({1}));
  bool fail = true;
  const Tensor h = x * 2.0;
  const Tensor y = record<"test_throws">(tensor({0}), {h}, [&fail](const Tensor& dy, NeedsGrad) {
    if (fail) value_error("test_throws", "not now");
    return Grads(dy * 1.0);
  });
  CHECK(message_of<ValueError>([&] { y.backward(); }) == "test_throws: not now");
  CHECK(grad_enabled());
  CHECK_FALSE(x.grad().defined());
  fail = false;
  y.backward();
  CHECK(x.grad().item() == 2);
}

TEST_CASE("ops are known by name before they have run") {
  bool found = false;
  for (const OpInfo& op : registered_ops())
    found = found || (std::string(op.name) == "test_two_outputs" && op.differentiable);
  CHECK(found);
}
