// The fused GRU against its definition in plain ops, and against itself in other batches.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

struct Problem {
  RaggedIndex index;
  std::vector<Tensor> inputs;  // inputs, weight, bias, initial: leaves
  Tensor d_states, d_last;     // the cotangents

  GruArgs args() const { return {inputs[0], inputs[1], inputs[2], inputs[3]}; }
  Problem to(DType dtype) const {
    Problem p{index, {}, d_states.to(dtype), d_last.to(dtype)};
    for (const Tensor& x : inputs)
      p.inputs.push_back(x.detach().to(dtype).clone().set_requires_grad());
    return p;
  }
};

Problem random_problem(std::int64_t H, const std::vector<std::int64_t>& lengths) {
  Rng rng(static_cast<std::uint64_t>(H) + lengths.size());
  const RaggedIndex index(lengths);
  const std::int64_t N = index.total(), B = index.batch_size();
  Problem p{index, {}, randn({N, H}, rng, DType::f64), randn({B, H}, rng, DType::f64)};
  for (const Shape& shape : {Shape{N, 3 * H}, Shape{3 * H, H}, Shape{3 * H}, Shape{B, H}})
    p.inputs.push_back(randn(shape, rng, DType::f64).set_requires_grad());
  Tensor& weight = p.inputs[1];  // of the size that training starts with
  for (std::int64_t i = 0; i < weight.numel(); ++i)
    weight.mutable_data<double>()[i] /= std::sqrt(static_cast<double>(H));
  return p;
}

// states, last, and the four gradients
std::vector<Tensor> results(const Problem& p, const RecurrentOutput& out) {
  const Tensor outputs[] = {out.states, out.last}, seeds[] = {p.d_states, p.d_last};
  std::vector<Tensor> all = grad(outputs, p.inputs, seeds);
  all.push_back(out.states);
  all.push_back(out.last);
  return all;
}

std::vector<Tensor> fused(const Problem& p, bool reverse = false) {
  return results(p, gru(p.args(), p.index, reverse));
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

std::vector<std::int64_t> mixed_lengths(std::int64_t B) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t b = 0; b < B; ++b) lengths.push_back((b * 7 + 3) % 6);  // 3 4 5 0 1 2 3 ...
  return lengths;
}

}  // namespace

TEST_CASE("the fused GRU is the one written in plain ops, values and gradients") {
  for (const std::int64_t H : {1, 3, 17, 64})
    for (const std::int64_t B : {1, 5, 16, 17, 40})
      for (const bool reverse : {false, true}) {
        if (H == 64 && B > 17) continue;  // nothing new, and slow
        CAPTURE(H);
        CAPTURE(B);
        CAPTURE(reverse);
        const Problem p = random_problem(H, mixed_lengths(B));
        const auto found = fused(p, reverse);
        const auto expected = results(p, gru_reference(p.args(), p.index, reverse));
        const auto in_f32 = fused(p.to(DType::f32), reverse);
        // Five steps of sums of H products, and for the weights sums over all rows.
        const double eps = 1.2e-7, terms = 5.0 * static_cast<double>(H + p.index.total() + 8);
        for (std::size_t i = 0; i < expected.size(); ++i) {
          CAPTURE(i);
          const double scale = 1 + largest(expected[i]);
          CHECK(max_difference(found[i], expected[i]) <= 1e-12 * scale);
          CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <= terms * eps * scale);
        }
      }
}

TEST_CASE("the same bits for any number of threads") {
  const int before = num_threads();
  for (const std::int64_t H : {17, 64}) {
    const Problem p = random_problem(H, mixed_lengths(67)).to(DType::f32);
    set_num_threads(1);
    const auto expected = fused(p);
    for (const int threads : {2, 3, 4, 8}) {
      CAPTURE(threads);
      set_num_threads(threads);
      const auto found = fused(p);
      for (std::size_t i = 0; i < expected.size(); ++i)
        CHECK(max_difference(found[i], expected[i]) == 0);
    }
  }
  set_num_threads(before);
}

TEST_CASE("a ragged batch is its sequences one by one") {
  const Problem p = random_problem(5, {3, 0, 6, 1});
  for (const bool reverse : {false, true}) {
    const RecurrentOutput all = gru(p.args(), p.index, reverse);
    for (std::int64_t b = 0; b < 4; ++b) {
      const std::int64_t from = p.index.offset(b), to = p.index.offset(b + 1);
      const RecurrentOutput one = gru({slice(p.inputs[0], 0, from, to), p.inputs[1], p.inputs[2],
                                       slice(p.inputs[3], 0, b, b + 1)},
                                      RaggedIndex({p.index.length(b)}), reverse);
      CHECK(max_difference(one.states, slice(all.states, 0, from, to)) <= 1e-14);
      CHECK(max_difference(one.last, slice(all.last, 0, b, b + 1)) <= 1e-14);
    }
  }
}

TEST_CASE("what would be padding changes nothing before it") {
  const Problem p = random_problem(4, {5, 5, 5});
  const RaggedIndex shorter({2, 5, 3});
  const Tensor padded = reshape(p.inputs[0], {3, 5, 12});
  const RecurrentOutput full = gru(p.args(), p.index);
  const RecurrentOutput ragged =
      gru({pack(padded, shorter).values, p.inputs[1], p.inputs[2], p.inputs[3]}, shorter);
  const Tensor states = pack(reshape(full.states, {3, 5, 4}), shorter).values;
  CHECK(max_difference(ragged.states, states) <= 1e-14);
}

TEST_CASE("a sequence of length 0 passes its state, and its state's gradient, through") {
  const Problem p = random_problem(3, {0, 2});
  const auto all = fused(p);  // ..., d_initial, states, last
  CHECK(max_difference(select(all[5], 0, 0), select(p.inputs[3], 0, 0)) == 0);
  CHECK(max_difference(select(all[3], 0, 0), select(p.d_last, 0, 0)) == 0);
}

TEST_CASE("no rows, and no sequences") {
  for (const std::vector<std::int64_t>& lengths : {std::vector<std::int64_t>{0, 0}, {}}) {
    const Problem p = random_problem(3, lengths);
    const auto found = fused(p);
    const RecurrentOutput expected = gru_reference(p.args(), p.index);
    CHECK(max_difference(found[1], zeros({9, 3}, DType::f64)) == 0);
    CHECK(max_difference(found[2], zeros({9}, DType::f64)) == 0);
    CHECK(found[4].shape() == expected.states.shape());
    CHECK(max_difference(found[5], expected.last) == 0);
  }
}

TEST_CASE("without bias and initial state, and with one output unused") {
  const Problem p = random_problem(4, {3, 1, 2});
  const GruArgs args{p.inputs[0], p.inputs[1], {}, {}};
  const std::span<const Tensor> inputs(p.inputs.data(), 2);
  for (const bool use_states : {true, false}) {
    const auto of = [&](const RecurrentOutput& out) {
      return grad({use_states ? &out.states : &out.last, 1}, inputs,
                  {use_states ? &p.d_states : &p.d_last, 1});
    };
    const auto found = of(gru(args, p.index)), expected = of(gru_reference(args, p.index));
    for (std::size_t i = 0; i < 2; ++i) CHECK(max_difference(found[i], expected[i]) <= 1e-12);
  }
}

TEST_CASE("gates that saturate stay finite") {
  Problem p = random_problem(3, {4, 2});
  p.inputs[0].fill(1e4);
  for (const Tensor& x : fused(p.to(DType::f32))) CHECK(std::isfinite(largest(x)));
  p.inputs[0].fill(-1e4);
  for (const Tensor& x : fused(p.to(DType::f32))) CHECK(std::isfinite(largest(x)));
}

TEST_CASE("what does not fit") {
  const RaggedIndex two_rows({2});
  const Tensor inputs = zeros({2, 6}), weight = zeros({6, 2});
  CHECK(message_of<ShapeError>([&] {
          gru({inputs, zeros({5, 2}), {}, {}}, two_rows);
        }) == "gru: weight (5, 2): it must be (3H, H)");
  CHECK(message_of<ShapeError>([&] {
          gru({zeros({3, 6}), weight, {}, {}}, two_rows);
        }) == "gru: inputs (3, 6): it must be (2, 6)");
  CHECK(message_of<ShapeError>([&] {
          gru({inputs, weight, zeros({2}), {}}, two_rows);
        }) == "gru: bias (2,): it must be (6,)");
  CHECK(message_of<ShapeError>([&] {
          gru({inputs, weight, {}, zeros({2, 2})}, two_rows);
        }) == "gru: initial state (2, 2): it must be (1, 2)");
  CHECK(message_of<DTypeError>([&] {
          gru({inputs, weight.to(DType::f64), {}, {}}, two_rows);
        }) == "gru: weight is f64 beside inputs of f32: types must be equal");
  CHECK_THROWS_AS(gru_reference({zeros({3, 6}), weight, {}, {}}, two_rows), ShapeError);
}
