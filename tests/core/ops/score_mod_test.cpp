// Score modifications: against plain loops, in hand-made tiles, against published values, and
// errors.
#include <fovea/core/autograd.h>
#include <fovea/core/kernels/attention.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

#include "score_mod_support.h"
#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace fovea;
using namespace fovea::test;

namespace {

const Sizes kSizes[] = {{2, 3, 5, 7}, {1, 1, 1, 1}, {1, 2, 9, 4}, {2, 1, 1, 6}, {1, 2, 21, 33}};

}  // namespace

TEST_CASE("score_mod: each score_mod equals a loop over the scores") {
  for (const Case& c : cases())
    for (const Sizes& n : kSizes) {
      CAPTURE(c.name);
      CAPTURE(n.T);
      const std::vector<Tensor> leaves = leaves_for(c, n);
      std::vector<std::vector<double>> numbers;
      for (const Tensor& x : leaves) numbers.push_back(x.to_vector<double>());
      const Tensor scores = random({n.B, n.H, n.T, n.S}, 1);
      std::vector<double> expected = scores.to_vector<double>();
      std::size_t i = 0;
      for (std::int64_t b = 0; b < n.B; ++b)
        for (std::int64_t h = 0; h < n.H; ++h)
          for (std::int64_t t = 0; t < n.T; ++t)
            for (std::int64_t s = 0; s < n.S; ++s, ++i)
              expected[i] = c.naive(expected[i], {b, h, t, s, s - (t + n.S - n.T)}, n, numbers);
      const ScoreMod mod = c.make(leaves);
      CHECK(max_difference(reference(mod, scores), from_data(expected, scores.shape())) <= 1e-13);
    }
}

TEST_CASE("score_mod: a part of the rows equals the same rows of the whole") {
  const Sizes n{2, 3, 9, 11};
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const ScoreMod mod = c.make(leaves_for(c, n));
    const Tensor scores = random({n.B, n.H, n.T, n.S}, 1);
    const Tensor whole = reference(mod, scores);
    for (const auto& [begin, rows] : {std::pair{0, 2}, {3, 4}, {8, 1}}) {
      const Tensor part =
          mod.impl().reference(narrow(scores, 2, begin, rows), mod.impl().captured, begin, n.T);
      CHECK(max_difference(part, narrow(whole, 2, begin, rows)) == 0);
    }
  }
}

namespace {

// ---- By tiles ----------------------------------------------------------------------------------

template <class T>
kernels::ScoreHook<T> hook_of(const ScoreMod::Impl::Run& run) {
  if constexpr (std::is_same_v<T, float>)
    return run.hook_f32();
  else
    return run.hook_f64();
}

// Applies a hook to all of `scores` (and dscores, if defined), tile by tile: (keys, queries), rows
// further apart than the tile is wide, and NaN in between.
template <class T>
void by_tiles(const kernels::ScoreHook<T>& hook, Tensor& scores, Tensor* dscores, std::int64_t keys,
              std::int64_t queries) {
  const std::int64_t B = scores.dim(0), H = scores.dim(1), rows = scores.dim(2), S = scores.dim(3),
                     stride = queries + 3;
  T* x = scores.mutable_data<T>();
  T* dx = dscores ? dscores->mutable_data<T>() : nullptr;
  const T poison = std::numeric_limits<T>::quiet_NaN();
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t h = 0; h < H; ++h)
      for (std::int64_t s = 0; s < S; s += keys)
        for (std::int64_t t = 0; t < rows; t += queries) {
          std::vector<T> tile(static_cast<std::size_t>(keys * stride), poison), d = tile;
          const std::int64_t ks = std::min(keys, S - s), qs = std::min(queries, rows - t);
          const auto each = [&](const auto& f) {
            for (std::int64_t i = 0; i < ks; ++i)
              for (std::int64_t j = 0; j < qs; ++j)
                f(static_cast<std::size_t>(i * stride + j),
                  ((b * H + h) * rows + t + j) * S + s + i);
          };
          each([&](std::size_t in, std::int64_t at) {
            tile[in] = x[at];
            if (dx) d[in] = dx[at];
          });
          const kernels::ScoreTile<T> view{b, h, t, s, qs, ks, tile.data(), stride};
          if (!dx && hook.forward) hook.forward(hook.self, view);
          if (dx && hook.backward) hook.backward(hook.self, view, d.data());
          each([&](std::size_t in, std::int64_t at) {
            x[at] = tile[in];
            if (dx) dx[at] = d[in];
            tile[in] = d[in] = poison;
          });
          const auto is_nan = [](T value) { return std::isnan(value); };
          CHECK((std::ranges::all_of(tile, is_nan) && std::ranges::all_of(d, is_nan)));
        }
}

// The results of a hook for scores and a cotangent: {y, dscores, dcaptured...}
std::vector<Tensor> results_by_tiles(const ScoreMod& mod, const Sizes& n, const Tensor& scores,
                                     const Tensor& dy, std::int64_t keys, std::int64_t queries) {
  std::vector<Tensor> all{scores.clone(), dy.clone()}, grads;
  const DType dtype = scores.dtype();
  for (const Tensor& x : mod.impl().captured) {
    Shape shape = x.shape();
    shape[0] = n.B, shape[1] = n.H;
    grads.push_back(zeros(shape, dtype));
  }
  dispatch_float(dtype, "test", [&]<class T>() {
    const auto forward = mod.impl().run(n.B, n.H, n.T, n.S, dtype, {});
    by_tiles<T>(hook_of<T>(*forward), all[0], nullptr, keys, queries);
    const auto backward = mod.impl().run(n.B, n.H, n.T, n.S, dtype, grads);
    Tensor unmodified = scores.clone();
    by_tiles<T>(hook_of<T>(*backward), unmodified, &all[1], keys, queries);
    CHECK(max_difference(unmodified, scores) == 0);
  });
  for (std::size_t i = 0; i < grads.size(); ++i)
    all.push_back(sum_to(grads[i], mod.impl().captured[i].shape()));
  return all;
}

}  // namespace

TEST_CASE(
    "score_mod: in tiles of any size and position, score_mod and gradients equal the reference") {
  const std::pair<std::int64_t, std::int64_t> tiles[] = {{64, 64}, {5, 7}, {1, 3}, {4, 16}};
  for (const Case& c : cases())
    for (const Sizes& n : kSizes)
      for (const auto& tile : tiles) {
        const std::int64_t keys = tile.first, queries = tile.second;
        CAPTURE(c.name);
        CAPTURE(n.T);
        CAPTURE(keys);
        const Tensor scores = random({n.B, n.H, n.T, n.S}, 1);
        const Tensor dy = random({n.B, n.H, n.T, n.S}, 2);
        const ScoreMod mod = c.make(leaves_for(c, n));
        const Tensor x = scores.clone().set_requires_grad();
        std::vector<Tensor> expected{reference(mod, x)}, inputs{x};
        inputs.insert(inputs.end(), mod.impl().captured.begin(), mod.impl().captured.end());
        for (const Tensor& g : grad({expected.data(), 1}, inputs, {&dy, 1})) expected.push_back(g);
        const auto found = results_by_tiles(mod, n, scores, dy, keys, queries);
        REQUIRE(found.size() == expected.size());
        for (std::size_t i = 0; i < expected.size(); ++i)
          CHECK(max_difference(found[i], expected[i]) <= 1e-12);

        const ScoreMod mod32 = c.make(leaves_for(c, n, DType::f32));
        const auto in_f32 =
            results_by_tiles(mod32, n, scores.to(DType::f32), dy.to(DType::f32), keys, queries);
        for (std::size_t i = 0; i < expected.size(); ++i) {  // sums of up to B H T S terms
          const double terms = static_cast<double>(16 + (i < 2 ? 0 : n.B * n.H * n.T * n.S));
          CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <= 1e-6 * terms);
        }
      }
}

TEST_CASE("score_mod: every instruction set gives the same result") {
  const kernels::Isa before = kernels::active_isa();
  const Sizes n{2, 2, 21, 33};
  const Tensor scores = random({n.B, n.H, n.T, n.S}, 1), dy = random({n.B, n.H, n.T, n.S}, 2);
  for (const Case& c : cases()) {
    CAPTURE(c.name);
    const ScoreMod mod = c.make(leaves_for(c, n));
    kernels::set_isa(kernels::Isa::baseline);
    const auto expected = results_by_tiles(mod, n, scores, dy, 64, 64);
    for (const kernels::Isa isa : {kernels::Isa::v3, kernels::Isa::v4}) {
      kernels::set_isa(isa);
      const auto found = results_by_tiles(mod, n, scores, dy, 64, 64);
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) <= 1e-13 * 33 * 21);
    }
  }
  kernels::set_isa(before);
}

TEST_CASE("score_mod: a tile wider than the preallocated buffers") {
  const Sizes n{1, 1, 5000, 3};
  for (const Case& c : cases()) {
    if (!c.name.starts_with("alibi") && !c.name.starts_with("lambda")) continue;
    CAPTURE(c.name);
    const Tensor scores = random({n.B, n.H, n.T, n.S}, 1), dy = random({n.B, n.H, n.T, n.S}, 2);
    const ScoreMod mod = c.make(leaves_for(c, n));
    const auto whole = results_by_tiles(mod, n, scores, dy, 3, 5000);
    const auto parts = results_by_tiles(mod, n, scores, dy, 2, 64);
    for (std::size_t i = 0; i < whole.size(); ++i) {
      const double scale = 1 + max_difference(whole[i], zeros(whole[i].shape(), DType::f64));
      CHECK((i == 0 || max_difference(whole[i], parts[i]) <= 1e-12 * scale));
      CHECK((i != 0 || max_difference(whole[i], parts[i]) == 0));
    }
  }
}

// ---- Numbers of the papers ---------------------------------------------------------------------

TEST_CASE("ALiBi's slopes") {
  std::vector<double> eight, twelve;
  for (int i = 1; i <= 8; ++i) eight.push_back(std::pow(0.5, i));  // 1/2, 1/4, ..., 1/256
  twelve = eight;
  for (const double power : {0.5, 1.5, 2.5, 3.5}) twelve.push_back(std::pow(2, -power));
  CHECK(max_difference(alibi_slopes(8, DType::f64), from_data(eight, {8})) <= 1e-15);
  CHECK(max_difference(alibi_slopes(12, DType::f64), from_data(twelve, {12})) <= 1e-15);
  CHECK(alibi_slopes(16, DType::f64).to_vector<double>()[0] == doctest::Approx(std::sqrt(0.5)));
  CHECK(alibi_slopes(1, DType::f64).item<double>() == 1.0 / 256);
  CHECK(alibi_slopes(3).dtype() == DType::f32);
}

TEST_CASE("T5's buckets") {
  // Bidirectional, 32 buckets, max_distance 128: 16 per direction, of which 8 are exact; then 8 +
  // floor(8 log(d / 8) / log 16), so that a new one begins at 8 * 2^(i / 2).
  const std::pair<int, int> both[] = {{0, 0},    {1, 1},    {7, 7},    {8, 8},   {11, 8},  {12, 9},
                                      {15, 9},   {16, 10},  {22, 10},  {23, 11}, {31, 11}, {32, 12},
                                      {45, 12},  {46, 13},  {63, 13},  {64, 14}, {90, 14}, {91, 15},
                                      {127, 15}, {128, 15}, {5000, 15}};
  for (const auto& pair : both) {
    const auto distance = pair.first, bucket = pair.second;
    CAPTURE(distance);
    CHECK(t5_bucket(-distance, 32) == bucket);
    if (distance > 0) CHECK(t5_bucket(distance, 32) == 16 + bucket);
  }
  // Unidirectional: 16 exact, then 16 + floor(16 log(d / 16) / log 8): bounds at 16 * 2^(3 i / 16).
  const std::pair<int, int> one[] = {{0, 0},    {15, 15},  {16, 16},  {18, 16},
                                     {19, 17},  {20, 17},  {21, 18},  {112, 30},
                                     {113, 31}, {127, 31}, {128, 31}, {900, 31}};
  for (const auto& pair : one) {
    const auto distance = pair.first, bucket = pair.second;
    CAPTURE(distance);
    CHECK(t5_bucket(-distance, 32, {.bidirectional = false}) == bucket);
    CHECK(t5_bucket(distance, 32, {.bidirectional = false}) == 0);
  }
}

TEST_CASE("score_mod: a Dual compares, mixes with constants and propagates NaN") {
  using D = Dual<double, 1>;
  const D x = D::variable(2, 0), nan = D::variable(std::nan(""), 0);
  CHECK((x > 1 && x >= 2 && x < 2.5F && x <= 2 && x == 2 && x != 3 && 1 < x));
  CHECK((!(nan < 1) && !(nan >= 1) && nan != nan));
  CHECK(std::isnan(max(nan, x).value));
  CHECK(std::isnan(max(x, nan).value));
  CHECK(std::isnan(min(nan, x).value));
  CHECK(max(x, D(2)).partial[0] == 0.5);
  CHECK(abs(D::variable(0, 0)).partial[0] == 0);
  CHECK(pow(D::variable(0, 0), 0).partial[0] == 0);
  CHECK((1 / x).partial[0] == -0.25);
  CHECK(where(false, x, 7).partial[0] == 0);
  static_assert(sizeof(Dual<float, 2>) == 3 * sizeof(float));
}

// ---- What does not fit -------------------------------------------------------------------------

namespace {

// Through both paths: their messages are the same.
template <class E>
std::string message_through_attention(const ScoreMod& mod, const Sizes& n) {
  const Tensor q = zeros({n.B, n.H, n.T, 4}), k = zeros({n.B, n.H, n.S, 4});
  AttentionOptions options;
  options.score_mod = mod;
  const auto a = message_of<E>([&] { attention_reference(q, k, k, Mask::none(), options); });
  const auto b =
      message_of<E>([&] { scaled_dot_product_attention(q, k, k, Mask::none(), options); });
  CHECK(a == b);
  return b;
}

}  // namespace

TEST_CASE(
    "score_mod: a bias with three axes is an error that suggests both shapes, unless the first "
    "axis is 1") {
  const Sizes n{3, 3, 4, 4};  // B = H: both interpretations would fit
  CHECK(message_of<ShapeError>([] {
          ScoreMod::bias(zeros({3, 4, 4}));
        }) ==
        "ScoreMod::bias: bias (3, 4, 4): three axes are ambiguous, use (3, 1, 4, 4) for one bias "
        "per batch row, (1, 3, 4, 4) for one per head");
  CHECK(message_of<ShapeError>([] {
          ScoreMod::bias(zeros({2, 1, 5}));
        }).find("(1, 2, 1, 5)") != std::string::npos);
  CHECK(message_through_attention<ShapeError>(ScoreMod::bias(zeros({1, 4, 4})), n) == "no error");
  CHECK(message_through_attention<ShapeError>(ScoreMod::bias(zeros({3, 1, 4, 4})), n) ==
        "no error");
}

TEST_CASE("score_mod: a mask table with three axes is per batch row, like a bias of (B, 1, T, S)") {
  const Sizes n{2, 2, 3, 3};
  Rng rng(5);
  const Tensor q = randn({n.B, n.H, n.T, 4}, rng), k = randn({n.B, n.H, n.S, 4}, rng);
  const Tensor kept = rand({n.B, n.T, n.S}, rng) > 0.4;
  AttentionOptions options;
  options.score_mod = ScoreMod::bias(unsqueeze(where(kept, zeros({}), kMinusInfinity), 1));
  CHECK(test::max_difference(scaled_dot_product_attention(q, k, k, Mask::keep(kept)),
                             scaled_dot_product_attention(q, k, k, Mask::none(), options)) < 1e-6);
}

TEST_CASE("score_mod: errors of built-in score_mods") {
  const Sizes n{2, 3, 4, 4}, longer{2, 3, 4, 6};
  CHECK(message_through_attention<ShapeError>(ScoreMod::bias(zeros({1, 3, 4, 5})), n) ==
        "ScoreMod::bias: bias (1, 3, 4, 5) for scores (2, 3, 4, 4): each size must be the scores' "
        "or 1");
  CHECK(message_of<ShapeError>([] {
          ScoreMod::bias(zeros({1, 1, 1, 1, 1}));
        }) == "ScoreMod::bias: bias (1, 1, 1, 1, 1): must be (B, H, T, S), or have fewer axes");
  CHECK(message_through_attention<DTypeError>(ScoreMod::bias(zeros({4, 4}, DType::f64)), n) ==
        "ScoreMod::bias: captured f64, scores f32: dtypes must be equal");
  CHECK(message_through_attention<ShapeError>(ScoreMod::alibi(), longer) ==
        "ScoreMod::alibi: 4 queries and 6 keys: corner must be Corner::top_left or "
        "Corner::bottom_right if their numbers differ");
  CHECK(message_through_attention<ShapeError>(ScoreMod::alibi(zeros({5})), n) ==
        "ScoreMod::alibi: values for 5 heads and scores of 3 heads: must be equal");
  CHECK(message_of<ShapeError>([] {
          ScoreMod::alibi(zeros({2, 2}));
        }) == "ScoreMod::alibi: slopes (2, 2): must be (H)");
  CHECK(message_of<ValueError>([] { alibi_slopes(0); }) ==
        "alibi_slopes: H = 0: must be from 1 to 1048576");
  CHECK(message_of<ShapeError>([] { ScoreMod::t5_bias(zeros({8})); }) ==
        "ScoreMod::t5_bias: table (8,): must be (num_buckets, H)");
  CHECK(message_of<ValueError>([] {
          ScoreMod::t5_bias(zeros({3, 2}));
        }) == "t5_bucket: num_buckets = 3: must be at least 4");
  CHECK(message_of<ValueError>([] {
          ScoreMod::t5_bias(zeros({32, 2}), {.max_distance = 8});
        }) ==
        "t5_bucket: max_distance = 8: must be above 8, the number of distances with their own "
        "bucket");
  CHECK(message_of<ValueError>([] { ScoreMod::soft_cap(0); }) ==
        "ScoreMod::soft_cap: cap = 0: must be above 0 and finite in f32");
  CHECK(message_of<ShapeError>([] {
          ScoreMod::clipped_relative(zeros({2, 3, 4, 8}), zeros({4, 8}));
        }) ==
        "ScoreMod::clipped_relative: q (2, 3, 4, 8), a (4, 8): must be (B, H, T, D) and (2 k + 1, "
        "D) or (H, 2 k + 1, D)");
  CHECK(message_through_attention<ShapeError>(
            ScoreMod::clipped_relative(zeros({2, 3, 5, 8}), zeros({3, 8})), n) ==
        "ScoreMod::clipped_relative: made from q for 2 batch rows, 3 heads and 5 queries: the "
        "scores have 2, 3 and 4");
}

TEST_CASE("score_mod: errors of lambdas") {
  const Sizes n{2, 3, 4, 4};
  const auto keep_score = [](auto score, const ScorePlace&, auto) { return score; };
  CHECK(message_of<ShapeError>([&] { score_mod(keep_score, {zeros({3})}); }) ==
        "score_mod: captured (3,): must be (B or 1, H or 1), with up to two more axes");
  CHECK(message_of<ValueError>([&] {
          score_mod(keep_score, std::vector<Tensor>(9, zeros({1, 1})));
        }) == "score_mod: 9 tensors captured: at most 8");
  CHECK(
      message_through_attention<ShapeError>(score_mod(keep_score, {zeros({1, 2, 5})}), n) ==
      "score_mod: captured (1, 2, 5) for 2 batch rows and 3 heads: must be (B or 1, H or 1, ...)");
  CHECK(message_through_attention<DTypeError>(score_mod(keep_score, {zeros({1, 1, 5}, DType::i64)}),
                                              n) ==
        "score_mod: captured i64, scores f32: dtypes must be equal");
  CHECK(message_through_attention<ShapeError>(score_mod(keep_score), {2, 3, 4, 6}) ==
        "score_mod: 4 queries and 6 keys: corner must be Corner::top_left or Corner::bottom_right "
        "if their numbers differ");
}

TEST_CASE("score_mod: lambdas with out-of-range or too many reads") {
  const Sizes n{2, 3, 4, 4};
  const Tensor x = zeros({1, 3, 4}), xy = zeros({1, 1, 2, 3});
  const auto with = [&](auto f) { return score_mod(f, {x, xy}); };
  CHECK(message_through_attention<IndexError>(
            with([](auto s, const ScorePlace& at, auto read) { return s + read(0, at.key + 1); }),
            n) == "score_mod: read(0, 4): the slice has 4 elements");
  CHECK(message_through_attention<IndexError>(
            with([](auto s, const ScorePlace&, auto read) { return s + read(1, 1, 3); }), n) ==
        "score_mod: read(1, 1, 3): the slice is (2, 3)");
  CHECK(message_through_attention<IndexError>(
            with([](auto s, const ScorePlace&, auto read) { return s + read(1, 1); }), n) ==
        "score_mod: read(1, ...) with 1 indices: a slice of the captured tensor has 2 axes");
  CHECK(message_through_attention<IndexError>(
            with([](auto s, const ScorePlace&, auto read) { return s + read(2); }), n) ==
        "score_mod: read(2, ...) with 2 captured tensors: the index must be below that");
  const auto sum_of_five = [](auto s, const ScorePlace&, auto read) {
    for (int i = 0; i < 5; ++i) s += read(0, i % 4);
    return s;
  };
  CHECK(
      message_through_attention<ValueError>(score_mod(sum_of_five, {x}), n) ==
      "score_mod: more than 4 elements read in one call: raise the limit, as in score_mod<8>(...)");
  CHECK(message_through_attention<ValueError>(score_mod<5>(sum_of_five, {x}), n) == "no error");
}

TEST_CASE("score_mod: a third derivative is an error") {
  const Tensor x = random({1, 1, 2, 2}, 1).set_requires_grad();
  const ScoreMod cube =
      score_mod([](auto score, const ScorePlace&, auto) { return score * score * score; });
  const auto derivative = [&](const Tensor& y) { return grad(sum(y), x, {.create_graph = true}); };
  const Tensor second = derivative(derivative(reference(cube, x)));
  CHECK(max_difference(second, (6 * x).detach()) <= 1e-12);
  CHECK(message_of<StateError>([&] { derivative(second); }) ==
        "score_mod: the third derivative of a lambda is not supported");
}

TEST_CASE("score_mod: an empty score_mod, and compositions with it") {
  const ScoreMod none, cap = ScoreMod::soft_cap(2);
  CHECK_FALSE(none);
  CHECK_FALSE(none.then(none));
  CHECK(&none.then(cap).impl() == &cap.impl());
  CHECK(&cap.then(none).impl() == &cap.impl());
}

TEST_CASE("ScoreMod::soft_cap: a cap that f32 does not hold") {
  for (const double cap : {0.0, -1.0, 1e39, HUGE_VAL, std::nan("")})
    CHECK(message_of<ValueError>([&] { ScoreMod::soft_cap(cap); }) ==
          fmt::format("ScoreMod::soft_cap: cap = {}: must be above 0 and finite in f32", cap));
}
