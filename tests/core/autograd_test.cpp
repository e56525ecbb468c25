// Recording, walking backwards, and every way in which that can be asked for wrongly.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <chrono>
#include <type_traits>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

Tensor leaf(const Tensor& x) {
  Tensor fresh = x.clone();
  return fresh.set_requires_grad();
}

// A user's op: y = x x, with the input kept.
Tensor square_keeping_input(const Tensor& x) {
  Tensor y;
  {
    const NoGrad computing;
    y = x * x;
  }
  return record<"test_square">(
      y, {x}, [x = keep(x)](const Tensor& dy, Wanted) { return Grads(2.0 * x.get() * dy); });
}

// y = exp(x), with the output kept.
Tensor exp_keeping_output(const Tensor& x) {
  Tensor y;
  {
    const NoGrad computing;
    y = exp(x);
  }
  return record<"test_exp">(
      y, {x}, [](const Tensor& dy, const Tensor& kept, Wanted) { return Grads(dy * kept); });
}

// (2 x, 3 x), which counts the outputs that were used.
std::vector<Tensor> two_and_three_times(const Tensor& x, int* used) {
  std::vector<Tensor> ys;
  {
    const NoGrad computing;
    ys = {2.0 * x, 3.0 * x};
  }
  return record_outputs<"test_two_outputs">(
      ys, {x}, [used](std::span<const Tensor> dys, Wanted) -> Grads {
        *used = dys[0].defined() + 2 * dys[1].defined();
        Tensor dx;
        if (dys[0].defined()) dx = 2.0 * dys[0];
        if (dys[1].defined()) dx = dx.defined() ? dx + 3.0 * dys[1] : 3.0 * dys[1];
        return {dx};
      });
}

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

}  // namespace

TEST_CASE("the gradient of a product and a sum") {
  const Tensor a = leaf(tensor({1, 2, 3})), b = leaf(tensor({4, 5, 6}));
  sum(a * b + a).backward();
  CHECK(max_difference(a.grad(), tensor({5, 6, 7})) == 0);
  CHECK(max_difference(b.grad(), tensor({1, 2, 3})) == 0);
}

TEST_CASE("a tensor that is used many times gets the sum of all gradients") {
  const Tensor x = leaf(tensor({3}));
  Tensor y = x;
  for (int i = 0; i < 9; ++i) y = y + x;  // 10 x
  y.backward();
  CHECK(x.grad().item() == 10);
}

TEST_CASE("a diamond is walked once: each node runs after all its consumers") {
  const Tensor x = leaf(tensor({2}));
  const Tensor middle = x * x;                  // 4
  const Tensor y = middle * (middle + middle);  // 2 x^4: 8 x^3
  y.backward();
  CHECK(x.grad().item() == 64);
}

TEST_CASE("a chain of a million nodes is built, run backwards and freed") {
  const auto start = std::chrono::steady_clock::now();
  const Tensor x = leaf(tensor({1}));
  {
    Tensor y = x;
    for (int i = 0; i < 1'000'000; ++i) y = y + 1.0;
    y.backward();
    CHECK(y.item() == 1'000'001);
  }
  CHECK(x.grad().item() == 1);
  {
    Tensor never_walked = x;
    for (int i = 0; i < 1'000'000; ++i) never_walked = -never_walked;
  }
  CHECK(seconds_since(start) < 60);  // seconds in truth; far above that something is quadratic
}

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

TEST_CASE("a second backward needs retain_graph") {
  const Tensor x = leaf(tensor({3}));
  const Tensor y = x * x;
  SUBCASE("without") {
    y.backward();
    CHECK(message_of<StateError>([&] { y.backward(); }) ==
          "mul: backward: its saved tensors were freed by an earlier backward(): pass retain_graph "
          "= true to the first one");
  }
  SUBCASE("with, and the gradients add up") {
    y.backward({}, {.retain_graph = true});
    y.backward();
    CHECK(x.grad().item() == 12);
  }
}

TEST_CASE("backward frees what the graph saved") {
  const Tensor x = leaf(zeros({1000}));
  const std::int64_t before = memory_stats().live_bytes;
  const Tensor y = sum(exp(x * x));
  CHECK(memory_stats().live_bytes >= before + 4000);
  y.backward();
  CHECK(memory_stats().live_bytes <= before + 4 + 4000);  // y and x's gradient
}

TEST_CASE("what backward cannot do") {
  const Tensor x = leaf(tensor({1, 2, 3}));
  CHECK(message_of<StateError>([&] { (x * 2.0).backward(); }) ==
        "backward: the tensor (3,) has 3 elements: without a seed it must have exactly one");
  CHECK(message_of<StateError>([&] { sum(x.detach()).backward(); }) ==
        "backward: the tensor () needs no gradient: nothing it was computed from does, or it was "
        "computed under NoGrad or detached");
  CHECK(message_of<ShapeError>([&] { (x * 2.0).backward(ones({2})); }) ==
        "backward: seed (2,) f32 for a tensor (3,) f32: they must agree");
  CHECK(message_of<ShapeError>([&] { (x * 2.0).backward(ones({3}, DType::f64)); }) ==
        "backward: seed (3,) f64 for a tensor (3,) f32: they must agree");
}

TEST_CASE("the seed weights the outputs, and is not modified") {
  const Tensor x = leaf(tensor({1, 2, 3})), other = leaf(tensor({0, 0, 0}));
  const Tensor seed = tensor({1, 10, 100});
  (x + other).backward(seed);
  (x + other).backward(seed);
  CHECK(max_difference(x.grad(), tensor({2, 20, 200})) == 0);
  CHECK(max_difference(seed, tensor({1, 10, 100})) == 0);
}

TEST_CASE("two leaves never share a gradient's numbers") {
  for (const bool create_graph : {false, true}) {
    CAPTURE(create_graph);
    Tensor a = leaf(tensor({1})), b = leaf(tensor({2}));
    (a + b).backward({}, {.create_graph = create_graph});
    a.grad().mutable_data<float>()[0] = 7;
    CHECK(b.grad().item() == 1);
    a.zero_grad();
    b.zero_grad();
  }
}

TEST_CASE("a leaf's gradient is dense, whatever the op returned") {
  const Tensor x = leaf(zeros({2, 3}));
  transpose(x, 0, 1).backward(from_data(std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2}));
  CHECK(x.grad().is_contiguous());
  CHECK(max_difference(x.grad(), tensor({{1, 3, 5}, {2, 4, 6}})) == 0);
}

TEST_CASE("grad() returns gradients and touches no leaf") {
  const Tensor x = leaf(tensor({2})), z = leaf(tensor({5}));
  CHECK(grad(x * x, x).item() == 4);
  CHECK_FALSE(x.grad().defined());

  SUBCASE("by an input that depends on another") {
    const Tensor h = x * x, y = h * x;  // dy/dh = x = 2 with x held, dy/dx = 3 x^2 = 12
    const Tensor inputs[] = {h, x};
    const std::vector<Tensor> g = grad(std::span(&y, 1), inputs);
    CHECK(g[0].item() == 2);
    CHECK(g[1].item() == 12);
  }
  SUBCASE("of several outputs, where one depends on the other") {
    const Tensor h = x * x, y = h * 3.0;
    for (const auto& outputs : {std::vector{h, y}, std::vector{y, h}}) {
      const Tensor seeds[] = {tensor({1}), tensor({1})};
      const BackwardOptions keep_it{.retain_graph = true};
      CHECK(grad(outputs, std::span(&x, 1), seeds, keep_it)[0].item() == 16);
    }
  }
  SUBCASE("by the output itself") {
    const Tensor y = x * x;
    CHECK(grad(y, y).item() == 1);
  }
  SUBCASE("unused") {
    const Tensor y = x * x;
    const Tensor inputs[] = {x, z};
    CHECK(message_of<StateError>(
              [&] { grad(std::span(&y, 1), inputs, {}, {.retain_graph = true}); }) ==
          "grad: no output depends on input 1 of shape (1,): pass allow_unused = true to get an "
          "undefined tensor for it");
    const std::vector<Tensor> g = grad(std::span(&y, 1), inputs, {}, {}, /*allow_unused=*/true);
    CHECK(g[0].item() == 4);
    CHECK_FALSE(g[1].defined());
  }
}

TEST_CASE("what grad() cannot do") {
  const Tensor x = leaf(tensor({2})), constant = tensor({1});
  const Tensor y = x * x;
  CHECK(message_of<StateError>([&] { grad(y, constant); }) ==
        "grad: input 0 of shape (1,) needs no gradient");
  CHECK(message_of<StateError>([&] { grad(constant, x); }).substr(0, 41) ==
        "grad: the tensor (1,) needs no gradient: ");
  const Tensor seeds[] = {constant, constant};
  CHECK(message_of<ValueError>([&] { grad(std::span(&y, 1), std::span(&x, 1), seeds); }) ==
        "grad: 2 seeds for 1 outputs: one each, or none at all");
}

TEST_CASE("create_graph: the derivatives of x^3") {
  const Tensor x = leaf(scalar(2, DType::f64));
  const BackwardOptions again{.create_graph = true};
  const Tensor first = grad(x * x * x, x, again);
  const Tensor second = grad(first, x, again);
  const Tensor third = grad(second, x, again);
  CHECK(first.item<double>() == 12);
  CHECK(second.item<double>() == 12);
  CHECK(third.item<double>() == 6);
  SUBCASE("through backward(), into the leaf") {
    (x * x * x).backward({}, again);
    const Tensor collected = x.grad();
    Tensor(x).zero_grad();
    collected.backward();
    CHECK(x.grad().item<double>() == 12);
  }
}

TEST_CASE("a hook sees the complete gradient and may replace it") {
  const Tensor x = leaf(tensor({1}));
  Tensor h = x * 2.0;
  int calls = 0;
  h.register_hook([&](const Tensor& dh) {
    ++calls;
    CHECK(dh.item() == 7);  // 3 + 4, in one call
    return dh * 10.0;
  });
  (h * 3.0 + h * 4.0).backward();
  CHECK(calls == 1);
  CHECK(x.grad().item() == 140);
}

TEST_CASE("hooks on leaves, hooks that only look, and hooks that return nonsense") {
  Tensor x = leaf(tensor({1, 2}));
  double seen = 0;
  x.register_hook([&](const Tensor& dx) {
    seen = dx.to_vector<double>()[1];
    return Tensor();
  });
  sum(x * 3.0).backward();
  CHECK(seen == 3);
  CHECK(max_difference(x.grad(), tensor({3, 3})) == 0);

  x.register_hook([](const Tensor&) { return zeros({5}); });
  CHECK(message_of<ShapeError>([&] { sum(x * 3.0).backward(); }) ==
        "hook: returned a gradient (5,) f32 for a tensor (2,) f32: they must agree");
  CHECK(message_of<StateError>([&] { tensor({1}).register_hook({}); }) ==
        "register_hook: the tensor (1,) needs no gradient");
}

TEST_CASE("retain_grad keeps an inner tensor's gradient") {
  const Tensor x = leaf(tensor({3}));
  Tensor h = x * x;
  CHECK_FALSE(h.grad().defined());
  h.retain_grad();
  h.retain_grad();
  const Tensor y = h * 5.0;
  y.backward({}, {.retain_graph = true});
  CHECK(h.grad().item() == 5);
  y.backward();
  CHECK(h.grad().item() == 10);
  h.zero_grad();
  CHECK_FALSE(h.grad().defined());
  CHECK(x.grad().item() == 60);
  CHECK(message_of<StateError>([&] { tensor({1}).retain_grad(); }) ==
        "retain_grad: the tensor (1,) needs no gradient");
}

TEST_CASE("NoGrad and detach cut the record") {
  const Tensor x = leaf(tensor({3}));
  {
    const NoGrad guard;
    CHECK_FALSE((x * x).requires_grad());
    const NoGrad inner(false);
    CHECK((x * x).requires_grad());
  }
  CHECK((x * x).requires_grad());
  const Tensor y = x * x.detach();
  y.backward();
  CHECK(x.grad().item() == 3);
  CHECK(x.detach().raw_data() == x.raw_data());
}

TEST_CASE("which tensors are leaves") {
  Tensor x = tensor({1});
  CHECK(x.is_leaf());
  CHECK_FALSE(x.requires_grad());
  CHECK_FALSE(x.grad().defined());
  x.set_requires_grad();
  Tensor y = x * 2.0;
  CHECK(x.is_leaf());
  CHECK_FALSE(y.is_leaf());
  CHECK(message_of<StateError>([&] { y.set_requires_grad(); }) ==
        "set_requires_grad: the tensor (1,) was made by mul_number: only a leaf can be told to "
        "collect a "
        "gradient; detach() gives one");
  CHECK(message_of<DTypeError>([&] { arange(3).set_requires_grad(); }) ==
        "set_requires_grad: a i64 tensor cannot have a gradient: it must be f32 or f64");
  x.set_requires_grad(false);
  CHECK_FALSE((x * 2.0).requires_grad());
}

TEST_CASE("set_grad takes a gradient of the tensor's shape and type, or none") {
  Tensor x = leaf(tensor({1, 2}));
  x.set_grad(tensor({5, 6}));
  sum(x).backward();
  CHECK(max_difference(x.grad(), tensor({6, 7})) == 0);
  x.set_grad({});
  CHECK_FALSE(x.grad().defined());
  CHECK(message_of<ShapeError>([&] { x.set_grad(tensor({1})); }) ==
        "set_grad: a gradient (1,) f32 for a tensor (2,) f32: they must agree");
  Tensor inner = x * 2.0;
  CHECK(message_of<StateError>([&] {
          inner.set_grad(tensor({1, 2}));
        }) == "set_grad: the tensor (2,) is not a leaf that requires a gradient");
}

TEST_CASE("of several outputs, the unused ones come as undefined gradients") {
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
  SUBCASE("by an output of its own") {
    const std::vector<Tensor> y = two_and_three_times(x, &used);
    const Tensor z = y[0] * 7.0 + y[1];
    CHECK(grad(z, y[0], {.retain_graph = true}).item() == 7);
    CHECK(grad(z, y[1]).item() == 1);
  }
}

TEST_CASE("a user's op is differentiated like the library's") {
  const Tensor x = leaf(tensor({1, 2}));
  sum(exp_keeping_output(square_keeping_input(x)) * 1.0).backward();
  CHECK(max_difference(x.grad(), 2.0 * x.detach() * exp(x.detach() * x.detach())) <= 1e-4);
  const Tensor s = leaf(scalar(2, DType::f64));
  const Tensor first = grad(exp_keeping_output(s), s, {.create_graph = true});
  CHECK(grad(first, s).item<double>() == doctest::Approx(std::exp(2)));
}

TEST_CASE("a backward that returns the wrong thing is told so") {
  const Tensor x = leaf(tensor({1, 2}));
  const auto with = [&](auto backward) { return record<"test_wrong">(zeros({1}), {x}, backward); };
  CHECK(message_of<ShapeError>(
            [&] { with([](const Tensor&, Wanted) { return Grads(zeros({3})); }).backward(); }) ==
        "test_wrong: backward returned a gradient (3,) f32 for input 0, which is (2,) f32: they "
        "must agree");
  CHECK(message_of<ShapeError>([&] {
          with([](const Tensor&, Wanted) { return Grads(zeros({2}, DType::f64)); }).backward();
        }) ==
        "test_wrong: backward returned a gradient (2,) f64 for input 0, which is (2,) f32: they "
        "must agree");
  CHECK(message_of<StateError>([&] {
          with([](const Tensor&, Wanted) { return Grads(2); }).backward();
        }) == "test_wrong: backward returned 2 gradients for 1 inputs");
  with([](const Tensor&, Wanted) { return Grads(1); }).backward();
  CHECK_FALSE(x.grad().defined());  // an undefined gradient is none
}

TEST_CASE("record takes a fresh output, dense if the backward wants it back") {
  const Tensor x = leaf(tensor({1, 2}));
  const auto nothing = [](const Tensor&, Wanted) { return Grads(1); };
  const auto with_output = [](const Tensor&, const Tensor&, Wanted) { return Grads(1); };
  CHECK(message_of<StateError>([&] { record<"test_fresh">(x * 2.0, {x}, nothing); }) ==
        "test_fresh: record: output 0 has a history already: it must be fresh");
  const Tensor gaps = transpose(zeros({2, 3}), 0, 1);
  CHECK(message_of<StateError>([&] { record<"test_gaps">(gaps, {x}, with_output); }) ==
        "record: an output (3, 2) with gaps cannot be kept: it must be contiguous");
}

TEST_CASE("an op of many inputs says which gradients are wanted") {
  std::vector<Tensor> inputs;
  for (int i = 0; i < 70; ++i) {
    inputs.push_back(tensor({1}));
    if (i % 2 == 0) inputs.back().set_requires_grad();
  }
  const Tensor y = record<"test_many">(tensor({0}), std::span<const Tensor>(inputs),
                                       [](const Tensor& dy, Wanted wanted) -> Grads {
                                         Grads grads(70);
                                         for (std::size_t i = 0; i < 70; ++i) {
                                           if (i < 64) CHECK(wanted[i] == (i % 2 == 0));
                                           if (wanted[i]) grads[i] = dy * static_cast<double>(i);
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
  const Tensor y = record<"test_throws">(tensor({0}), {h}, [&fail](const Tensor& dy, Wanted) {
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

TEST_CASE("a walk inside a walk leaves the outer one's sums alone") {
  const Tensor x = leaf(tensor({3}));
  const Tensor h = x * 2.0;
  const Tensor inner = h * h;
  Tensor hooked = h * 1.0;
  hooked.register_hook([&](const Tensor& dy) {
    CHECK(grad(inner, x, {.retain_graph = true}).item() == 24);  // walks through x and h as well
    return dy;
  });
  (hooked + h * 10.0 + x * 100.0).backward();
  CHECK(x.grad().item() == 122);
}

TEST_CASE("ops are known by name before they have run") {
  bool found = false;
  for (const OpInfo& op : registered_ops())
    found = found || (std::string(op.name) == "test_two_outputs" && op.differentiable);
  CHECK(found);
}

TEST_CASE("a temporary cannot be assigned to") {
  static_assert(!std::is_assignable_v<Tensor, Tensor>);
  static_assert(!std::is_assignable_v<Tensor&&, const Tensor&>);
  static_assert(std::is_assignable_v<Tensor&, Tensor>);
}
