// MultiheadAttention and ScaledDotProduct as modules.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/attention/scaled_dot_product.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

using Options = MultiheadAttentionOptions;

std::string listed(Module& module) {
  std::string text;
  for (const auto& [name, x] : module.parameters()) text += name + " " + x.shape().str() + "\n";
  return text;
}

// Every option at least once; self-attention of width 12 fits all of them.
std::vector<Options> kinds() {
  return {{.embed_dim = 12, .num_heads = 3},
          {.embed_dim = 12, .num_heads = 3, .bias = false, .causal = true},
          {.embed_dim = 12, .num_heads = 6, .num_kv_heads = 2, .rope = RopeOptions{}},
          {.embed_dim = 12, .num_heads = 4, .num_kv_heads = 1, .window_left = 1, .sinks = true},
          {.embed_dim = 12, .num_heads = 2, .head_dim = 4, .causal = true, .qk_norm = true},
          {.embed_dim = 12,
           .num_heads = 2,
           .causal = true,
           .window_left = 2,
           .rope = RopeOptions{.pairing = RopePairing::halves, .dims = 4}},
          {.embed_dim = 12, .num_heads = 3, .causal = true, .alibi = true, .soft_cap = 2}};
}

// Random parameters, as biases are initialized to 0.
void stir(Module& module, Rng& rng) {
  for (auto& [name, x] : module.parameters()) x.copy_from(x.detach() + 0.3 * randn(x.shape(), rng));
}

struct Recorder final : AttentionObserver {
  std::vector<AttentionCall> calls;
  void on_attention(const Attention&, const AttentionCall& call) override { calls.push_back(call); }
};

// (B, H, T, s) -> (B, H, T, S), padded with zeros
Tensor pad_keys(const Tensor& weights, std::int64_t S) {
  Shape rest = weights.shape();
  rest[3] = S - rest[3];
  return concat({weights, zeros(rest)}, 3);
}

struct Fixture {
  Rng rng{4};
  Tensor x = randn({2, 5, 12}, rng), memory = randn({2, 7, 12}, rng);
};

}  // namespace

TEST_CASE("names and shapes are PyTorch's") {
  Rng rng(1);
  MultiheadAttention packed({.embed_dim = 6, .num_heads = 2}, rng);
  CHECK(listed(packed) ==
        "in_proj_weight (18, 6)\nin_proj_bias (18,)\nout_proj.weight (6, 6)\nout_proj.bias (6,)\n");
  MultiheadAttention apart({.embed_dim = 6, .num_heads = 2, .kdim = 3, .vdim = 4}, rng);
  CHECK(listed(apart) ==
        "q_proj_weight (6, 6)\nk_proj_weight (6, 3)\nv_proj_weight (6, 4)\nin_proj_bias (18,)\n"
        "out_proj.weight (6, 6)\nout_proj.bias (6,)\n");
  MultiheadAttention grouped({.embed_dim = 8,
                              .num_heads = 4,
                              .num_kv_heads = 2,
                              .head_dim = 3,
                              .bias = false,
                              .sinks = true,
                              .qk_norm = true},
                             rng);
  CHECK(listed(grouped) ==
        "q_proj_weight (12, 8)\nk_proj_weight (6, 8)\nv_proj_weight (6, 8)\n"
        "out_proj.weight (8, 12)\nq_norm.weight (3,)\nk_norm.weight (3,)\nsinks (4,)\n");
}

TEST_CASE("initialization: xavier-uniform over the packed matrix, biases 0") {
  Rng rng(2);
  const MultiheadAttention a({.embed_dim = 96, .num_heads = 4}, rng);
  const auto largest = [](const Tensor& w) { return max(abs(w)).item<double>(); };
  const double packed = std::sqrt(6.0 / (4 * 96)), out = 1 / std::sqrt(96.0);
  CHECK(largest(a.in_proj_weight) <= packed);
  CHECK(largest(a.in_proj_weight) >= 0.99 * packed);
  CHECK(largest(a.out_proj.weight) <= out);
  CHECK(largest(a.out_proj.weight) >= 0.99 * out);
  CHECK(largest(a.in_proj_bias) == 0);
  CHECK(largest(a.out_proj.bias) == 0);
}

TEST_CASE_FIXTURE(Fixture, "it follows the formula, head by head") {
  MultiheadAttention a({.embed_dim = 12, .num_heads = 3}, rng);
  stir(a, rng);
  const auto w = split(a.in_proj_weight, 12, 0), b = split(a.in_proj_bias, 12, 0);
  const Mask mask = Mask::lengths({7, 2});
  const Tensor q = linear(x, w[0], b[0]), k = linear(memory, w[1], b[1]),
               v = linear(memory, w[2], b[2]);
  std::vector<Tensor> heads;
  for (std::int64_t h = 0; h < 3; ++h) {
    const auto head = [&](const Tensor& p) { return slice(p, -1, 4 * h, 4 * h + 4); };
    const Tensor scores = matmul(head(q), transpose(head(k), 1, 2)) / 2.0;  // (B, T, S)
    heads.push_back(matmul(masked_softmax(scores, mask), head(v)));         // (B, T, D)
  }
  const Tensor expected = a.out_proj(concat(heads, -1));
  CHECK(max_difference(a(x, memory, memory, mask), expected) <= 1e-5);
}

TEST_CASE_FIXTURE(Fixture, "one product, two or three: the same values") {
  for (const Options& o : kinds()) {
    MultiheadAttention a(o, rng);
    stir(a, rng);
    const Tensor other = x.clone(), third = x.clone();
    const Tensor y = a(x);
    CHECK(max_difference(y, a(x, x, x, Mask::none())) == 0);
    CHECK(max_difference(y, a(x, other, other, Mask::none())) <= 1e-5);
    CHECK(max_difference(y, a(x, other, third, Mask::none())) <= 1e-5);
  }
}

TEST_CASE_FIXTURE(Fixture, "every parameter gets a gradient, from self- and cross-attention") {
  for (const Options& o : kinds()) {
    MultiheadAttention a(o, rng);
    for (const bool self : {true, false}) {
      a.zero_grad();
      const GradientAudit audit;
      sum(square(self ? a(x) : a(x, memory, memory, Mask::lengths({7, 3})))).backward();
      for (const auto& finding : audit.findings(a.parameters())) FAIL_CHECK(finding.parameter);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "grouped keys equal keys repeated for each head") {
  const MultiheadAttention grouped({.embed_dim = 12, .num_heads = 6, .num_kv_heads = 2}, rng);
  MultiheadAttention full({.embed_dim = 12, .num_heads = 6}, rng);
  const auto repeated = [](const Tensor& w) {  // (G D, C) -> (H D, C)
    return reshape(expand(reshape(w, {2, 1, 2, 12}), {2, 3, 2, 12}), {12, 12});
  };
  full.in_proj_weight.copy_from(
      concat({grouped.q_proj_weight, repeated(grouped.k_proj_weight.detach()),
              repeated(grouped.v_proj_weight.detach())},
             0));
  full.out_proj.weight.copy_from(grouped.out_proj.weight);
  full.out_proj.bias.copy_from(grouped.out_proj.bias);
  CHECK(max_difference(grouped(x), full(x)) <= 1e-5);
}

TEST_CASE_FIXTURE(Fixture, "later tokens and tokens outside the window have no effect") {
  for (const Options& o : kinds()) {
    if (!o.causal && o.window_left < 0) continue;
    MultiheadAttention a(o, rng);
    Tensor changed = x.clone();
    slice(changed, 1, 4, 5).fill(0.7);  // the last of 5
    const Tensor before = a(x), after = a(changed);
    if (o.causal) {
      CHECK(max_difference(slice(before, 1, 0, 4), slice(after, 1, 0, 4)) == 0);
      CHECK(max_difference(slice(before, 1, 4, 5), slice(after, 1, 4, 5)) > 1e-4);
    }
    if (o.window_left >= 0) {
      changed = x.clone();
      slice(changed, 1, 0, 1).fill(0.7);
      CHECK(max_difference(slice(before, 1, o.window_left + 1, 5),
                           slice(a(changed), 1, o.window_left + 1, 5)) == 0);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "left and right window") {
  const MultiheadAttention a({.embed_dim = 12, .num_heads = 3, .window_left = 2, .window_right = 1},
                             rng);
  const Tensor weights = a.weights(x, a.project(x, x));
  const Tensor outside = logical_not(Mask::window(2, 1).to_tensor({2, 3, 5, 5}));  // (1, 1, T, S)
  CHECK(max(where(outside, weights, 0.0)).item<double>() == 0);
  CHECK(min(where(outside, 1.0, weights)).item<double>() > 0);
}

TEST_CASE_FIXTURE(Fixture, "keys and values projected before, whole or appended, give the same") {
  for (const Options& o : kinds()) {
    if (o.window_right >= 0) continue;
    MultiheadAttention a(o, rng);
    stir(a, rng);
    CHECK(max_difference(a(x, memory, memory, Mask::none()),
                         a.attend(x, a.project(memory, memory))) == 0);
    if (!o.causal) continue;
    const Tensor whole = a(x);
    KeyValue cache;
    for (std::int64_t t = 0; t < 5; ++t) {
      const Tensor token = slice(x, 1, t, t + 1),
                   at = full({1}, static_cast<double>(t), DType::i64);
      const KeyValue now = a.project(token, token, at);
      cache = t == 0 ? now : KeyValue{concat({cache.k, now.k}, 2), concat({cache.v, now.v}, 2)};
      const Tensor y = a.attend(token, cache, Mask::none(), at);
      CHECK(max_difference(y, slice(whole, 1, t, t + 1)) <= 1e-5);
      const auto heads = a.project_self(token, at);
      CHECK(max_difference(heads.kv.k, now.k) <= 1e-5);
      CHECK(max_difference(a.attend_heads(heads.q, cache, a.own_mask()), y) <= 1e-5);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "packed sequences: as padded ones, values, gradients and weights") {
  const std::vector<std::int64_t> lengths{2, 5};
  const RaggedIndex index(lengths);
  for (const Options& o : kinds()) {
    MultiheadAttention a(o, rng);
    stir(a, rng);
    Recorder recorder;
    const auto run = [&](bool packed, Tensor& dx) {
      a.zero_grad();
      Tensor leaf = x.clone();
      leaf.set_requires_grad();
      const Tensor y = packed ? a(pack(leaf, index)).values
                              : pack(a(leaf, Mask::lengths(lengths)), index).values;
      sum(square(y)).backward();
      dx = leaf.grad();
      return y.detach();
    };
    Tensor dx, expected_dx;
    a.watch(recorder);
    const Tensor y = run(true, dx);
    std::vector<Tensor> grads;
    for (const auto& [name, w] : a.parameters()) grads.push_back(w.grad().clone());
    const Tensor expected = run(false, expected_dx);
    CHECK(max_difference(y, expected) <= 1e-5);
    CHECK(max_difference(dx, expected_dx) <= 1e-4);
    const NamedTensors parameters = a.parameters();
    for (std::size_t i = 0; i < grads.size(); ++i)
      CHECK(max_difference(grads[i], parameters[i].second.grad()) <= 1e-4);
    a.unwatch(recorder);
    CHECK(max_difference(run(true, dx), y) == 0);
    REQUIRE(recorder.calls.size() == 2);
    const auto shown = [&](const AttentionCall& call) {  // (B, H, T, S) -> (N, H, S)
      return pack(transpose(call.rows(0, 5), 1, 2), index).values;
    };
    CHECK(max_difference(shown(recorder.calls[0]), shown(recorder.calls[1])) <= 1e-5);
  }
}

// The rope positions restart at each sequence, of queries and keys.
TEST_CASE_FIXTURE(Fixture,
                  "packed queries and keys, projected separately: as sequence by sequence") {
  const RaggedIndex queries({2, 0, 5}), keys({7, 3, 1});
  for (const Options& o : kinds()) {
    MultiheadAttention a(o, rng);
    stir(a, rng);
    Tensor q = randn({7, 12}, rng), k = randn({11, 12}, rng);
    q.set_requires_grad();
    k.set_requires_grad();
    const auto gradients = [&](const Tensor& y) {
      a.zero_grad();
      q.zero_grad();
      k.zero_grad();
      sum(square(y)).backward();
      std::vector<Tensor> all{q.grad(), k.grad()};
      for (const auto& [name, w] : a.parameters()) all.push_back(w.grad());
      return all;
    };
    Recorder recorder;
    a.watch(recorder);
    const Tensor y = a.attend(Ragged{q, queries}, a.project(Ragged{k, keys})).values;  // (N, C)
    a.unwatch(recorder);
    std::vector<Tensor> each;
    for (std::int64_t b = 0; b < 3; ++b) {
      const auto own = [&](const Tensor& rows, const RaggedIndex& index) {
        return unsqueeze(narrow(rows, 0, index.offset(b), index.length(b)), 0);
      };
      const KeyValue kv = a.project(own(k, keys), own(k, keys));
      each.push_back(squeeze(a.attend(own(q, queries), kv), 0));
      if (b != 2 || o.causal || o.window_left >= 0 || o.alibi) continue;
      CHECK(max_difference(narrow(recorder.calls.at(0).rows(0, 5), 0, 2, 1),
                           pad_keys(a.weights(own(q, queries), kv), 7)) <= 1e-6);
    }
    const Tensor expected = concat(each, 0);
    CHECK(max_difference(y, expected) <= 1e-5);
    const std::vector<Tensor> some = gradients(y), same = gradients(expected);
    for (std::size_t i = 0; i < some.size(); ++i) CHECK(max_difference(some[i], same[i]) <= 1e-4);
  }
}

TEST_CASE_FIXTURE(Fixture, "rope: only distances matter") {
  const MultiheadAttention a({.embed_dim = 12, .num_heads = 2, .rope = RopeOptions{}}, rng);
  const Tensor here = arange(5), far = arange(5) + 1000.0;
  const Tensor y = a.attend(x, a.project(x, x, here), Mask::none(), here);
  CHECK(max_difference(y, a(x)) <= 1e-5);
  CHECK(max_difference(y, a.attend(x, a.project(x, x, far), Mask::none(), far)) <= 1e-4);
  CHECK(max_difference(y, a.attend(x, a.project(x, x, far), Mask::none(), here)) > 1e-3);
}

TEST_CASE_FIXTURE(Fixture, "alibi and soft cap change the scores, the cap first") {
  MultiheadAttention a({.embed_dim = 12, .num_heads = 3, .alibi = true, .soft_cap = 0.5}, rng);
  stir(a, rng);
  const MultiheadAttention::Heads heads = a.project_self(x);
  const Tensor scores = matmul(heads.q, transpose(heads.kv.k, 2, 3)) / 2.0;  // (B, H, T, S)
  const Tensor places = arange(0, 5);
  const Tensor distance = abs(unsqueeze(places, 1) - places);  // (T, S)
  const Tensor fall = distance * reshape(alibi_slopes(3), {3, 1, 1});
  const Tensor expected = softmax(0.5 * tanh(scores / 0.5) - fall);
  CHECK(max_difference(a.weights(x, heads.kv), expected) <= 1e-5);
  CHECK(max_difference(a(x), a.out_proj(reshape(transpose(matmul(expected, heads.kv.v), 1, 2),
                                                {2, 5, 12}))) <= 1e-5);
}

TEST_CASE_FIXTURE(Fixture, "a fully masked query gets only the output bias, and no NaN") {
  for (Options o : kinds()) {
    MultiheadAttention a(o, rng);
    stir(a, rng);
    Tensor leaf = x.clone();
    leaf.set_requires_grad();
    const Tensor y = a(leaf, Mask::lengths({5, 0}));
    const Tensor rest = a.out_proj.bias.defined() ? a.out_proj.bias : zeros({12});
    CHECK(max_difference(select(y, 0, 1), expand(rest, {5, 12})) == 0);
    sum(square(y)).backward();
    CHECK(max_difference(select(leaf.grad(), 0, 1), zeros({5, 12})) == 0);
    for (const auto& [name, w] : a.parameters()) CHECK(std::isfinite(sum(w.grad()).item<double>()));
  }
}

TEST_CASE_FIXTURE(Fixture,
                  "with an observer the output is bitwise the same, and the weights are reported") {
  for (Options o : kinds()) {
    o.dropout = 0.4;
    const auto run = [&](AttentionObserver* observer, bool training) {
      Rng own(9);
      MultiheadAttention a(o, own);
      a.train(training);
      if (observer) a.watch(*observer);
      const Tensor y = a(x, Mask::lengths({5, 3}));
      sum(square(y)).backward();
      Tensor first = a.parameters()[0].second;
      return std::vector<Tensor>{y.detach(), first.grad()};
    };
    for (const bool training : {true, false}) {
      Recorder recorder;
      const auto unwatched = run(nullptr, training), watched = run(&recorder, training);
      for (std::size_t i = 0; i < 2; ++i) CHECK(max_difference(unwatched[i], watched[i]) == 0);
      REQUIRE(recorder.calls.size() == 1);
      const AttentionCall& call = recorder.calls[0];
      const Shape all{2, o.num_heads, 5, 5};
      CHECK(Shape{call.B, call.H, call.T, call.S} == all);
      const Tensor weights = call.rows(0, 5);
      CHECK(weights.shape() == all);
      CHECK_FALSE(weights.requires_grad());
      CHECK(max_difference(call.rows(2, 4), slice(weights, 2, 2, 4)) <= 1e-6);
      if (!o.sinks) CHECK(max_difference(sum(weights, -1), ones({2, o.num_heads, 5})) <= 1e-5);
      CHECK(max(slice(select(weights, 0, 1), -1, 3, 5)).item<double>() == 0);
      Rng own(9);
      const MultiheadAttention same(o, own);
      CHECK(max_difference(same.weights(x, same.project(x, x), Mask::lengths({5, 3})), weights) <=
            1e-6);
    }
  }
}

TEST_CASE_FIXTURE(Fixture, "a removed observer receives no calls") {
  MultiheadAttention a(kinds()[0], rng);
  Recorder recorder;
  a.watch(recorder);
  a(x);
  a.unwatch(recorder);
  a(x);
  CHECK(recorder.calls.size() == 1);
  a.watch(recorder);
  const MultiheadAttention moved = std::move(a);
  moved(x);  // the object was watched, not what it was moved to
  CHECK(recorder.calls.size() == 1);
}

TEST_CASE_FIXTURE(Fixture, "dropout is on in training and off in eval") {
  MultiheadAttention a({.embed_dim = 12, .num_heads = 3, .dropout = 0.5}, rng);
  CHECK(max_difference(a(x), a(x)) > 1e-3);
  a.eval();
  CHECK(max_difference(a(x), a(x)) == 0);
}

TEST_CASE_FIXTURE(Fixture, "a frozen module passes gradients on and accumulates none") {
  MultiheadAttention a({.embed_dim = 12, .num_heads = 3}, rng);
  a.freeze();
  Tensor leaf = x.clone();
  leaf.set_requires_grad();
  sum(square(a(leaf))).backward();
  CHECK(max(abs(leaf.grad())).item<double>() > 0);
  for (const auto& [name, w] : a.parameters()) CHECK_FALSE(w.grad().defined());
}

TEST_CASE_FIXTURE(Fixture, "error messages name the argument and the module") {
  const auto made = [&](const Options& o) {
    return message_of<ValueError>([&] { MultiheadAttention(o, rng); });
  };
  CHECK(
      made({.embed_dim = 10, .num_heads = 3}) ==
      "MultiheadAttention: embed_dim = 10: must be a multiple of num_heads = 3, or give head_dim");
  CHECK(made({.embed_dim = 10, .num_heads = 0}) ==
        "MultiheadAttention: num_heads = 0: must be from 1 to 1073741824");
  CHECK(made({.embed_dim = 12, .num_heads = 6, .num_kv_heads = 4}) ==
        "MultiheadAttention: num_heads = 6: must be a multiple of num_kv_heads = 4");
  CHECK(made({.embed_dim = 12, .num_heads = 6, .soft_cap = -1}) ==
        "MultiheadAttention: soft_cap = -1: must not be negative");
  CHECK(made({.embed_dim = 12, .num_heads = 6, .dropout = 1}) ==
        "MultiheadAttention: dropout = 1: must be in [0, 1)");
  MultiheadAttention a({.embed_dim = 12, .num_heads = 3, .kdim = 4}, rng);
  a.name_tree("decoder.attn");
  CHECK(message_of<ShapeError>([&] { a(x, memory, memory, Mask::none()); }) ==
        "MultiheadAttention: key (2, 7, 12): must be (batch, length, 4), in decoder.attn");
  CHECK(message_of<ShapeError>([&] {
          a.attend(zeros({2, 12}), {});
        }) == "MultiheadAttention: query (2, 12): must be (batch, length, 12), in decoder.attn");
}

TEST_CASE_FIXTURE(Fixture, "scaled dot-product without parameters: values, weights, errors") {
  ScaledDotProduct plain({}, rng), scaled({.scale = 0.1}, rng), noisy({.dropout = 0.5}, rng);
  const Tensor value = randn({2, 7, 3}, rng);
  const Mask mask = Mask::lengths({7, 4});
  const auto expected = [&](double scale) {
    return matmul(masked_softmax(scale * matmul(x, transpose(memory, 1, 2)), mask), value);
  };
  CHECK(plain.parameters().empty());
  Recorder recorder;
  const Tensor unwatched = plain(x, memory, value, mask);
  plain.watch(recorder);
  CHECK(max_difference(plain(x, memory, value, mask), unwatched) == 0);
  CHECK(max_difference(unwatched, expected(1 / std::sqrt(12.0))) <= 1e-5);
  CHECK(max_difference(scaled(x, memory, value, mask), expected(0.1)) <= 1e-5);
  REQUIRE(recorder.calls.size() == 1);
  CHECK(max_difference(matmul(squeeze(recorder.calls[0].rows(0, 5), 1), value), unwatched) <= 1e-5);
  CHECK(max_difference(noisy(x, memory, value, mask), noisy(x, memory, value, mask)) > 1e-3);
  noisy.eval();
  CHECK(max_difference(noisy(x, memory, value, mask), unwatched) == 0);
  CHECK(message_of<ShapeError>([&] { plain(select(x, 0, 0), memory, value, mask); }) ==
        "ScaledDotProduct: query (5, 12), key (2, 7, 12), value (2, 7, 3): must be (B, T, C), "
        "(B, S, C), (B, S, Cv)");
  CHECK(message_of<ValueError>([&] { ScaledDotProduct({.dropout = -1}, rng); }) ==
        "ScaledDotProduct: dropout = -1: must be in [0, 1)");
}
