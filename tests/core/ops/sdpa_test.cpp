// The fused attention against its reference in plain ops, under every kind of mask, and its
// invariants.
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/threads.h>
#include <fovea/tests/core/ops/sdpa_support.h>

using namespace fovea;
using namespace fovea::test::sdpa;
using test::max_difference;

TEST_CASE("sdpa: the fused attention equals the reference, values and gradients") {
  std::size_t number = 0;
  for (const Sizes n : all_sizes) {
    const Problem p = random_problem(n), p32 = p.to(DType::f32);
    std::size_t index = 0;
    for (const Mask& mask : masks_for(n)) {
      for (std::size_t i = 0; i < 2; ++i) {  // every combination with some mask
        const Options o = options_number(number++);
        CAPTURE(n.T);
        CAPTURE(n.S);
        CAPTURE(index);
        CAPTURE(o.dropout);
        CAPTURE(o.sinks);
        check_same(fused(p, mask, o), fused(p32, mask, o), results(p, mask, o, attention_reference),
                   n);
      }
      ++index;
    }
  }
}

TEST_CASE("sdpa: every instruction set equals the reference") {
  const kernels::Isa before = kernels::active_isa();
  for (const kernels::Isa isa : {kernels::Isa::baseline, kernels::Isa::v3}) {
    kernels::set_isa(isa);
    for (const Sizes n : {all_sizes[2], all_sizes[3], all_sizes[5], all_sizes[6]}) {
      const Problem p = random_problem(n), p32 = p.to(DType::f32);
      std::size_t number = 0;
      for (const Mask& mask : masks_for(n)) {
        const Options o = options_number(number++);
        CAPTURE(kernels::name_of(isa));
        CAPTURE(n.T);
        CAPTURE(number);
        check_same(fused(p, mask, o), fused(p32, mask, o), results(p, mask, o, attention_reference),
                   n);
      }
    }
  }
  kernels::set_isa(before);
}

TEST_CASE("sdpa: bitwise equal for any number of threads") {
  const int before = num_threads();
  // The first has so few heads that the backward splits the keys.
  for (const Sizes n : {Sizes{1, 2, 1, 150, 1100, 16, 16}, Sizes{3, 4, 2, 70, 90, 8, 8},
                        Sizes{5, 6, 3, 2, 50, 16, 16}}) {
    const Problem p = random_problem(n).to(DType::f32);
    const Options o{.dropout = 0.2, .sinks = true};
    for (const Mask& mask : masks_for(n)) {
      set_num_threads(1);
      const auto expected = fused(p, mask, o);
      for (const int threads : {2, 3, 8}) {
        CAPTURE(threads);
        set_num_threads(threads);
        const auto found = fused(p, mask, o);
        for (std::size_t i = 0; i < expected.size(); ++i)
          CHECK(max_difference(found[i], expected[i]) == 0);
      }
    }
  }
  set_num_threads(before);
}

TEST_CASE("sdpa: past outputs are bitwise independent of future tokens") {
  for (const Sizes n : {Sizes{1, 2, 1, 300, 300, 16, 8}, Sizes{1, 2, 1, 7, 7, 16, 8}}) {
    const std::int64_t now = n.T / 2 + 1;
    Problem p = random_problem(n).to(DType::f32);
    const auto before = fused(p, Mask::causal(), {.dropout = 0.1});
    for (const std::size_t i : {0, 1, 2}) narrow(p.inputs[i].detach(), 2, now, n.T - now).fill(1e3);
    const auto after = fused(p, Mask::causal(), {.dropout = 0.1});
    for (const std::size_t i : {0, 3, 4}) {  // dq, the output, the log-sum-exp
      CHECK(max_difference(narrow(before[i], 2, 0, now), narrow(after[i], 2, 0, now)) == 0);
      CHECK(max_difference(before[i], after[i]) > 0);
    }
  }
}

TEST_CASE("sdpa: a fully masked query has output and gradient 0, and log-sum-exp -inf") {
  for (const std::int64_t T : {2, 40}) {
    const Sizes n{2, 2, 1, T, 40, 16, 8};
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Problem p = random_problem(n).to(dtype);
      const auto all = fused(p, Mask::lengths({40, 0}), {.dropout = 0.1});
      for (const std::size_t i : {0, 1, 2, 3}) {
        CHECK(largest(select(all[i], 0, 1)) == 0);
        CHECK(largest(select(all[i], 0, 0)) > 0);
      }
      CHECK(max_difference(select(all[4], 0, 1), full({2, T}, -infinity, dtype)) == 0);
      // A single fully masked query among others.
      std::vector<bool> kept(static_cast<std::size_t>(T * 40), true);
      std::fill(kept.begin() + 40, kept.begin() + 80, false);
      const auto one = fused(p, Mask::keep(from_data(kept, {T, 40})));
      for (const std::size_t i : {0, 3}) CHECK(largest(select(one[i], 2, 1)) == 0);
    }
  }
}

TEST_CASE("sdpa: keys that no query attends have no effect, not even NaN") {
  std::vector<bool> dropped(150, false);
  std::fill(dropped.begin() + 101, dropped.end(), true);
  const Mask lengths = Mask::lengths({101}), drop = Mask::drop(from_data(dropped, {1, 150}));
  const Mask window = Mask::window(200, 200, Mask::Corner::top_left);
  for (const std::int64_t T : {3, 70}) {
    const Problem clean = random_problem({1, 2, 1, T, 150, 16, 8}), p = clean.to(DType::f64);
    for (const std::size_t i : {1, 2}) narrow(p.inputs[i].detach(), 2, 101, 49).fill(std::nan(""));
    for (const DType dtype : {DType::f64, DType::f32})
      for (const Mask& mask : {lengths, lengths & window, drop}) {
        const Options o{.dropout = 0.1};
        const auto found = fused(p.to(dtype), mask, o), expected = fused(clean.to(dtype), mask, o);
        for (std::size_t i = 0; i < found.size(); ++i)
          CHECK(max_difference(found[i], expected[i]) == 0);
      }
  }
}

TEST_CASE("sdpa: keys between those of two documents have no effect") {
  for (const std::int64_t T : {3, 70}) {
    const Sizes n{1, 2, 1, T, 150, 16, 8};
    std::vector<std::int64_t> queries, keys;
    for (std::int64_t t = 0; t < T; ++t) queries.push_back(t < T / 2 ? 0 : 2);
    for (std::int64_t s = 0; s < n.S; ++s) keys.push_back(s / 50);
    const Mask mask = Mask::documents(from_data(queries, {T}), from_data(keys, {n.S}));
    const Problem clean = random_problem(n), p = clean.to(DType::f64);
    for (const std::size_t i : {1, 2}) narrow(p.inputs[i].detach(), 2, 50, 50).fill(std::nan(""));
    for (const DType dtype : {DType::f64, DType::f32}) {
      const auto found = fused(p.to(dtype), mask), expected = fused(clean.to(dtype), mask);
      for (std::size_t i = 0; i < found.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) == 0);
    }
  }
}

TEST_CASE("sdpa: attended values have an effect, NaN too") {
  for (const std::int64_t T : {3, 70}) {
    const Problem p = random_problem({1, 1, 1, T, 50, 16, 8});
    select(p.inputs[1].detach(), 2, 20).fill(std::nan(""));
    for (const DType dtype : {DType::f64, DType::f32})
      for (const Tensor& x : fused(p.to(dtype), Mask::none()))
        CHECK_FALSE(std::isfinite(largest(x)));
  }
}

TEST_CASE("sdpa: large score differences: neither overflow nor NaN") {
  for (const std::int64_t T : {3, 70}) {
    const Sizes n{1, 1, 1, T, 50, 16, 8};
    Problem p = random_problem(n);
    p.inputs[0].detach().copy_from(p.inputs[0].detach() * 300.0);
    const auto expected = results(p, Mask::causal(Mask::Corner::top_left), {}, attention_reference);
    const auto in_f32 = fused(p.to(DType::f32), Mask::causal(Mask::Corner::top_left));
    // The rounding of the scores, 2^-24 of a thousand, affects the weights.
    for (std::size_t i = 0; i < expected.size(); ++i) {
      CAPTURE(i);
      CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <=
            1e-3 * (1 + largest(expected[i])));
    }
  }
}
