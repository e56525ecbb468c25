// The fused LSTM against its definition in plain ops, and against itself in other batches.
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
  std::vector<Tensor> inputs;      // inputs, weight, bias, initial, initial cell: leaves
  std::vector<Tensor> cotangents;  // of states, last, last cell

  LstmArgs args() const { return {inputs[0], inputs[1], inputs[2], inputs[3], inputs[4]}; }
  Problem to(DType dtype) const {
    Problem p{index, {}, {}};
    for (const Tensor& x : inputs)
      p.inputs.push_back(x.detach().to(dtype).clone().set_requires_grad());
    for (const Tensor& x : cotangents) p.cotangents.push_back(x.to(dtype));
    return p;
  }
};

Problem random_problem(std::int64_t H, const std::vector<std::int64_t>& lengths) {
  Rng rng(static_cast<std::uint64_t>(H) + lengths.size());
  const RaggedIndex index(lengths);
  const std::int64_t N = index.total(), B = index.batch_size();
  Problem p{index, {}, {}};
  for (const Shape& shape : {Shape{N, H}, Shape{B, H}, Shape{B, H}})
    p.cotangents.push_back(randn(shape, rng, DType::f64));
  for (const Shape& shape :
       {Shape{N, 4 * H}, Shape{4 * H, H}, Shape{4 * H}, Shape{B, H}, Shape{B, H}})
    p.inputs.push_back(randn(shape, rng, DType::f64).set_requires_grad());
  Tensor& weight = p.inputs[1];  // of the size that training starts with
  for (std::int64_t i = 0; i < weight.numel(); ++i)
    weight.mutable_data<double>()[i] /= std::sqrt(static_cast<double>(H));
  return p;
}

// The five gradients, and the three outputs.
std::vector<Tensor> results(const Problem& p, const LstmOutput& out) {
  const Tensor outputs[] = {out.states, out.last, out.last_cell};
  std::vector<Tensor> all = grad(outputs, p.inputs, p.cotangents);
  all.insert(all.end(), std::begin(outputs), std::end(outputs));
  return all;
}

std::vector<Tensor> fused(const Problem& p, bool reverse = false) {
  return results(p, lstm(p.args(), p.index, reverse));
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

std::vector<std::int64_t> mixed_lengths(std::int64_t B) {
  std::vector<std::int64_t> lengths;
  for (std::int64_t b = 0; b < B; ++b) lengths.push_back((b * 7 + 3) % 6);  // 3 4 5 0 1 2 3 ...
  return lengths;
}

}  // namespace

TEST_CASE("the fused LSTM is the one written in plain ops, values and gradients") {
  for (const std::int64_t H : {1, 3, 17, 64})
    for (const std::int64_t B : {1, 5, 16, 17, 40})
      for (const bool reverse : {false, true}) {
        if (H == 64 && B > 17) continue;  // nothing new, and slow
        CAPTURE(H);
        CAPTURE(B);
        CAPTURE(reverse);
        const Problem p = random_problem(H, mixed_lengths(B));
        const auto found = fused(p, reverse);
        const auto expected = results(p, lstm_reference(p.args(), p.index, reverse));
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
  const Problem p = random_problem(17, mixed_lengths(67)).to(DType::f32);
  set_num_threads(1);
  const auto expected = fused(p);
  for (const int threads : {2, 3, 8}) {
    CAPTURE(threads);
    set_num_threads(threads);
    const auto found = fused(p);
    for (std::size_t i = 0; i < expected.size(); ++i)
      CHECK(max_difference(found[i], expected[i]) == 0);
  }
  set_num_threads(before);
}

TEST_CASE("a ragged batch is its sequences one by one") {
  const Problem p = random_problem(5, {3, 0, 6, 1});
  for (const bool reverse : {false, true}) {
    const LstmOutput all = lstm(p.args(), p.index, reverse);
    for (std::int64_t b = 0; b < 4; ++b) {
      const std::int64_t from = p.index.offset(b), to = p.index.offset(b + 1);
      const auto row = [&](const Tensor& x) { return slice(x, 0, b, b + 1); };
      const LstmOutput one = lstm({slice(p.inputs[0], 0, from, to), p.inputs[1], p.inputs[2],
                                   row(p.inputs[3]), row(p.inputs[4])},
                                  RaggedIndex({p.index.length(b)}), reverse);
      CHECK(max_difference(one.states, slice(all.states, 0, from, to)) <= 1e-14);
      CHECK(max_difference(one.last, row(all.last)) <= 1e-14);
      CHECK(max_difference(one.last_cell, row(all.last_cell)) <= 1e-14);
    }
  }
}

TEST_CASE("no rows, and no sequences; a sequence of length 0 passes its state through") {
  for (const std::vector<std::int64_t>& lengths : {std::vector<std::int64_t>{0, 0}, {}}) {
    const Problem p = random_problem(3, lengths);
    const auto found = fused(p);
    CHECK(largest(found[1]) == 0);
    CHECK(largest(found[2]) == 0);
    CHECK(max_difference(found[6], p.inputs[3]) == 0);
    CHECK(max_difference(found[7], p.inputs[4]) == 0);
    CHECK(max_difference(found[4], p.cotangents[2]) == 0);
  }
}

TEST_CASE("without bias and initial state, and with one output used") {
  const Problem p = random_problem(4, {3, 1, 2});
  const LstmArgs args{p.inputs[0], p.inputs[1], {}, {}, {}};
  const std::span<const Tensor> inputs(p.inputs.data(), 2);
  const auto outputs = [](const LstmOutput& y) {
    return std::vector<Tensor>{y.states, y.last, y.last_cell};
  };
  for (std::size_t used = 0; used < 3; ++used) {
    const auto of = [&](const LstmOutput& y) {
      const std::vector<Tensor> all = outputs(y);
      return grad({&all[used], 1}, inputs, {&p.cotangents[used], 1});
    };
    const auto found = of(lstm(args, p.index)), expected = of(lstm_reference(args, p.index));
    for (std::size_t i = 0; i < 2; ++i) CHECK(max_difference(found[i], expected[i]) <= 1e-12);
  }
}

TEST_CASE("gates that saturate stay finite") {
  Problem p = random_problem(3, {4, 2});
  for (const double value : {1e4, -1e4}) {
    p.inputs[0].fill(value);
    for (const Tensor& x : fused(p.to(DType::f32))) CHECK(std::isfinite(largest(x)));
  }
}

TEST_CASE("what does not fit") {
  const RaggedIndex two_rows({2});
  const Tensor inputs = zeros({2, 8}), weight = zeros({8, 2});
  CHECK(message_of<ShapeError>([&] {
          lstm({inputs, zeros({6, 2}), {}, {}, {}}, two_rows);
        }) == "lstm: weight (6, 2): it must be (4H, H)");
  CHECK(message_of<ShapeError>([&] {
          lstm({zeros({3, 8}), weight, {}, {}, {}}, two_rows);
        }) == "lstm: inputs (3, 8): it must be (2, 8)");
  CHECK(message_of<ShapeError>([&] {
          lstm({inputs, weight, zeros({2}), {}, {}}, two_rows);
        }) == "lstm: bias (2,): it must be (8,)");
  CHECK(message_of<ShapeError>([&] {
          lstm({inputs, weight, {}, {}, zeros({2, 2})}, two_rows);
        }) == "lstm: initial cell (2, 2): it must be (1, 2)");
  CHECK(message_of<DTypeError>([&] {
          lstm({inputs, weight.to(DType::f64), {}, {}, {}}, two_rows);
        }) == "lstm: weight is f64 beside inputs of f32: types must be equal");
}
