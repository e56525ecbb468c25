// The fused recurrent layers against their reference in plain ops, and against themselves in other
// batches.
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/threads.h>
#include <fovea/tests/core/ops/recurrent_problem.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;
using test::random_recurrent;
using Problem = test::RecurrentProblem;

namespace {

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

std::vector<std::int64_t> mixed_lengths(std::int64_t B) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t b = 0; b < B; ++b) lengths.push_back((b * 7 + 3) % 6);  // 3 4 5 0 1 2 3 ...
  return lengths;
}

// f(kind, features) for all kinds and feature sets.
template <class F>
void for_all(const F& f) {
  for (const RecurrentKind kind : test::all_recurrent_kinds)
    for (const auto& features : test::all_recurrent_features(carries_cell(kind))) {
      CAPTURE(static_cast<int>(kind));
      CAPTURE(features.name);
      f(kind, features);
    }
}

void check_against_twin(Problem p, std::int64_t terms) {
  const auto found = p.results(p.fused()), expected = p.results(p.reference());
  Problem narrow = p.to(DType::f32);
  const auto in_f32 = narrow.results(narrow.fused());
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    const double scale = 1 + largest(expected[i]), eps = 1.2e-7;
    CHECK(max_difference(found[i], expected[i]) <= 1e-12 * scale);
    CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <=
          static_cast<double>(terms) * eps * scale);
  }
}

}  // namespace

TEST_CASE("recurrent: the fused layer equals the reference, values and gradients") {
  for_all([](RecurrentKind kind, const auto& features) {
    for (const std::int64_t H : {1, 3, 17}) {
      if (H == 1 && (features.projection || features.norm || features.cell_norm)) continue;
      for (const std::int64_t B : {1, 5, 19}) {
        CAPTURE(H);
        CAPTURE(B);
        const Problem p = random_recurrent(features, kind, 5, H, mixed_lengths(B));
        // Five steps of sums of H products, and for the weights sums over all rows; norms divide.
        const bool normed = features.norm || features.cell_norm;
        check_against_twin(p, (normed ? 40 : 5) * (H + p.index.total() + 8));
      }
    }
  });
}

TEST_CASE("recurrent: on every instruction set") {
  for (const kernels::Isa isa : {kernels::Isa::baseline, kernels::Isa::v3, kernels::Isa::v4}) {
    if (kernels::set_isa(isa) != isa) continue;  // not supported by this processor
    CAPTURE(kernels::name_of(isa));
    for_all([](RecurrentKind kind, const auto& features) {
      const bool normed = features.norm || features.cell_norm;
      const Problem p = random_recurrent(features, kind, 5, 19, mixed_lengths(4));
      check_against_twin(p, (normed ? 40 : 5) * (19 + p.index.total() + 8));
    });
  }
  kernels::set_isa(kernels::detected_isa());
}

TEST_CASE("recurrent: larger layers, in blocks on several threads") {
  const int before = num_threads();
  set_num_threads(3);
  for (const RecurrentKind kind : test::all_recurrent_kinds)
    for (const std::int64_t B : {7, 70})
      check_against_twin(random_recurrent({.bidirectional = true}, kind, 33, 64, mixed_lengths(B)),
                         5 * (64 + 3 * B + 8));
  set_num_threads(before);
}

TEST_CASE("recurrent: bitwise equal for any number of threads") {
  const int before = num_threads();
  for_all([](RecurrentKind kind, const auto& features) {
    // Enough work for several threads, or the blocks would not depend on their number.
    const std::int64_t H = gates_of(kind) == 1 ? 112 : 64;
    Problem p = random_recurrent(features, kind, 9, H, mixed_lengths(67)).to(DType::f32);
    set_num_threads(1);
    const auto expected = p.results(p.fused());
    for (const int threads : {2, 3, 4, 8}) {
      CAPTURE(threads);
      set_num_threads(threads);
      const auto found = p.results(p.fused());
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) == 0);
    }
  });
  set_num_threads(before);
}

// The rows of sequence b, and its rows of the per-sequence tensors.
Problem alone(const Problem& p, std::int64_t b) {
  Problem one = p;
  const std::int64_t from = p.index.offset(b), to = p.index.offset(b + 1), N = p.index.total();
  one.index = RaggedIndex({p.index.length(b)});
  const auto cut = [&](Tensor& x) {
    if (!x.defined()) return;
    Tensor part = x.detach();
    if (x.rank() == 3)
      part = slice(part, 1, b, b + 1);
    else if (x.dim(0) == N)
      part = slice(part, 0, from, to);
    else
      part = slice(part, 0, b, b + 1);
    x = part.clone().set_requires_grad();
  };
  cut(one.input);
  for (RecurrentDirection& d : one.directions)
    for (Tensor* x : {&d.gates, &d.initial, &d.initial_cell, &d.hidden_mask, &d.zoneout_shares,
                      &d.cell_zoneout_shares})
      cut(*x);
  for (Tensor& x : one.cotangents) cut(x);
  return one;
}

TEST_CASE("recurrent: a ragged batch equals its sequences one by one, in any order") {
  const std::vector<std::int64_t> lengths{3, 0, 16, 1, 9};
  for (const DType dtype : {DType::f64, DType::f32})
    for_all([&](RecurrentKind kind, const auto& features) {
      const double tolerance = dtype == DType::f64 ? 1e-12 : 1e-5;
      Problem p = random_recurrent(features, kind, 4, 6, lengths).to(dtype);
      const auto all = p.results(p.fused());
      const std::vector<Tensor> leaves = p.leaves();
      std::vector<Tensor> sums(leaves.size());  // of gradients of shared tensors
      for (std::int64_t b = 0; b < 5; ++b) {
        Problem one = alone(p, b);
        const auto found = one.results(one.fused());
        for (std::size_t i = 0; i < found.size(); ++i) {
          CAPTURE(i);
          const Tensor& x = all[i];
          if (i < leaves.size() && leaves[i].shape() == found[i].shape() &&
              one.leaves()[i].impl() == leaves[i].impl()) {
            sums[i] = sums[i].defined() ? sums[i] + found[i] : found[i];
            continue;
          }
          const Tensor part = x.rank() == 3 ? slice(x, 1, b, b + 1)
                              : x.dim(0) == p.index.total()
                                  ? slice(x, 0, p.index.offset(b), p.index.offset(b + 1))
                                  : slice(x, 0, b, b + 1);
          CHECK(max_difference(found[i], part) <= tolerance * (1 + largest(x)));
        }
      }
      for (std::size_t i = 0; i < sums.size(); ++i)
        if (sums[i].defined())
          CHECK(max_difference(sums[i], all[i]) <= tolerance * (1 + largest(all[i])));
    });
}

TEST_CASE(
    "recurrent: no rows, and no sequences; a sequence of length 0 returns its initial state") {
  for_all([](RecurrentKind kind, const auto& features) {
    if (!features.initial || features.bidirectional) return;
    for (const std::vector<std::int64_t>& lengths : {std::vector<std::int64_t>{0, 0}, {}}) {
      Problem p = random_recurrent(features, kind, 2, 3, lengths);
      const RecurrentOutput out = p.fused();
      CHECK(max_difference(select(out.last, 0, 0), p.directions[0].initial) == 0);
      const auto found = p.results(out);
      const auto leaves = p.leaves();
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        const bool first_state = leaves[i].impl() == p.directions[0].initial.impl();
        if (leaves[i].impl() == p.directions[0].weight_hh.impl()) CHECK(largest(found[i]) == 0);
        if (first_state) CHECK(max_difference(found[i], select(p.cotangents[1], 0, 0)) == 0);
      }
    }
  });
}

TEST_CASE("recurrent: with one output used") {
  for (const RecurrentKind kind : test::all_recurrent_kinds) {
    Problem p = random_recurrent({.bidirectional = true}, kind, 3, 4, {3, 1, 2});
    const std::vector<Tensor> leaves = p.leaves();
    for (std::size_t used = 0; used < p.cotangents.size(); ++used) {
      const auto of = [&](const RecurrentOutput& y) {
        const std::vector<Tensor> all = Problem::list(y);
        return grad({&all[used], 1}, leaves, {&p.cotangents[used], 1});
      };
      const auto found = of(p.fused()), expected = of(p.reference());
      for (std::size_t i = 0; i < leaves.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) <= 1e-12);
    }
  }
}

TEST_CASE("recurrent: recompute is bitwise equal and saves less") {
  for (const RecurrentKind kind : test::all_recurrent_kinds) {
    Problem p = random_recurrent({}, kind, 8, 32, {100, 60}).to(DType::f32);
    const auto kept = [&] {
      const std::int64_t before = memory_stats().live_bytes;
      const RecurrentOutput out = p.fused();
      return memory_stats().live_bytes - before;
    };
    const auto expected = p.results(p.fused());
    const std::int64_t all = kept();
    p.settings.recompute = true;
    const auto found = p.results(p.fused());
    for (std::size_t i = 0; i < expected.size(); ++i)
      CHECK(max_difference(found[i], expected[i]) == 0);
    const std::int64_t gates = 160 * 32 * 4 * (kind == RecurrentKind::gru ? 4 : gates_of(kind));
    CHECK(kept() <= all - gates);
  }
}

TEST_CASE("recurrent: an input is not used if gates are given") {
  Problem p = random_recurrent({.gates_given = true}, RecurrentKind::gru, 3, 4, {3, 1});
  p.input = zeros({4, 3}, DType::f64).set_requires_grad();
  const std::vector<Tensor> outputs = Problem::list(p.fused()), inputs{p.input};
  const auto found = grad(outputs, inputs, p.cotangents, {}, /*allow_unused=*/true);
  CHECK((!found[0].defined() || largest(found[0]) == 0));
}

TEST_CASE("recurrent: backward can run twice") {
  for (const RecurrentKind kind : test::all_recurrent_kinds) {
    Problem p = random_recurrent({.bidirectional = true}, kind, 3, 4, {3, 1, 2});
    const std::vector<Tensor> outputs = Problem::list(p.fused()), leaves = p.leaves();
    const auto first = grad(outputs, leaves, p.cotangents, {.retain_graph = true});
    const auto second = grad(outputs, leaves, p.cotangents);
    for (std::size_t i = 0; i < leaves.size(); ++i) CHECK(max_difference(first[i], second[i]) == 0);
  }
}

TEST_CASE("recurrent: gates that saturate stay finite") {
  for (const RecurrentKind kind : test::all_recurrent_kinds) {
    if (kind == RecurrentKind::rnn_relu) continue;  // it does not saturate
    Problem p = random_recurrent({.gates_given = true}, kind, 1, 3, {4, 2}).to(DType::f32);
    for (const double value : {1e4, -1e4}) {
      p.directions[0].gates.fill(value);
      for (const Tensor& x : p.results(p.fused())) CHECK(std::isfinite(largest(x)));
    }
  }
}

TEST_CASE("recurrent: errors") {
  const RaggedIndex two_rows({2});
  const Tensor gates = zeros({2, 8}), weight = zeros({8, 2});
  const auto message = [&](const RecurrentDirection& d, const Tensor& x = {},
                           RecurrentSettings s = {.kind = RecurrentKind::lstm}) {
    return message_of<Error>([&] { recurrent(x, {d}, two_rows, s); });
  };
  RecurrentDirection good;
  good.gates = gates;
  good.weight_hh = weight;
  const auto with = [&](Tensor RecurrentDirection::*part, const Tensor& x) {
    RecurrentDirection d = good;
    d.*part = x;
    return d;
  };
  using D = RecurrentDirection;
  CHECK(message(with(&D::weight_hh, zeros({6, 2}))) ==
        "lstm: weight_hh (6, 2): must be (4H, H), or (4H, P) with a weight_hr (P, H), H >= 1");
  CHECK(message(with(&D::weight_hh, zeros({0, 0}))).starts_with("lstm: weight_hh (0, 0): must be"));
  CHECK(message(with(&D::bias_ih, zeros({8}))) ==
        "lstm: bias_ih (8,) and gates (2, 8): must not both be given, gates include the bias");
  CHECK(message(with(&D::gates, zeros({3, 8}))) == "lstm: gates (3, 8): must be (2, 8)");
  CHECK(message(with(&D::bias_hh, zeros({2}))) == "lstm: bias_hh (2,): must be (8,)");
  CHECK(message(with(&D::initial_cell, zeros({2, 2}))) ==
        "lstm: initial cell (2, 2): must be (1, 2)");
  CHECK(message(with(&D::weight_hh, weight.to(DType::f64))) ==
        "lstm: gates is f32, inputs are f64: dtypes must be equal");
  CHECK(message(with(&D::weight_ih, zeros({8, 3})), zeros({2, 3})) ==
        "lstm: weight_ih and gates: exactly one of them must be given");
  CHECK(message(with(&D::norm_weight, zeros({8}))) ==
        "lstm: a norm's weight and bias: both must be given, or none");
  CHECK(message(good, zeros({3, 3})) ==
        "lstm: input (3, 3) for sequences of 2 rows in total: must be (2, I)");
  RecurrentDirection by_input = with(&D::gates, {});
  by_input.weight_ih = zeros({8, 3});
  CHECK(message(by_input) == "lstm: input is undefined: must be given with weight_ih");
  CHECK(message(with(&D::gates, {})) ==
        "lstm: weight_ih is undefined: must be given if gates are not");
  CHECK(message(by_input, zeros({2, 3}, DType::f64)) ==
        "lstm: weight_hh is f32, inputs are f64: dtypes must be equal");
  CHECK(message(good, {}, {.kind = RecurrentKind::lstm, .zoneout = 1.5}) ==
        "lstm: zoneout = 1.5: must be in [0, 1]");
  CHECK(message(with(&D::initial_cell, zeros({1, 8})), {}, {.kind = RecurrentKind::rnn_tanh})
            .starts_with("rnn: weight_hh (8, 2): must be (1H, H)"));
  RecurrentDirection rnn = good;
  rnn.weight_hh = zeros({8, 8});
  rnn.initial_cell = zeros({1, 8});
  CHECK(message(rnn, {}, {.kind = RecurrentKind::rnn_tanh}) ==
        "rnn: (1, 8): only an lstm has a projection (weight_hr) or a cell");
  CHECK(message(rnn, {}, {.kind = RecurrentKind::rnn_tanh, .cell_zoneout = 0.5}) ==
        "rnn: cell_zoneout = 0.5: only an lstm has a cell");
  CHECK(message_of<ValueError>([&] {
          recurrent({}, {}, two_rows, {.kind = RecurrentKind::gru});
        }) == "gru: 0 directions: there must be 1 or 2");
}

TEST_CASE("lstm: the norm of a cell of constant or huge elements") {
  constexpr std::int64_t H = 64;
  RecurrentDirection d;
  d.gates = zeros({1, 4 * H});
  d.weight_hh = zeros({4 * H, H});
  d.cell_norm_weight = ones({H});
  d.cell_norm_bias = zeros({H});
  const auto states = [&](const Tensor& cell) {
    d.initial_cell = cell;
    return recurrent({}, {d}, RaggedIndex({1}), {.kind = RecurrentKind::lstm}).states;
  };
  CHECK(max_difference(states(full({1, H}, 33333.3)), zeros({1, H})) < 1e-3);
  Rng rng(1);
  const Tensor cell = randn({1, H}, rng);
  CHECK(max_difference(states(cell * 1e20), states(cell * 1e5)) < 1e-6);
}
