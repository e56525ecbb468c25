// What ops cost, against formulas by hand; and that no op is without an entry.
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/inspect/flops.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/recurrent.h>
#include <fovea/tests/support/grad_cases.h>

#include <map>

#include <doctest/doctest.h>

using namespace fovea;
using nn::inspect::cost_of;
using nn::inspect::has_cost;
using nn::inspect::OpCost;
using Pass = SeenOp::Pass;

namespace {

struct Costs final : OpObserver {
  std::map<std::pair<std::string, Pass>, OpCost> sums;
  bool all_known = true, all_sane = true;
  void see(const SeenOp& op) noexcept override {
    const OpCost c = cost_of(op);
    OpCost& sum = sums[{op.name, op.pass}];
    sum.flops += c.flops;
    sum.bytes += c.bytes;
    all_known = all_known && c.known;
    all_sane = all_sane && c.flops >= 0 && c.bytes >= 0 && c.flops < 1e9 && c.bytes < 1e9;
  }
  double flops(const std::string& op, Pass pass) { return sums[{op, pass}].flops; }
  double bytes(const std::string& op, Pass pass) { return sums[{op, pass}].bytes; }
};

template <class F>
Costs costs_of(const F& f) {
  Costs costs;
  const ObserveOps observe(costs);
  f();
  return costs;
}

}  // namespace

TEST_CASE("every registered op has an entry") {
  for (const OpInfo& op : registered_ops()) {
    if (op.name == std::string("my_own_op")) continue;  // of a test below
    CAPTURE(std::string(op.name));
    CHECK(has_cost(op.name));
  }
  for (const char* op : {"adam_step", "sgd_step", "sum_of_squares"}) CHECK(has_cost(op));
  CHECK_FALSE(has_cost("frobnicate"));
}

// Sizes are at the places where the entries look for them, whatever the op is called with.
TEST_CASE("the cost of every gradient case is known and sane, forward, backward and twice") {
  for (const test::GradCase& c : test::grad_cases()) {
    CAPTURE(c.op);
    std::vector<Tensor> leaves;
    for (const Tensor& x : c.inputs) {
      leaves.push_back(x.detach().clone());
      leaves.back().set_requires_grad();
    }
    const Costs costs = costs_of([&] {
      const Tensor y = sum(c.f(leaves));
      y.backward({}, {.retain_graph = true});
      const std::vector<Tensor> first = grad(std::span(&y, 1), leaves, {}, {.create_graph = true},
                                             /*allow_unused=*/true);
      for (const Tensor& g : first)
        if (g.defined() && g.requires_grad()) sum(g).backward({}, {.retain_graph = true});
    });
    CHECK(costs.sums.contains({c.op, Pass::forward}));
    CHECK(costs.sums.contains({c.op, Pass::backward}));
    CHECK(costs.all_known);
    CHECK(costs.all_sane);
  }
}

TEST_CASE("linear: 2 N I O, twice that and the bias's sum backward") {
  Rng rng(1);
  const nn::Linear layer({.in_features = 7, .out_features = 5}, rng);
  const Tensor x = randn({2, 3, 7}, rng);  // no gradient wanted: one product backward
  Costs costs = costs_of([&] { sum(layer(x)).backward(); });
  const double product = 2.0 * 6 * 7 * 5;
  CHECK(costs.flops("linear", Pass::forward) == product);
  CHECK(costs.flops("linear", Pass::backward) == product + 6 * 5);
  CHECK(costs.bytes("linear", Pass::forward) == 4.0 * (6 * 7 + 7 * 5 + 5 + 6 * 5));
  CHECK(costs.bytes("linear", Pass::backward) ==
        4.0 * (6 * 7 + 7 * 5 + 5 + 6 * 5) + 4.0 * (7 * 5 + 5));
  Tensor y = x.clone().set_requires_grad();
  costs = costs_of([&] { sum(layer(y)).backward(); });
  CHECK(costs.flops("linear", Pass::backward) == 2 * product + 6 * 5);
}

TEST_CASE("matmul: broadcast batches, vectors, and a second derivative's transposed factors") {
  Rng rng(1);
  const Tensor a = randn({4, 1, 3, 7}, rng).set_requires_grad();
  const Tensor b = randn({5, 7, 2}, rng).set_requires_grad();
  Costs costs = costs_of([&] { sum(matmul(a, b)).backward(); });
  const double product = 2.0 * 4 * 5 * 3 * 7 * 2;
  CHECK(costs.flops("matmul", Pass::forward) == product);
  CHECK(costs.flops("matmul", Pass::backward) == 2 * product);
  costs = costs_of([&] { matmul(randn({7}, rng), randn({7}, rng)); });
  CHECK(costs.flops("matmul", Pass::forward) == 14);
  // The backward is made of two products, which cost what they cost, and nothing besides.
  costs = costs_of([&] { grad(sum(matmul(a, b)), a, {.create_graph = true}); });
  CHECK(costs.flops("matmul", Pass::forward) == 2 * product);
  CHECK(costs.flops("matmul", Pass::backward) == 0);
}

TEST_CASE("multi-head attention: projections, and the pairs that are kept") {
  Rng rng(1);
  const std::int64_t B = 2, T = 6, C = 16, H = 4;
  const nn::MultiheadAttention attend({.embed_dim = C, .num_heads = H, .causal = true}, rng);
  const Tensor x = randn({B, T, C}, rng).set_requires_grad();
  Costs costs = costs_of([&] { sum(attend(x)).backward(); });
  const double projections = 2.0 * B * T * C * (3 * C + C);
  const double pair = 2.0 * C * B * T * (T + 1) / 2;  // one product over the kept pairs
  CHECK(costs.flops("linear", Pass::forward) == projections);
  CHECK(costs.flops("linear", Pass::backward) == 2 * projections + B * T * 4 * C);
  CHECK(costs.flops("scaled_dot_product_attention", Pass::forward) == 2 * pair);
  CHECK(costs.flops("scaled_dot_product_attention", Pass::backward) == 5 * pair);
}

TEST_CASE("attention: what nobody wants is not counted") {
  Rng rng(1);
  const Tensor q = randn({1, 1, 5, 4}, rng).set_requires_grad(), k = randn({1, 1, 5, 4}, rng);
  Costs costs = costs_of([&] { sum(scaled_dot_product_attention(q, k, k)).backward(); });
  CHECK(costs.flops("scaled_dot_product_attention", Pass::backward) == 2 * 25 * (4 + 4 + 4));
}

TEST_CASE("lstm: both directions, real tokens only") {
  Rng rng(1);
  const std::int64_t I = 3, H = 8;
  const nn::LSTM lstm({.input_size = I, .hidden_size = H, .bidirectional = true}, rng);
  const Ragged x{randn({7, I}, rng).set_requires_grad(),
                 RaggedIndex(std::vector<std::int64_t>{5, 2})};
  Costs costs = costs_of([&] { sum(lstm(x).states.values).backward(); });
  const double products = 2 * 2.0 * 7 * 4 * H * (I + H);
  CHECK(costs.flops("lstm", Pass::forward) == products);
  CHECK(costs.flops("lstm", Pass::backward) == 2 * products);
}

TEST_CASE("elementwise ops, views and optimizers") {
  const Tensor x = ones({4, 5}).set_requires_grad(), c = ones({5}).set_requires_grad();
  Costs costs = costs_of([&] { sum(x * c).backward(); });
  CHECK(costs.flops("mul", Pass::forward) == 20);
  CHECK(costs.flops("mul", Pass::backward) == 20 + 20 + 20);  // dx, dc, and dc's sum over rows
  CHECK(costs.bytes("mul", Pass::forward) == 4.0 * (20 + 5 + 20));
  CHECK(costs.flops("sum", Pass::forward) == 20);
  costs = costs_of([&] { transpose(reshape(x, {2, 10}), 0, 1); });
  CHECK(costs.bytes("transpose", Pass::forward) == 0);
  CHECK(costs.bytes("reshape", Pass::forward) == 0);
  Tensor w = ones({10}), m = zeros({10}), v = zeros({10});
  costs = costs_of([&] { adam_step(w, ones({10}), m, v, {.lr = 0.1}, 1); });
  CHECK(costs.flops("adam_step", Pass::update) == 120);
  CHECK(costs.bytes("adam_step", Pass::update) == 4 * 70);
}

TEST_CASE("an op that the table does not know, and a backward whose forward nobody saw") {
  const Tensor x = ones({3}).set_requires_grad();
  const auto own = [&] {
    return record<"my_own_op">(ones({3}), {x}, [](const Tensor& dy, Wanted) { return Grads(dy); });
  };
  Costs costs = costs_of([&] { own(); });
  CHECK_FALSE(costs.all_known);
  CHECK(costs.flops("my_own_op", Pass::forward) == 0);
  CHECK(costs.bytes("my_own_op", Pass::forward) == 24);
  const Tensor y = exp(x);
  CHECK_FALSE(costs_of([&] { y.backward(ones({3})); }).all_known);
}
