// backward(), grad(), hooks and leaves, and the errors of wrong calls.
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

double seconds_since(std::chrono::steady_clock::time_point start) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
}

const Tensor early_x = leaf(tensor({0.5}));
const Tensor early_y = tanh(early_x);  // recorded before main()

}  // namespace

TEST_CASE("the gradient of a product and a sum") {
  const Tensor a = leaf(tensor({1, 2, 3})), b = leaf(tensor({4, 5, 6}));
  sum(a * b + a).backward();
  CHECK(max_difference(a.grad(), tensor({5, 6, 7})) == 0);
  CHECK(max_difference(b.grad(), tensor({1, 2, 3})) == 0);
}

TEST_CASE("an op that ran before main() has a name and a gradient") {
  REQUIRE_FALSE(early_y.is_leaf());
  CHECK(std::string(early_y.impl()->node->op->name) == "tanh");
  const float y = early_y.item();
  CHECK(grad(early_y, early_x, {.retain_graph = true}).item() == doctest::Approx(1 - y * y));
}

TEST_CASE("the gradient of a tensor that is used many times is the sum of all contributions") {
  const Tensor x = leaf(tensor({3}));
  Tensor y = x;
  for (int i = 0; i < 9; ++i) y = y + x;  // 10 x
  y.backward();
  CHECK(x.grad().item() == 10);
}

TEST_CASE("a diamond-shaped graph: each node runs once, after all its consumers") {
  const Tensor x = leaf(tensor({2}));
  const Tensor middle = x * x;                  // 4
  const Tensor y = middle * (middle + middle);  // 2 x^4: 8 x^3
  y.backward();
  CHECK(x.grad().item() == 64);
}

TEST_CASE("a chain of a million nodes: forward, backward and freeing") {
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
  CHECK(seconds_since(start) < 60);  // takes a few seconds; more means quadratic time
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
  SUBCASE("with it, gradients are accumulated") {
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

TEST_CASE("errors of backward()") {
  const Tensor x = leaf(tensor({1, 2, 3}));
  CHECK(message_of<StateError>([&] { (x * 2.0).backward(); }) ==
        "backward: the tensor (3,) has 3 elements: must have exactly one if no seed is given");
  CHECK(message_of<StateError>([&] { sum(x.detach()).backward(); }) ==
        "backward: the tensor () does not require a gradient: no tensor that it was computed from "
        "does, or it was computed under NoGrad or detached");
  CHECK(message_of<ShapeError>([&] { (x * 2.0).backward(ones({2})); }) ==
        "backward: seed (2,) f32 for a tensor (3,) f32: shape and dtype must be equal");
  CHECK(message_of<ShapeError>([&] { (x * 2.0).backward(ones({3}, DType::f64)); }) ==
        "backward: seed (3,) f64 for a tensor (3,) f32: shape and dtype must be equal");
}

TEST_CASE("the seed weights the outputs, and is not modified") {
  const Tensor x = leaf(tensor({1, 2, 3})), other = leaf(tensor({0, 0, 0}));
  const Tensor seed = tensor({1, 10, 100});
  (x + other).backward(seed);
  (x + other).backward(seed);
  CHECK(max_difference(x.grad(), tensor({2, 20, 200})) == 0);
  CHECK(max_difference(seed, tensor({1, 10, 100})) == 0);
}

TEST_CASE("two leaves never share the memory of a gradient") {
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

TEST_CASE("a leaf's gradient is contiguous, even if the op returned a view") {
  const Tensor x = leaf(zeros({2, 3}));
  transpose(x, 0, 1).backward(from_data(std::vector<float>{1, 2, 3, 4, 5, 6}, {3, 2}));
  CHECK(x.grad().is_contiguous());
  CHECK(max_difference(x.grad(), tensor({{1, 3, 5}, {2, 4, 6}})) == 0);
}

TEST_CASE("grad() returns gradients and does not change the leaves") {
  const Tensor x = leaf(tensor({2})), z = leaf(tensor({5}));
  CHECK(grad(x * x, x).item() == 4);
  CHECK_FALSE(x.grad().defined());

  SUBCASE("with respect to an input that depends on another") {
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
  SUBCASE("with respect to the output itself") {
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

TEST_CASE("errors of grad()") {
  const Tensor x = leaf(tensor({2})), constant = tensor({1});
  const Tensor y = x * x;
  CHECK(message_of<StateError>([&] { grad(y, constant); }) ==
        "grad: input 0 of shape (1,) does not require a gradient");
  CHECK(message_of<StateError>([&] {
          grad(constant, x);
        }).starts_with("grad: the tensor (1,) does not require a gradient: "));
  const Tensor seeds[] = {constant, constant};
  CHECK(message_of<ValueError>([&] { grad(std::span(&y, 1), std::span(&x, 1), seeds); }) ==
        "grad: 2 seeds for 1 outputs: must be one per output, or none");
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

TEST_CASE("a hook receives the complete gradient and may replace it") {
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

TEST_CASE("hooks on leaves, hooks that only read, and hooks that return a wrong shape") {
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
        "hook: returned a gradient (5,) f32 for a tensor (2,) f32: shape and dtype must be equal");
  CHECK(message_of<StateError>([&] { tensor({1}).register_hook({}); }) ==
        "register_hook: the tensor (1,) does not require a gradient");
}

TEST_CASE("a hook may register hooks: they run after it with the same gradient") {
  const Tensor x = leaf(tensor({1}));
  Tensor h = x * 2.0;
  int calls = 0;
  h.register_hook([&h, &calls](const Tensor& dh) {
    for (int i = 0; i < 10; ++i)  // enough for the list of hooks to move
      h.register_hook([&calls](const Tensor& later) {
        ++calls;
        CHECK(later.item() == 30);
        return Tensor();
      });
    return dh * 10.0;
  });
  (h * 3.0).backward();
  CHECK(calls == 10);
  CHECK(x.grad().item() == 60);
}

TEST_CASE("a hook may release the tensor that backward() was called on") {
  const Tensor x = leaf(tensor({3}));
  Tensor root = x * x;
  root.register_hook([&root](const Tensor&) {
    root = Tensor();
    return Tensor();
  });
  root.backward();
  CHECK_FALSE(root.defined());
  CHECK(x.grad().item() == 6);
}

TEST_CASE("retain_grad stores the gradient of a non-leaf tensor") {
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
        "retain_grad: the tensor (1,) does not require a gradient");
}

TEST_CASE("NoGrad and detach cut the graph") {
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
        "set_requires_grad: the tensor (1,) was made by mul_number: must be a leaf: call detach() "
        "before");
  CHECK(message_of<DTypeError>([&] { arange(3).set_requires_grad(); }) ==
        "set_requires_grad: dtype = i64: must be f32 or f64");
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
        "set_grad: a gradient (1,) f32 for a tensor (2,) f32: shape and dtype must be equal");
  Tensor inner = x * 2.0;
  CHECK(message_of<StateError>([&] {
          inner.set_grad(tensor({1, 2}));
        }) == "set_grad: the tensor (2,) is not a leaf that requires a gradient");
}

TEST_CASE("a nested backward pass does not change the gradients of the outer one") {
  const Tensor x = leaf(tensor({3}));
  const Tensor h = x * 2.0;
  const Tensor inner = h * h;
  Tensor hooked = h * 1.0;
  hooked.register_hook([&](const Tensor& dy) {
    CHECK(grad(inner, x, {.retain_graph = true}).item() == 24);  // passes through x and h, too
    return dy;
  });
  (hooked + h * 10.0 + x * 100.0).backward();
  CHECK(x.grad().item() == 122);
}

TEST_CASE("a temporary cannot be assigned to") {
  static_assert(!std::is_assignable_v<Tensor, Tensor>);
  static_assert(!std::is_assignable_v<Tensor&&, const Tensor&>);
  static_assert(std::is_assignable_v<Tensor&, Tensor>);
}
