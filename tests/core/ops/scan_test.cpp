// The fused recurrences against their reference in plain ops, and against themselves in other
// batches, split into chunks and unsplit.
#include <fovea/core/autograd.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;
using test::message_of;

namespace {

using Recurrence = ScanOutput (*)(const Tensor&, const Tensor&, const Tensor&, const RaggedIndex&,
                                  bool);

struct Kind {
  Recurrence fused, reference;
  bool constant;         // a is the same at every step
  std::int64_t numbers;  // elements per row, 1 or 2 per channel
};

std::vector<Kind> kinds(std::int64_t H) {
  std::vector<Kind> all;
  for (const bool constant : {false, true}) {
    all.push_back({linear_recurrence, linear_recurrence_reference, constant, H});
    all.push_back(
        {complex_linear_recurrence, complex_linear_recurrence_reference, constant, 2 * H});
  }
  return all;
}

struct Problem {
  RaggedIndex index;
  std::vector<Tensor> inputs;  // a, b, initial: leaves
  Tensor d_states, d_last;     // the cotangents

  Problem to(DType dtype) const {
    Problem p{index, {}, d_states.to(dtype), d_last.to(dtype)};
    for (const Tensor& x : inputs)
      p.inputs.push_back(x.detach().to(dtype).clone().set_requires_grad());
    return p;
  }
};

// |a| <= `radius`: both parts of a complex one are at most 0.7 of that.
Problem random_problem(const Kind& kind, const std::vector<std::int64_t>& lengths,
                       double radius = 1) {
  Rng rng(static_cast<std::uint64_t>(kind.numbers) + lengths.size());
  const RaggedIndex index(lengths);
  const std::int64_t N = index.total(), B = index.batch_size(), W = kind.numbers;
  Problem p{index, {}, randn({N, W}, rng, DType::f64), randn({B, W}, rng, DType::f64)};
  const Tensor a = 2.0 * rand(kind.constant ? Shape{W} : Shape{N, W}, rng, DType::f64) - 1.0;
  p.inputs = {a * (kind.fused == linear_recurrence ? radius : 0.7 * radius),
              randn({N, W}, rng, DType::f64), randn({B, W}, rng, DType::f64)};
  for (Tensor& x : p.inputs) x = x.detach().set_requires_grad();
  return p;
}

// The gradients by a, b and initial, the states, the last ones.
std::vector<Tensor> results(Recurrence f, const Problem& p, bool reverse) {
  const ScanOutput out = f(p.inputs[0], p.inputs[1], p.inputs[2], p.index, reverse);
  const Tensor outputs[] = {out.states, out.last}, seeds[] = {p.d_states, p.d_last};
  std::vector<Tensor> all = grad(outputs, p.inputs, seeds);
  all.push_back(out.states);
  all.push_back(out.last);
  return all;
}

double largest(const Tensor& x) { return max_difference(x, zeros(x.shape(), x.dtype())); }

void check_equals_reference(const Kind& kind, const Problem& p, bool reverse) {
  CAPTURE(kind.numbers);
  CAPTURE(kind.constant);
  CAPTURE(reverse);
  const auto expected = results(kind.reference, p, reverse);
  const auto found = results(kind.fused, p, reverse);
  const auto in_f32 = results(kind.fused, p.to(DType::f32), reverse);
  for (std::size_t i = 0; i < expected.size(); ++i) {
    CAPTURE(i);
    const double scale = 1 + largest(expected[i]);
    CHECK(max_difference(found[i], expected[i]) <= 1e-12 * scale);
    CHECK(max_difference(in_f32[i].to(DType::f64), expected[i]) <= 1e-5 * scale);
  }
}

// Restores threads and instruction set after a test.
class Settings {
 public:
  Settings() : threads_(num_threads()), isa_(kernels::active_isa()) {}
  ~Settings() {
    set_num_threads(threads_);
    kernels::set_isa(isa_);
  }
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;

 private:
  int threads_;
  kernels::Isa isa_;
};

}  // namespace

TEST_CASE("linear_recurrence: the fused recurrences equal the reference, values and gradients") {
  const Settings before;
  for (const kernels::Isa isa : {kernels::Isa::baseline, kernels::Isa::v3, kernels::Isa::v4}) {
    if (kernels::set_isa(isa) != isa) continue;  // not supported by this processor
    CAPTURE(kernels::name_of(isa));
    for (const std::int64_t H : {1, 3, 17, 64, 130})
      for (const Kind& kind : kinds(H))
        for (const bool reverse : {false, true})
          check_equals_reference(kind, random_problem(kind, {3, 0, 5, 1, 2}), reverse);
  }
}

TEST_CASE("linear_recurrence: a sequence split along time equals the unsplit one") {
  for (const Kind& kind : kinds(3))
    for (const bool reverse : {false, true})
      for (const std::int64_t length : {1023, 1024, 1025, 2500})
        check_equals_reference(kind, random_problem(kind, {length, 3}), reverse);
}

TEST_CASE("linear_recurrence: early states propagate across all chunks") {
  // With a = 1 a state is the exact sum of all inputs before it.
  const std::int64_t T = 5000;
  const Tensor one = ones({1}), b = ones({T, 1}), initial = full({1, 1}, 7);
  for (const bool reverse : {false, true}) {
    const ScanOutput out = linear_recurrence(one, b, initial, RaggedIndex({T}), reverse);
    CHECK(out.last.item() == 5007);
    CHECK(select(out.states, 0, reverse ? T - 1 : 0).item() == 8);
    CHECK(select(out.states, 0, reverse ? T - 3000 : 2999).item() == 3007);
  }
}

TEST_CASE("linear_recurrence: overflowing products do not affect a zero state") {
  const Tensor a = full({1}, 2), b = zeros({1500, 1}).set_requires_grad();
  const ScanOutput out = linear_recurrence(a, b, {}, RaggedIndex({1500}));
  CHECK(max_difference(out.states, zeros({1500, 1})) == 0);
  const Tensor db = grad(select(select(out.states, 0, 20), 0, 0), b);
  CHECK(db.to_vector<float>()[18] == 4);
  CHECK(db.to_vector<float>()[1400] == 0);
}

TEST_CASE("linear_recurrence: bitwise equal for any number of threads") {
  const Settings before;
  for (const Kind& kind : kinds(70))
    for (const std::vector<std::int64_t>& lengths :
         {std::vector<std::int64_t>{4100}, {700, 0, 1500, 3, 90, 2100, 1}}) {
      const Problem p = random_problem(kind, lengths).to(DType::f32);
      set_num_threads(1);
      const auto expected = results(kind.fused, p, false);
      for (const int threads : {2, 3, 8}) {
        CAPTURE(threads);
        set_num_threads(threads);
        const auto found = results(kind.fused, p, false);
        for (std::size_t i = 0; i < expected.size(); ++i)
          CHECK(max_difference(found[i], expected[i]) == 0);
      }
    }
}

TEST_CASE("linear_recurrence: a ragged batch is bitwise equal to its sequences one by one") {
  for (const Kind& kind : kinds(5)) {
    const Problem p = random_problem(kind, {3, 0, 2050, 1, 1024}).to(DType::f32);
    const auto& [a, b, initial] = std::tie(p.inputs[0], p.inputs[1], p.inputs[2]);
    for (const bool reverse : {false, true}) {
      const auto all = results(kind.fused, p, reverse);
      for (std::int64_t s = 0; s < p.index.batch_size(); ++s) {
        const std::int64_t from = p.index.offset(s), to = p.index.offset(s + 1);
        const auto rows = [&](const Tensor& x) { return slice(x, 0, from, to).detach(); };
        const auto row = [&](const Tensor& x) { return slice(x, 0, s, s + 1).detach(); };
        Problem one{RaggedIndex({to - from}), {}, rows(p.d_states), row(p.d_last)};
        one.inputs = {kind.constant ? a.detach() : rows(a), rows(b), row(initial)};
        for (Tensor& x : one.inputs) x.set_requires_grad();
        const auto alone = results(kind.fused, one, reverse);
        if (!kind.constant) CHECK(max_difference(alone[0], rows(all[0])) == 0);
        CHECK(max_difference(alone[1], rows(all[1])) == 0);
        CHECK(max_difference(alone[2], row(all[2])) == 0);
        CHECK(max_difference(alone[3], rows(all[3])) == 0);
        CHECK(max_difference(alone[4], row(all[4])) == 0);
      }
    }
  }
}

TEST_CASE("linear_recurrence: later steps do not affect earlier ones") {
  const Kind kind{linear_recurrence, linear_recurrence_reference, false, 2};
  const Problem p = random_problem(kind, {2100});
  Tensor changed = p.inputs[1].detach().clone();
  changed.mutable_data<double>()[2 * 1500] += 1;
  const auto states = [&](const Tensor& b) {
    return linear_recurrence(p.inputs[0], b, p.inputs[2], p.index).states;
  };
  const Tensor before = states(p.inputs[1]), after = states(changed);
  CHECK(max_difference(slice(before, 0, 0, 1500), slice(after, 0, 0, 1500)) == 0);
  CHECK(max_difference(slice(before, 0, 1500, 1501), slice(after, 0, 1500, 1501)) > 0.9);
}

TEST_CASE(
    "linear_recurrence: a sequence of length 0 passes through its state and the state's gradient") {
  for (const Kind& kind : kinds(2)) {
    const Problem p = random_problem(kind, {0, 2});
    const auto all = results(kind.fused, p, false);  // da, db, d_initial, states, last
    CHECK(max_difference(select(all[4], 0, 0), select(p.inputs[2], 0, 0)) == 0);
    CHECK(max_difference(select(all[2], 0, 0), select(p.d_last, 0, 0)) == 0);
  }
}

TEST_CASE("linear_recurrence: no rows, and no sequences") {
  for (const Kind& kind : kinds(2))
    for (const std::vector<std::int64_t>& lengths : {std::vector<std::int64_t>{0, 0}, {}}) {
      const Problem p = random_problem(kind, lengths);
      const auto found = results(kind.fused, p, false);
      CHECK(max_difference(found[0], zeros(p.inputs[0].shape(), DType::f64)) == 0);
      CHECK(found[3].shape() == p.inputs[1].shape());
      CHECK(max_difference(found[4], p.inputs[2]) == 0);
    }
}

TEST_CASE("linear_recurrence: without initial state, and with one output unused") {
  for (const Kind& kind : kinds(3)) {
    const Problem p = random_problem(kind, {3, 1030, 0, 2});
    const std::span<const Tensor> inputs(p.inputs.data(), 2);
    for (const bool use_states : {true, false}) {
      const auto of = [&](Recurrence f) {
        const ScanOutput out = f(p.inputs[0], p.inputs[1], {}, p.index, false);
        return grad({use_states ? &out.states : &out.last, 1}, inputs,
                    {use_states ? &p.d_states : &p.d_last, 1});
      };
      const auto found = of(kind.fused), expected = of(kind.reference);
      for (std::size_t i = 0; i < 2; ++i)
        CHECK(max_difference(found[i], expected[i]) <= 1e-12 * (1 + largest(expected[i])));
    }
  }
}

TEST_CASE("linear_recurrence: inputs may be strided") {
  const Kind kind{linear_recurrence, linear_recurrence_reference, false, 4};
  const Problem p = random_problem(kind, {4, 3});
  const Tensor a = transpose(transpose(p.inputs[0], 0, 1).contiguous(), 0, 1);
  const Tensor b = transpose(transpose(p.inputs[1], 0, 1).contiguous(), 0, 1);
  CHECK(max_difference(linear_recurrence(a, b, {}, p.index).states,
                       linear_recurrence(p.inputs[0], p.inputs[1], {}, p.index).states) == 0);
}

TEST_CASE("polar: radius and angle") {
  const Tensor z = polar(tensor({2, 3}), tensor({0, 1}));
  CHECK(max_difference(z, tensor({2, 3 * std::cos(1.0f), 0, 3 * std::sin(1.0f)})) <= 1e-6);
  CHECK(message_of<ShapeError>([] { polar(ones({2}), ones({3})); }) ==
        "polar: radius (2,), angle (3,): both must be (H)");
  CHECK(message_of<DTypeError>([] { polar(ones({2}), ones({2}, DType::f64)); }) ==
        "polar: radius f32, angle f64: dtypes must be equal");
}

TEST_CASE("linear_recurrence: errors") {
  const RaggedIndex two_rows({2});
  const Tensor b = zeros({2, 3});
  CHECK(message_of<ShapeError>([&] {
          linear_recurrence(b, zeros({3, 3}), {}, two_rows);
        }) == "linear_recurrence: b (3, 3): must be (2, width), one row per step of each sequence");
  CHECK(message_of<ShapeError>([&] {
          linear_recurrence(zeros({1, 3}), b, {}, two_rows);
        }) == "linear_recurrence: a (1, 3): must be (2, 3) like b, or (3,) for all steps");
  CHECK(message_of<ShapeError>([&] {
          linear_recurrence(b, b, zeros({2, 3}), two_rows);
        }) == "linear_recurrence: initial state (2, 3): must be (1, 3)");
  CHECK(
      message_of<ShapeError>([&] { complex_linear_recurrence(b, b, {}, two_rows); }) ==
      "complex_linear_recurrence: b (2, 3): width must be even (real parts, then imaginary parts)");
  CHECK(message_of<DTypeError>([&] { linear_recurrence(b.to(DType::f64), b, {}, two_rows); }) ==
        "linear_recurrence: a is f64, b is f32: dtypes must be equal");
  CHECK(message_of<DTypeError>([&] {
          linear_recurrence(b, b, zeros({1, 3}, DType::f64), two_rows);
        }) == "linear_recurrence: initial state is f64, inputs are f32: dtypes must be equal");
  CHECK_THROWS_AS(linear_recurrence_reference(b, zeros({3, 3}), {}, two_rows), ShapeError);
  CHECK_THROWS_AS(complex_linear_recurrence_reference(b, b, {}, two_rows), ShapeError);
}
