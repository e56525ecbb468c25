// Uses of the fused attention: views, packed sequences, score_mods, memory, errors.
#include <fovea/core/dry_run.h>
#include <fovea/core/kernels/attention.h>
#include <fovea/core/ops/layout.h>
#include <fovea/tests/core/ops/sdpa_support.h>

using namespace fovea;
using namespace fovea::test::sdpa;
using test::max_difference;
using test::message_of;

TEST_CASE(
    "sdpa: views: bitwise equal to dense tensors, and the output has the memory layout of q") {
  const Sizes n{2, 4, 2, 70, 70, 16, 16};
  const Problem dense = random_problem(n).to(DType::f32);
  const auto expected = fused(dense, Mask::causal(), {.sinks = true});
  Problem views = dense;
  for (std::size_t i = 0; i < 3; ++i)
    views.inputs[i] = transpose(transpose(dense.inputs[i].detach(), 1, 2).contiguous(), 1, 2)
                          .detach()
                          .set_requires_grad();
  views.dy = transpose(transpose(dense.dy, 1, 2).contiguous(), 1, 2);
  const auto found = fused(views, Mask::causal(), {.sinks = true});
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(max_difference(found[i], expected[i]) == 0);
  CHECK(found[4].strides() == Strides{70 * 4 * 16, 16, 4 * 16, 1});
  CHECK(found[0].strides() == Strides{70 * 4 * 16, 16, 4 * 16, 1});
  CHECK(found[1].strides() == Strides{70 * 2 * 16, 16, 2 * 16, 1});
  CHECK(expected[4].is_contiguous());

  Problem columns = dense;  // the last axis is strided: copied first
  for (std::size_t i = 0; i < 3; ++i)
    columns.inputs[i] = transpose(transpose(dense.inputs[i].detach(), 2, 3).contiguous(), 2, 3)
                            .detach()
                            .set_requires_grad();
  const auto copied = fused(columns, Mask::causal(), {.sinks = true});
  for (std::size_t i = 0; i < expected.size(); ++i)
    CHECK(max_difference(copied[i], expected[i]) == 0);
}

TEST_CASE("sdpa: a padded batch, a packed batch, and its sequences one by one") {
  const std::vector<std::int64_t> T{40, 3, 0, 75}, S{50, 9, 4, 75};
  const RaggedIndex queries(T), keys(S);
  Rng rng(2);
  for (const Mask& mask : {Mask::none(), Mask::causal(Mask::Corner::bottom_right),
                           Mask::window(5, 2, Mask::Corner::top_left)}) {
    std::vector<Tensor> in;  // q, k, v, sinks
    for (const Shape& shape : {Shape{queries.total(), 4, 16}, Shape{keys.total(), 2, 16},
                               Shape{keys.total(), 2, 8}, Shape{4}})
      in.push_back(randn(shape, rng, DType::f64).set_requires_grad());
    const Tensor dy = randn({queries.total(), 4, 8}, rng, DType::f64);
    for (const double p : {0.0, 0.25}) {
      Rng bits(4), same_bits(4);
      AttentionOptions options{.dropout = p, .rng = &bits, .sinks = in[3]};
      const Tensor packed = scaled_dot_product_attention(Ragged{in[0], queries}, {in[1], keys},
                                                         {in[2], keys}, mask, options)
                                .values;
      options.rng = &same_bits;
      std::vector<Tensor> rows;
      for (std::int64_t b = 0; b < 4; ++b) {
        const auto of = [&](const Tensor& x, const RaggedIndex& index) {
          return unsqueeze(transpose(narrow(x, 0, index.offset(b), index.length(b)), 0, 1), 0);
        };
        const Tensor y = scaled_dot_product_attention(of(in[0], queries), of(in[1], keys),
                                                      of(in[2], keys), mask, options);
        rows.push_back(transpose(select(y, 0, 0), 0, 1));
      }
      CHECK(bits.state() == same_bits.state());
      const Tensor one_by_one = concat(rows, 0);
      CHECK(max_difference(packed, one_by_one) == 0);
      const auto found = grad({&packed, 1}, in, {&dy, 1}),
                 expected = grad({&one_by_one, 1}, in, {&dy, 1});
      for (std::size_t i = 0; i < in.size(); ++i) {
        CHECK(max_difference(found[i], expected[i]) <= 1e-13 * largest(expected[i]));
        CHECK(largest(found[i]) > 0);
      }
    }
    if (!mask.keeps_all()) continue;  // the corner of a causal mask differs in a padded batch
    const auto padded = [&](std::size_t i, const RaggedIndex& index) {
      return transpose(pad(Ragged{in[i].detach(), index}), 1, 2);
    };
    const Tensor y = scaled_dot_product_attention(padded(0, queries), padded(1, keys),
                                                  padded(2, keys), Mask::lengths(S));
    const Tensor found =
        scaled_dot_product_attention(Ragged{in[0].detach(), queries}, {in[1].detach(), keys},
                                     {in[2].detach(), keys})
            .values;
    CHECK(max_difference(pack(transpose(y, 1, 2), queries).values, found) <= 1e-14);
  }
}

namespace {

// scores -> c_h scores + t: a user-defined implementation of ScoreMod.
template <class T>
struct HeadFactor {
  const T* factor;
  T* grad;  // (B, H, 1, 1)
  std::int64_t H;

  static void forward(const void* self, const kernels::ScoreTile<T>& tile) {
    const auto& me = *static_cast<const HeadFactor*>(self);
    for (std::int64_t i = 0; i < tile.keys; ++i)
      for (std::int64_t j = 0; j < tile.queries; ++j) {
        T& score = tile.scores[i * tile.stride + j];
        score = me.factor[tile.head] * score + static_cast<T>((tile.key + i) % 3);
      }
  }
  static void backward(const void* self, const kernels::ScoreTile<T>& tile, T* dscores) {
    const auto& me = *static_cast<const HeadFactor*>(self);
    for (std::int64_t i = 0; i < tile.keys; ++i)
      for (std::int64_t j = 0; j < tile.queries; ++j) {
        T& d = dscores[i * tile.stride + j];
        if (me.grad) me.grad[tile.batch * me.H + tile.head] += d * tile.scores[i * tile.stride + j];
        d *= me.factor[tile.head];
      }
  }
  kernels::ScoreHook<T> hook() const { return {this, forward, backward}; }
};

struct HeadFactorMod final : ScoreMod::Impl {
  explicit HeadFactorMod(const Tensor& factor) { captured = {factor}; }  // (1, H, 1, 1)

  Tensor reference(const Tensor& scores, const std::vector<Tensor>& x, std::int64_t,
                   std::int64_t) const override {
    std::vector<double> places;
    for (std::int64_t s = 0; s < scores.dim(3); ++s) places.push_back(static_cast<double>(s % 3));
    return scores * x[0] + from_data(places, {scores.dim(3)}).to(scores.dtype());
  }
  std::unique_ptr<Run> run(std::int64_t, std::int64_t H, std::int64_t, std::int64_t, DType,
                           std::vector<Tensor> grads) const override {
    struct Ready final : Run {
      kernels::ScoreHook<float> hook_f32() const override { return f32.hook(); }
      kernels::ScoreHook<double> hook_f64() const override { return f64.hook(); }
      HeadFactor<float> f32;
      HeadFactor<double> f64;
      std::vector<Tensor> kept;
    };
    auto ready = std::make_unique<Ready>();
    ready->kept = std::move(grads);
    Tensor* grad = ready->kept.empty() || !ready->kept[0].defined() ? nullptr : &ready->kept[0];
    if (captured[0].dtype() == DType::f32)
      ready->f32 = {captured[0].data<float>(), grad ? grad->mutable_data<float>() : nullptr, H};
    else
      ready->f64 = {captured[0].data<double>(), grad ? grad->mutable_data<double>() : nullptr, H};
    return ready;
  }
};

}  // namespace

TEST_CASE("sdpa: a score_mod, with a gradient for its captured tensor") {
  for (const Sizes n : {Sizes{2, 4, 2, 70, 90, 16, 8}, Sizes{2, 4, 2, 5, 90, 16, 8}}) {
    for (const Mask& mask : masks_for(n)) {
      const Problem p = random_problem(n);
      const Tensor dy[] = {p.dy};
      Rng rng(3);
      const Tensor factor = randn({1, n.H, 1, 1}, rng, DType::f64).set_requires_grad();
      const auto all = [&](DType dtype, auto attention) {
        const Problem q = p.to(dtype);
        const Tensor c = factor.detach().to(dtype).clone().set_requires_grad();
        const ScoreMod mod(std::make_shared<HeadFactorMod>(c));
        const Tensor y = attention(q.inputs[0], q.inputs[1], q.inputs[2], mask,
                                   AttentionOptions{.score_mod = mod});
        const std::vector<Tensor> in{q.inputs[0], q.inputs[1], q.inputs[2], c};
        std::vector<Tensor> found = grad({&y, 1}, in, {&q.dy, 1});
        found.push_back(y);
        return found;
      };
      const auto fast = [](const auto&... x) { return scaled_dot_product_attention(x...); };
      const auto slow = [](const auto&... x) { return attention_reference(x...).output; };
      check_same(all(DType::f64, fast), all(DType::f32, fast), all(DType::f64, slow), n);
    }
  }
}

TEST_CASE("sdpa: no queries, no keys, no batch") {
  for (const Sizes n : {Sizes{2, 2, 1, 0, 3, 4, 5},
                        {2, 2, 1, 3, 0, 4, 5},
                        {2, 2, 1, 30, 0, 4, 5},
                        {0, 2, 1, 3, 3, 4, 5}}) {
    const auto all = fused(random_problem(n), Mask::none(), {.dropout = 0.1});
    CHECK(all[3].shape() == Shape{n.B, n.H, n.T, n.E});
    for (const std::size_t i : {0, 1, 2, 3}) CHECK(largest(all[i]) == 0);
    CHECK(max_difference(all[4], full({n.B, n.H, n.T}, -infinity, DType::f64)) == 0);
  }
}

TEST_CASE("sdpa: only the required gradients, and only one of the outputs used") {
  const Sizes n{1, 2, 1, 40, 50, 16, 8};
  const Problem p = random_problem(n);
  const auto all = fused(p, Mask::none());
  for (std::size_t i = 0; i < 3; ++i) {
    std::vector<Tensor> x;
    for (std::size_t j = 0; j < 3; ++j) x.push_back(p.inputs[j].detach().set_requires_grad(i == j));
    const AttentionResult y = scaled_dot_product_attention_with_lse(x[0], x[1], x[2]);
    const Tensor outputs[] = {y.output, y.logsumexp}, seeds[] = {p.dy, p.dlse};
    CHECK(max_difference(grad(outputs, {&x[i], 1}, seeds)[0], all[i]) == 0);
  }
  const auto& x = p.inputs;
  const Tensor fast = scaled_dot_product_attention_with_lse(x[0], x[1], x[2]).logsumexp;
  const Tensor slow = attention_reference(x[0], x[1], x[2]).logsumexp;
  const auto found = grad({&fast, 1}, {x.data(), 2}, {&p.dlse, 1}),
             expected = grad({&slow, 1}, {x.data(), 2}, {&p.dlse, 1});
  for (std::size_t i = 0; i < 2; ++i) CHECK(max_difference(found[i], expected[i]) <= 1e-12);
}

TEST_CASE("sdpa: draws as many random words as the reference, and none without dropout") {
  const Problem p = random_problem({2, 2, 1, 5, 7, 4, 4});
  const auto& x = p.inputs;
  Rng fast(1), slow(1);
  scaled_dot_product_attention(x[0], x[1], x[2], Mask::none(), {.dropout = 0.5, .rng = &fast});
  attention_reference(x[0], x[1], x[2], Mask::none(), {.dropout = 0.5, .rng = &slow});
  CHECK(fast.state() == slow.state());
  CHECK(fast.state().position == 2 * 2 * 7 * 8 / 2);
  scaled_dot_product_attention(x[0], x[1], x[2], Mask::none(), {.rng = &slow});
  CHECK(fast.state() == slow.state());
}

TEST_CASE("sdpa: memory: linear in the length, in the forward and in the backward") {
  const auto beyond = [](std::int64_t T) {
    Rng rng(1);
    std::vector<Tensor> x;
    for (int i = 0; i < 3; ++i) x.push_back(randn({1, 2, T, 16}, rng).set_requires_grad());
    const Tensor dy = randn({1, 2, T, 16}, rng);
    const std::int64_t before = memory_stats().live_bytes;
    reset_peak_memory();
    scaled_dot_product_attention(x[0], x[1], x[2], Mask::causal(), {.dropout = 0.1, .rng = &rng})
        .backward(dy);
    const std::int64_t results = 4 * dy.numel() * 4;  // the output and three gradients
    return memory_stats().peak_bytes - before - results;
  };
  beyond(512);
  const std::int64_t short_one = beyond(1024), long_one = beyond(4096);
  CHECK(long_one <= 5 * short_one);
  // Three times dq, since the keys are split into two chunks here; log-sum-exp, delta, the mask's
  // rows.
  CHECK(long_one <= 4096 * (2 * 16 * 4 + 2 * 4 * 2) + 64 * 1024);
}

TEST_CASE("sdpa: the scratch memory of a thread does not grow with the length") {
  const auto scratch = [](std::int64_t T) {
    kernels::AttentionProblem<float> p{};
    p.n = {1, 8, 8, T, T, 64, 64};
    p.dropout.p = 0.1;
    return kernels::attention_scratch_bytes(p);
  };
  CHECK(scratch(16 * 1024) == scratch(1024));
  CHECK(scratch(16 * 1024) <= 1024 * 1024);
}

TEST_CASE("sdpa: nothing is saved if nothing is recorded") {
  Rng rng(1);
  const Tensor q = randn({1, 2, 256, 16}, rng);
  const std::int64_t before = memory_stats().live_bytes;
  const Tensor y = scaled_dot_product_attention(q, q, q, Mask::causal());
  CHECK(memory_stats().live_bytes - before <= 4 * y.numel() + 4096);
}

TEST_CASE("sdpa: an input modified in place is an error, not a wrong gradient") {
  Problem p = random_problem({1, 1, 1, 20, 20, 4, 4});
  for (std::size_t i = 0; i < 3; ++i) {
    const auto& x = p.inputs;
    const Tensor y = scaled_dot_product_attention(x[0], x[1], x[2]);
    x[i].detach().fill(1);
    CHECK(message_of<StateError>([&] { y.backward(p.dy); }).find("overwritten") !=
          std::string::npos);
  }
}

TEST_CASE("attention_weights of some rows") {
  const Sizes n{2, 4, 2, 20, 30, 16, 30};
  Problem p = random_problem(n);
  const auto& x = p.inputs;
  const Tensor ones_at =
      unsqueeze(unsqueeze(eye(30, DType::f64), 0), 0);  // values whose outputs are the weights
  const Tensor values = expand(ones_at, {2, 2, 30, 30});
  for (const Mask& mask : masks_for(n)) {
    const AttentionOptions options{.sinks = x[3].detach()};
    const Tensor all =
        attention_reference(x[0].detach(), x[1].detach(), values, mask, options).output;
    const Tensor rows = attention_weights(x[0], x[1], mask, options, 7, 12);
    CHECK(max_difference(rows, narrow(all, 2, 7, 5)) <= 1e-14);
    CHECK_FALSE(rows.requires_grad());
  }
  CHECK(attention_weights(x[0], x[1], Mask::none(), {.dropout = 0.5}, 3, 3).shape() ==
        Shape{2, 4, 0, 30});
  CHECK(message_of<IndexError>([&] { attention_weights(x[0], x[1], Mask::none(), {}, 3, 21); }) ==
        "attention_weights: queries [3, 21) of 20: must be in [0, 20]");
}

TEST_CASE("attention_weights of a few rows take memory for those rows only") {
  Rng rng(1);
  const Tensor q = randn({1, 1, 2000, 8}, rng);
  const std::int64_t before = memory_stats().live_bytes;
  reset_peak_memory();
  attention_weights(q, q, Mask::causal(), {}, 1000, 1010);
  CHECK(memory_stats().peak_bytes - before < 10 * 2000 * 4 * 10);
}

TEST_CASE("sdpa: the gradients of keys and values from one split are allocated once") {
  const auto peak_of_backward = [](bool joined) {
    const DryRun dry_run;  // counts to the byte
    constexpr std::int64_t S = 200, H = 2, D = 8;
    const Tensor q = zeros({1, H, 3, D}).set_requires_grad();
    const auto heads = [](const Tensor& x) { return transpose(reshape(x, {1, S, H, D}), 1, 2); };
    Tensor k, v;
    if (joined) {
      const Tensor kv = zeros({1, S, 2 * H * D}).set_requires_grad();
      const std::vector<Tensor> parts = split(kv, {H * D, H * D}, -1);
      k = heads(parts[0]);
      v = heads(parts[1]);
    } else {
      k = heads(zeros({1, S, H * D}).set_requires_grad());
      v = heads(zeros({1, S, H * D}).set_requires_grad());
    }
    const Tensor y = scaled_dot_product_attention(q, k, v, Mask::none());
    const std::int64_t before = dry_run.live_bytes();
    y.backward(zeros(y.shape()));
    return dry_run.peak_bytes() - before;
  };
  CHECK(peak_of_backward(true) <= peak_of_backward(false));
}

TEST_CASE("sdpa: errors") {
  const Tensor q = zeros({2, 4, 3, 8}), k = zeros({2, 2, 5, 8}), v = zeros({2, 2, 5, 6});
  const auto call = [](const Tensor& a, const Tensor& b, const Tensor& c,
                       const AttentionOptions& options = {}) {
    return [=] { scaled_dot_product_attention(a, b, c, Mask::none(), options); };
  };
  CHECK(message_of<ShapeError>(call(q, zeros({2, 3, 5, 8}), zeros({2, 3, 5, 6}))) ==
        "scaled_dot_product_attention: q (2, 4, 3, 8), k (2, 3, 5, 8), v (2, 3, 5, 6): must be (B, "
        "H, T, D), (B, G, S, D), (B, G, S, E), H a multiple of G, both at least 1");
  CHECK_THROWS_AS(call(zeros({2, 0, 9, 8}), k, v)(), ShapeError);
  CHECK_THROWS_AS(call(q, zeros({2, 0, 5, 8}), zeros({2, 0, 5, 6}))(), ShapeError);
  CHECK_THROWS_AS(attention_head_mean(zeros({2, 0, 9, 8}), k, Mask::none(), {}, zeros({2, 0, 9})),
                  ShapeError);
  CHECK_THROWS_AS(call(q, k, zeros({2, 2, 4, 6}))(), ShapeError);
  CHECK_THROWS_AS(call(q, zeros({2, 2, 5, 7}), v)(), ShapeError);
  CHECK_THROWS_AS(call(zeros({4, 3, 8}), k, v)(), ShapeError);
  CHECK(message_of<DTypeError>(call(q, k, v.to(DType::f64))) ==
        "scaled_dot_product_attention: q f32, k f32, v f64: dtypes must be equal");
  CHECK(message_of<ValueError>(call(q, k, v, {.dropout = 1})) ==
        "scaled_dot_product_attention: dropout = 1: must be in [0, 1)");
  CHECK(message_of<ValueError>(call(q, k, v, {.dropout = 0.1})) ==
        "scaled_dot_product_attention: dropout = 0.1 without rng: rng must be given");
  CHECK(message_of<ShapeError>(call(q, k, v, {.sinks = zeros({2})})) ==
        "scaled_dot_product_attention: sinks (2,) for 4 heads: must be (H)");
  CHECK(message_of<DTypeError>(call(q, k, v, {.sinks = zeros({4}, DType::f64)})) ==
        "scaled_dot_product_attention: sinks f64, q f32: dtypes must be equal");
}

TEST_CASE("sdpa: errors of packed sequences") {
  const RaggedIndex index({2, 3});
  const Ragged q{zeros({5, 4, 8}), index}, k{zeros({5, 2, 8}), index}, v{zeros({5, 2, 6}), index};
  const auto call = [](const Ragged& a, const Ragged& b, const Ragged& c,
                       const Mask& mask = Mask::none()) {
    return [=] { scaled_dot_product_attention(a, b, c, mask); };
  };
  CHECK_NOTHROW(call(q, k, v, Mask::causal())());
  CHECK(message_of<ShapeError>(call(q, k, {zeros({4, 2, 6}), RaggedIndex({2, 2})})) ==
        "scaled_dot_product_attention: 2 sequences of queries, 2 of keys, 2 of values: must be "
        "equal, with keys as long as values");
  CHECK(
      message_of<ShapeError>(call(q, {zeros({6, 2, 8}), index}, v)) ==
      "scaled_dot_product_attention: packed q (5, 4, 8) of 5 rows, k (6, 2, 8) of 5, v (5, 2, 6) "
      "of 5: must be (rows, H, D), (rows, G, D), (rows, G, E), H a multiple of G, both at least 1");
  CHECK_THROWS_AS(call({zeros({5, 0, 8}), index}, k, v)(), ShapeError);
  CHECK_THROWS_AS(call(q, k, {v.values.to(DType::f64), index})(), DTypeError);
  const std::string padded =
      "scaled_dot_product_attention: mask: must be none, causal or window for packed sequences";
  CHECK(message_of<ValueError>(call(q, k, v, Mask::lengths({2, 3}))) == padded);
  CHECK(message_of<ValueError>(call(q, k, v, Mask::causal() & Mask::prefix_lm({2, 3}))) == padded);
  CHECK(message_of<ValueError>(call(q, k, v, Mask::keep(full({3, 3}, 1, DType::boolean)))) ==
        padded);
}
