// The cost of ops against formulas, and completeness of the table.
#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/attention_step.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/feed_forward.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/ops/step_linear.h>
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
using Pass = OpEvent::Pass;

namespace {

struct Costs final : OpObserver {
  std::map<std::pair<std::string, Pass>, OpCost> sums;
  bool all_known = true, all_sane = true;
  void on_op(const OpEvent& op) noexcept override {
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

// The entries find their sizes for any optional arguments of the op.
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

TEST_CASE("linear: 2 N I O, twice that and the bias sum backward") {
  Rng rng(1);
  const nn::Linear layer({.in_features = 7, .out_features = 5}, rng);
  const Tensor x = randn({2, 3, 7}, rng);  // requires no gradient: one product backward
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
  // The backward is two products, with no other cost.
  costs = costs_of([&] { grad(sum(matmul(a, b)), a, {.create_graph = true}); });
  CHECK(costs.flops("matmul", Pass::forward) == 2 * product);
  CHECK(costs.flops("matmul", Pass::backward) == 0);
}

TEST_CASE("multi-head attention: projections, and the unmasked pairs") {
  Rng rng(1);
  const std::int64_t B = 2, T = 6, C = 16, H = 4;
  const nn::MultiheadAttention attend({.embed_dim = C, .num_heads = H, .causal = true}, rng);
  const Tensor x = randn({B, T, C}, rng).set_requires_grad();
  Costs costs = costs_of([&] { sum(attend(x)).backward(); });
  const double projections = 2.0 * B * T * C * (3 * C + C);
  const double pair = 2.0 * C * B * T * (T + 1) / 2;  // one product over the unmasked pairs
  CHECK(costs.flops("linear", Pass::forward) == projections);
  CHECK(costs.flops("linear", Pass::backward) == 2 * projections + B * T * 4 * C);
  CHECK(costs.flops("scaled_dot_product_attention", Pass::forward) == 2 * pair);
  CHECK(costs.flops("scaled_dot_product_attention", Pass::backward) == 5 * pair);
}

TEST_CASE("attention: gradients that are not required are not counted") {
  Rng rng(1);
  const Tensor q = randn({1, 1, 5, 4}, rng).set_requires_grad(), k = randn({1, 1, 5, 4}, rng);
  Costs costs = costs_of([&] { sum(scaled_dot_product_attention(q, k, k)).backward(); });
  CHECK(costs.flops("scaled_dot_product_attention", Pass::backward) == 2 * 25 * (4 + 4 + 4));
}

TEST_CASE("lstm: both directions, without padding") {
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

TEST_CASE(
    "gru and rnn: no products for gradients that are not required, recomputed gates counted") {
  Rng rng(1);
  const std::int64_t N = 7, I = 3, H = 8;
  const RaggedIndex index(std::vector<std::int64_t>{5, 2});
  const Tensor data = randn({N, I}, rng), needs_grad = data.clone().set_requires_grad();
  const auto check = [&](const auto& net, const char* op, std::int64_t gates, bool recompute) {
    CAPTURE(op);
    const double input = 2.0 * N * gates * H * I, state = 2.0 * N * gates * H * H;
    const double again = recompute ? input + state : 0;
    Costs costs = costs_of([&] { sum(net(Ragged{needs_grad, index}).states.values).backward(); });
    CHECK(costs.flops(op, Pass::forward) == input + state);
    CHECK(costs.flops(op, Pass::backward) == 2 * (input + state) + again);
    costs = costs_of([&] { sum(net(Ragged{data, index}).states.values).backward(); });
    CHECK(costs.flops(op, Pass::backward) == input + 2 * state + again);
  };
  for (const bool recompute : {false, true}) {
    const nn::RecurrentOptions options{.input_size = I, .hidden_size = H, .recompute = recompute};
    check(nn::GRU(options, rng), "gru", 3, recompute);
    check(nn::RNN(options, rng), "rnn", 1, recompute);
    nn::LSTM lstm(options, rng);
    check(lstm, "lstm", 4, recompute);
  }
}

TEST_CASE("lstm: frozen weights have no products") {
  Rng rng(1);
  const std::int64_t N = 7, I = 3, H = 8, P = 2;
  nn::LSTM lstm({.input_size = I, .hidden_size = H, .proj_size = P}, rng);
  const Ragged x{randn({N, I}, rng).set_requires_grad(),
                 RaggedIndex(std::vector<std::int64_t>{5, 2})};
  const double products = 2.0 * N * (4 * H * (I + P) + P * H);
  Costs costs = costs_of([&] { sum(lstm(x).states.values).backward(); });
  CHECK(costs.flops("lstm", Pass::forward) == products);
  CHECK(costs.flops("lstm", Pass::backward) == 2 * products);
  for (auto [name, parameter] : lstm.parameters()) parameter.set_requires_grad(false);
  costs = costs_of([&] { sum(lstm(x).states.values).backward(); });
  CHECK(costs.flops("lstm", Pass::backward) == products);
}

TEST_CASE("a linear layer step by step") {
  Rng rng(1);
  const std::int64_t B = 2, T = 3, E = 4, Z = 6, out = 5;
  const Tensor x = randn({B, T, E}, rng).set_requires_grad();
  const Tensor w = randn({out, E + Z}, rng).set_requires_grad();
  const Tensor bias = randn({out}, rng).set_requires_grad();
  const auto steps = [&](const Tensor& z) {
    return costs_of([&] {
      StepLinear layer(x, w, bias);
      Tensor all = layer(z);
      for (std::int64_t t = 1; t < T; ++t) all = all + layer(z);
      sum(all).backward();
    });
  };
  Costs costs = steps(randn({B, Z}, rng).set_requires_grad());
  const double early = 2.0 * B * T * out * E, later = 2.0 * B * T * out * Z;
  CHECK(costs.flops("early_linear", Pass::forward) == early);
  CHECK(costs.flops("linear", Pass::forward) == 0);  // its inner ops are not counted again
  // dx; dW of all columns; the bias's sum
  CHECK(costs.flops("early_linear", Pass::backward) == early + (early + later) + B * T * out);
  CHECK(costs.bytes("early_linear", Pass::forward) ==
        4.0 * (B * T * E + out * E + out + B * T * out));
  CHECK(costs.flops("step_linear", Pass::forward) == later);
  CHECK(costs.flops("step_linear", Pass::backward) == later);
  CHECK(costs.bytes("step_linear", Pass::forward) == 4.0 * T * (B * Z + out * Z + 2 * B * out));
  CHECK(steps(randn({B, Z}, rng)).flops("step_linear", Pass::backward) == 0);
}

TEST_CASE("a feed-forward net in one pass, and a step with a cache") {
  const NoGrad guard;
  Rng rng(1);
  const std::int64_t M = 2, C = 4, F = 6;
  FeedForwardWeights net{
      .w1 = randn({F, C}, rng), .b1 = {}, .w2 = randn({C, F}, rng), .b2 = {}, .w3 = {}, .b3 = {}};
  const Tensor x = randn({M, C}, rng);
  Costs costs = costs_of([&] { feed_forward(x, Activation::relu, net); });
  CHECK(costs.flops("feed_forward", Pass::forward) == 2.0 * M * 2 * C * F);
  CHECK(costs.bytes("feed_forward", Pass::forward) == 4.0 * (2 * M * C + 2 * C * F));
  net.w3 = randn({F, C}, rng);
  costs = costs_of([&] { feed_forward(x, Activation::swiglu, net); });
  CHECK(costs.flops("feed_forward", Pass::forward) == 2.0 * M * 3 * C * F);
  CHECK(costs.all_known);

  const std::int64_t B = 2, W = 8, G = 2, D = 2, Q = 8, KV = G * D, tokens = 3;
  const AttentionStepCache cache{zeros({B, G, 5, D}), zeros({B, G, 5, D}), 2, tokens};
  const Tensor q = randn({Q + 2 * KV, W}, rng), out = randn({W, Q}, rng), y = randn({B, 1, W}, rng);
  const auto check = [&](const AttentionStepWeights& weights) {
    Costs step = costs_of([&] { attention_step(y, weights, cache); });
    CHECK(step.flops("attention_step", Pass::forward) ==
          2.0 * B * ((Q + 2 * KV) * W + Q * W + 2 * Q * tokens));
    CHECK(step.bytes("attention_step", Pass::forward) ==
          4.0 * (2 * B * W + (Q + 2 * KV) * W + W * Q + 2 * B * KV * (tokens + 1)));
    CHECK(step.all_known);
  };
  check({.q = q, .k = {}, .v = {}, .bias = {}, .out = out, .out_bias = {}});
  check({.q = narrow(q, 0, 0, Q).contiguous(),
         .k = narrow(q, 0, Q, KV).contiguous(),
         .v = narrow(q, 0, Q + KV, KV).contiguous(),
         .bias = {},
         .out = out,
         .out_bias = {}});
}

TEST_CASE("additive and linear attention") {
  Rng rng(1);
  const std::int64_t B = 2, T = 3, S = 4, A = 5, C = 6;
  const auto leaf = [&](const Shape& shape) { return randn(shape, rng).set_requires_grad(); };
  const Tensor q = leaf({B, T, A}), k = leaf({B, S, A}), v = leaf({A}), x = leaf({B, S, C});
  Costs costs = costs_of([&] {
    sum(additive_attention(q, k, v, x, Mask::lengths({4, 2})).context).backward();
  });
  const double pairs = T * (4 + 2);
  CHECK(costs.flops("additive_attention", Pass::forward) == pairs * (4 * A + 2 * C));
  CHECK(costs.flops("additive_attention", Pass::backward) == pairs * (10 * A + 4 * C));
  costs = costs_of([&] { sum(linear_attention(q, k, x)).backward(); });
  const double product = 2.0 * B * (T + S) * A * (C + 1);  // a column of ones for the sums
  CHECK(costs.flops("prefix_product", Pass::forward) == product);
  CHECK(costs.flops("prefix_product", Pass::backward) == 3 * product);
}

TEST_CASE("scans: a multiplication and an addition per pass, and da") {
  Rng rng(1);
  const std::int64_t N = 7, H = 4;
  const RaggedIndex index(std::vector<std::int64_t>{5, 2});
  const auto leaf = [&](const Shape& shape) { return randn(shape, rng).set_requires_grad(); };
  const auto check = [&](const char* op, const auto& scan, const Tensor& a, double forward,
                         double backward) {
    CAPTURE(op);
    const Tensor b = leaf({N, H});
    Costs costs = costs_of([&] { sum(scan(a, b, Tensor(), index, false).states).backward(); });
    CHECK(costs.flops(op, Pass::forward) == forward * N * H);
    CHECK(costs.flops(op, Pass::backward) == backward * N * H);
  };
  check("linear_recurrence", linear_recurrence, leaf({N, H}), 2, 3);
  check("linear_recurrence", linear_recurrence, leaf({H}), 2, 4);
  check("linear_recurrence", linear_recurrence, randn({H}, rng), 2, 2);
  // For H / 2 complex numbers: 6 per product, 2 per sum.
  check("complex_linear_recurrence", complex_linear_recurrence, leaf({N, H}), 4, 7);
}

TEST_CASE("norms, embedding, cross entropy, and a relu with dropout") {
  Rng rng(1);
  const std::int64_t N = 6, C = 5;
  const auto leaf = [&](const Shape& shape) { return randn(shape, rng).set_requires_grad(); };
  const Tensor x = leaf({N, C}), weight = leaf({C}), bias = leaf({C});
  Costs costs = costs_of([&] { sum(layer_norm(x, weight, bias)).backward(); });
  CHECK(costs.flops("layer_norm", Pass::forward) == 8.0 * N * C);
  CHECK(costs.flops("layer_norm", Pass::backward) == 13.0 * N * C);
  costs = costs_of([&] { sum(rms_norm(x, weight)).backward(); });
  CHECK(costs.flops("rms_norm", Pass::forward) == 4.0 * N * C);
  CHECK(costs.flops("rms_norm", Pass::backward) == 9.0 * N * C);
  const Tensor ids = from_data(std::vector<std::int64_t>{1, 2, 1}, {3});
  costs = costs_of([&] { sum(embedding(x, ids)).backward(); });
  CHECK(costs.flops("embedding", Pass::forward) == 0);
  CHECK(costs.bytes("embedding", Pass::forward) == 2 * 4.0 * 3 * C);  // the chosen rows alone
  CHECK(costs.flops("embedding", Pass::backward) == 3.0 * C);
  const Tensor targets = from_data(std::vector<std::int64_t>{0, 1, 2, 3, 4, 0}, {N});
  costs = costs_of([&] { cross_entropy(x, targets).backward(); });
  CHECK(costs.flops("cross_entropy", Pass::forward) == 4.0 * N * C);
  CHECK(costs.flops("cross_entropy", Pass::backward) == 4.0 * N * C);
  costs = costs_of([&] { sum(relu_dropout(x, 0.1, rng)).backward(); });
  CHECK(costs.flops("relu_dropout", Pass::forward) == 1.0 * N * C);
  CHECK(costs.flops("relu_dropout", Pass::backward) == 1.0 * N * C);
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

TEST_CASE("an op without an entry, and a backward whose forward was not observed") {
  const Tensor x = ones({3}).set_requires_grad();
  const auto own = [&] {
    return record<"my_own_op">(ones({3}), {x},
                               [](const Tensor& dy, NeedsGrad) { return Grads(dy); });
  };
  Costs costs = costs_of([&] { own(); });
  CHECK_FALSE(costs.all_known);
  CHECK(costs.flops("my_own_op", Pass::forward) == 0);
  CHECK(costs.bytes("my_own_op", Pass::forward) == 24);
  const Tensor y = exp(x);
  CHECK_FALSE(costs_of([&] { y.backward(ones({3})); }).all_known);
}

TEST_CASE(
    "a user's op with the name of a built-in op and other sizes is unknown, without an error") {
  const auto seen = [](const char* name, const OpSizes& sizes) {
    OpEvent op{name, Pass::forward, nullptr, &sizes, NeedsGrad(~std::uint64_t{0})};
    const OpCost forward = cost_of(op);
    op.pass = Pass::backward;
    return std::pair(forward, cost_of(op));
  };
  const TensorSize two{true, {2}}, three{true, {3, 3}}, five{true, {5, 5}}, number{true, {}};
  const OpSizes others[] = {
      {{two}, {two}}, {{three, five}, {three}}, {{number}, {number}}, {{}, {two}}, {{two}, {}}};
  for (const OpInfo& op : registered_ops())
    for (const OpSizes& sizes : others) seen(op.name, sizes);
  for (const char* op : {"matmul", "linear", "gru", "scaled_dot_product_attention",
                         "additive_attention", "early_linear", "step_linear", "attention_step"}) {
    CAPTURE(std::string(op));
    const auto [forward, backward] = seen(op, others[0]);
    CHECK_FALSE(forward.known);
    CHECK(forward.flops == 0);
    CHECK(forward.bytes == 16);
    CHECK(backward.known == (op == std::string("attention_step")));
  }
  CHECK_FALSE(seen("matmul", {{{true, {2, 3, 3}}, {true, {4, 3, 3}}}, {three}}).first.known);
  CHECK_FALSE(seen("lstm", {{three}, {three}}).first.known);  // its work is not set
}
