// attention_head_mean against the mean of attention_weights.
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/storage.h>
#include <fovea/core/threads.h>
#include <fovea/tests/core/ops/sdpa_support.h>

using namespace fovea;
using namespace fovea::test::sdpa;
using test::max_difference;
using test::message_of;

namespace {

Tensor fast(const std::vector<Tensor>& x, const Mask& mask, const AttentionOptions& o) {
  const NoGrad guard;
  const Tensor lse = scaled_dot_product_attention_with_lse(x[0], x[1], x[2], mask, o).logsumexp;
  return attention_head_mean(x[0], x[1], mask, o, lse);
}

Tensor definition(const std::vector<Tensor>& x, const Mask& mask, const AttentionOptions& o) {
  return mean(attention_weights(x[0], x[1], mask, o, 0, x[0].dim(2)), 1);  // (B, T, S)
}

AttentionOptions options_for(const Problem& p, std::size_t number) {
  AttentionOptions o;
  if (number % 2 == 1) o.sinks = p.inputs[3];
  if (number % 3 == 1) o.score_mod = ScoreMod::soft_cap(0.7);
  if (number % 3 == 2) o.score_mod = ScoreMod::alibi(Mask::Corner::bottom_right);
  return o;
}

}  // namespace

TEST_CASE("head mean: equals the reference for every size, mask and score_mod") {
  std::size_t number = 0;
  for (const Sizes& n : all_sizes) {
    const Problem p = random_problem(n), p32 = p.to(DType::f32);
    for (const Mask& mask : masks_for(n)) {
      CAPTURE(n.T);
      CAPTURE(n.S);
      CAPTURE(number);
      const Tensor expected = definition(p.inputs, mask, options_for(p, number));
      const Tensor found = fast(p.inputs, mask, options_for(p, number));
      REQUIRE(found.shape() == Shape{n.B, n.T, n.S});
      CHECK_FALSE(found.requires_grad());
      CHECK(max_difference(found, expected) <= 1e-12);
      // A weight's relative error is the absolute error of its score, a sum of D products of about
      // 1 each.
      const Tensor in_f32 = fast(p32.inputs, mask, options_for(p32, number)).to(DType::f64);
      CHECK(max_difference(in_f32, expected) <= static_cast<double>(64 + 4 * n.D) * 0x1p-24);
      ++number;
    }
  }
}

TEST_CASE("head mean: every instruction set, and bitwise equal for any number of threads") {
  const Sizes n{3, 4, 2, 150, 230, 24, 8};
  const Problem p = random_problem(n), p32 = p.to(DType::f32);
  const kernels::Isa before = kernels::active_isa();
  const int threads_before = num_threads();
  for (const Mask& mask : masks_for(n)) {
    const Tensor expected = definition(p.inputs, mask, {});
    for (const kernels::Isa isa : {kernels::Isa::baseline, kernels::Isa::v3, before}) {
      kernels::set_isa(isa);
      set_num_threads(1);
      const Tensor alone = fast(p32.inputs, mask, {});
      CHECK(max_difference(alone.to(DType::f64), expected) <= 1e-5);
      for (const int threads : {2, 3, 8}) {
        set_num_threads(threads);
        CHECK(max_difference(fast(p32.inputs, mask, {}), alone) == 0);
      }
    }
  }
  kernels::set_isa(before);
  set_num_threads(threads_before);
}

TEST_CASE("head mean: before dropout, from views, and for any values at masked keys") {
  const Sizes n{2, 4, 2, 40, 70, 16, 16};
  const Problem p = random_problem(n).to(DType::f32);
  const Mask mask = Mask::lengths({50, 0});
  const Tensor plain = fast(p.inputs, mask, {});
  Rng rng(5);
  CHECK(max_difference(fast(p.inputs, mask, {.dropout = 0.5, .rng = &rng}), plain) == 0);

  std::vector<Tensor> views;
  for (std::size_t i = 0; i < 3; ++i)
    views.push_back(transpose(transpose(p.inputs[i].detach(), 1, 2).contiguous(), 1, 2));
  CHECK(max_difference(fast(views, mask, {}), plain) == 0);

  const double nan = std::numeric_limits<double>::quiet_NaN();
  std::vector<Tensor> hidden = p.inputs;
  for (std::size_t i : {1u, 2u}) {
    hidden[i] = p.inputs[i].detach().clone();
    narrow(hidden[i], 2, 50, 20).fill(nan);
    narrow(hidden[i], 0, 1, 1).fill(nan);
  }
  CHECK(max_difference(fast(hidden, mask, {}), plain) == 0);
  CHECK(largest(narrow(plain, 0, 1, 1)) == 0);
  CHECK(largest(narrow(plain, 2, 50, 20)) == 0);
}

TEST_CASE("head mean: allocates no tensor of all heads' weights") {
  Rng rng(1);
  const std::vector<Tensor> x(3, randn({1, 16, 300, 8}, rng));
  const std::int64_t before = memory_stats().live_bytes;
  reset_peak_memory();
  fast(x, Mask::causal(), {});
  const std::int64_t mean_bytes = 300 * 300 * 4, output_bytes = 16 * 300 * 9 * 4;
  CHECK(memory_stats().peak_bytes - before < mean_bytes + output_bytes + 64 * 1024);
}

TEST_CASE("head mean: empty sizes, and errors") {
  const Tensor q = zeros({2, 4, 3, 8}), k = zeros({2, 2, 5, 8}), lse = zeros({2, 4, 3});
  CHECK(attention_head_mean(q, zeros({2, 2, 0, 8}), Mask::none(), {}, lse).shape() ==
        Shape{2, 3, 0});
  CHECK(attention_head_mean(zeros({2, 4, 0, 8}), k, Mask::none(), {}, zeros({2, 4, 0})).shape() ==
        Shape{2, 0, 5});
  CHECK(message_of<ShapeError>([&] {
          attention_head_mean(q, k, Mask::none(), {}, zeros({2, 4, 5}));
        }) == "attention_head_mean: logsumexp (2, 4, 5) for q (2, 4, 3, 8): must be (B, H, T)");
  CHECK(message_of<DTypeError>([&] {
          attention_head_mean(q, k, Mask::none(), {}, lse.to(DType::f64));
        }) == "attention_head_mean: logsumexp f64, q f32: dtypes must be equal");
  CHECK_THROWS_AS(attention_head_mean(q, zeros({2, 2, 5, 7}), Mask::none(), {}, lse), ShapeError);
}
