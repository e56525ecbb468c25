#include "special_values.h"

#include <fovea/core/autograd.h>
#include <fovea/core/denormals.h>
#include <fovea/core/kernels/isa.h>

#include <cmath>
#include <set>

#include <doctest/doctest.h>

namespace fovea::test {
namespace {

std::vector<SpecialCase>& all_cases() {
  static std::vector<SpecialCase> cases;
  return cases;
}

// Ops without a case here, and the reason.
const std::map<std::string, std::string>& exemptions() {
  const std::string moves = "moves or copies numbers", sums = "sums of products, tested by bounds";
  const std::string choice = "returns indices or bool values", test = "tested by its own file";
  static const std::map<std::string, std::string> all{{"accumulate", "adds"},
                                                      {"additive_attention", test},
                                                      {"argmax", choice},
                                                      {"argmin", choice},
                                                      {"attention_head_mean", test},
                                                      {"attention_step", test},
                                                      {"checkpoint", "runs others"},
                                                      {"clone", moves},
                                                      {"concat", moves},
                                                      {"contiguous", moves},
                                                      {"detach", moves},
                                                      {"dropout", "x / (1 - p) or 0"},
                                                      {"early_linear", sums},
                                                      {"embedding", moves},
                                                      {"eq", choice},
                                                      {"expand", moves},
                                                      {"feed_forward", sums},
                                                      {"flip", moves},
                                                      {"gather", moves},
                                                      {"ge", choice},
                                                      {"gru", "sigmoid and tanh"},
                                                      {"gt", choice},
                                                      {"identity", moves},
                                                      {"index_add", moves},
                                                      {"index_select", moves},
                                                      {"le", choice},
                                                      {"linear", sums},
                                                      {"linear_recurrence", sums},
                                                      {"logical_and", choice},
                                                      {"logical_not", choice},
                                                      {"logical_or", choice},
                                                      {"lstm", "sigmoid and tanh"},
                                                      {"lt", choice},
                                                      {"matmul", sums},
                                                      {"max_with_index", choice},
                                                      {"min_with_index", choice},
                                                      {"ne", choice},
                                                      {"one_hot", choice},
                                                      {"pack_ragged", moves},
                                                      {"pad", moves},
                                                      {"pad_ragged", moves},
                                                      {"permute", moves},
                                                      {"polar", "sine and cosine"},
                                                      {"prefix_product", sums},
                                                      {"relu_dropout", "relu"},
                                                      {"reshape", moves},
                                                      {"rnn", "sigmoid and tanh"},
                                                      {"rope", "sine and cosine"},
                                                      {"scaled_dot_product_attention", test},
                                                      {"complex_linear_recurrence", sums},
                                                      {"scatter_add", moves},
                                                      {"score_mod", test},
                                                      {"select", moves},
                                                      {"skip_zero_gradient", moves},
                                                      {"slice", moves},
                                                      {"split", moves},
                                                      {"stack", moves},
                                                      {"step_linear", sums},
                                                      {"straight_through", moves},
                                                      {"suffix_product", sums},
                                                      {"to", moves},
                                                      {"to_integer", choice},
                                                      {"transpose", moves},
                                                      {"unbind", moves}};
  return all;
}

std::string text(Real x) { return std::to_string(static_cast<double>(x)); }

// True if `found` equals `expected` within `error`, rounding and the type's range.
bool agrees(double found, Real expected, Real error, DType dtype) {
  const bool single = dtype == DType::f32;
  const Real largest =
      single ? Real{std::numeric_limits<float>::max()} : Real{std::numeric_limits<double>::max()};
  const Real smallest =
      single ? Real{std::numeric_limits<float>::min()} : Real{std::numeric_limits<double>::min()};
  if (std::isnan(expected)) return std::isnan(found);
  if (std::isnan(found)) return false;
  if (std::isinf(found))
    return std::signbit(found) == std::signbit(expected) &&
           std::abs(expected) + error > largest * (1 - 1e-3L);
  if (std::isinf(expected)) return false;
  return std::abs(found - expected) <= error + 128 * smallest;  // a denormal factor counts as 0
}

struct Run {
  const SpecialCase& c;
  DType dtype;
  std::vector<std::vector<Reals>> rows;  // rounded to the type

  Real eps() const {
    return dtype == DType::f32 ? Real{std::numeric_limits<float>::epsilon()}
                               : Real{std::numeric_limits<double>::epsilon()};
  }

  Run(const SpecialCase& special, DType type) : c(special), dtype(type), rows(special.rows) {
    for (auto& row : rows)
      for (Reals& x : row)
        for (Real& number : x) number = rounded(number);
  }

  std::vector<Tensor> leaves() const {
    std::vector<Tensor> all;
    for (std::size_t i = 0; i < rows[0].size(); ++i) {
      std::vector<double> numbers;
      for (const auto& row : rows)
        for (const Real x : row[i]) numbers.push_back(static_cast<double>(x));
      const auto width = static_cast<std::int64_t>(rows[0][i].size());
      Tensor x = from_data(numbers, {static_cast<std::int64_t>(rows.size()), width}).to(dtype);
      all.push_back(x.detach().clone().set_requires_grad());
    }
    return all;
  }

  // To the type; denormal numbers count as 0 inside ops.
  Real rounded(Real x) const {
    const bool single = dtype == DType::f32;
    const Real smallest =
        single ? Real{std::numeric_limits<float>::min()} : Real{std::numeric_limits<double>::min()};
    if (std::abs(x) < smallest) return 0;
    return single ? Real{static_cast<float>(x)} : Real{static_cast<double>(x)};
  }

  // A non-constant cotangent, exact in both types.
  static Real cotangent(std::size_t i) { return 1 + 0.25L * static_cast<Real>(i % 5); }

  void check(const std::string& path, const std::vector<double>& found, std::size_t row,
             const Reals& expected, const Reals& error) const {
    const std::size_t width = expected.size();
    for (std::size_t j = 0; j < width; ++j) {
      const double got = found[row * width + j];
      if (agrees(got, expected[j], error[j], dtype)) continue;
      FAIL_CHECK(c.op << " " << name_of(dtype) << " " << kernels::name_of(kernels::active_isa())
                      << " " << path << ": row " << row << " (of " << text(rows[row][0][0])
                      << (rows[row].size() > 1 ? ", " + text(rows[row][1][0]) : "") << ") at " << j
                      << ": " << got << ", expected " << text(expected[j]) << " +- "
                      << static_cast<double>(error[j]));
      return;
    }
  }

  void run(const std::string& path, const std::function<Tensor(const std::vector<Tensor>&)>& f,
           bool create_graph) const {
    const std::vector<Tensor> in = leaves();
    const Tensor y = f(in);
    const auto value = y.to_vector<double>();
    const std::size_t width = value.size() / rows.size();
    std::vector<double> weights;
    for (std::size_t i = 0; i < value.size(); ++i)
      weights.push_back(static_cast<double>(cotangent(i)));
    const Tensor dy = from_data(weights, y.shape()).to(dtype);
    const std::vector<Tensor> grads = grad({&y, 1}, in, {&dy, 1}, {.create_graph = create_graph});
    std::vector<std::vector<double>> numbers;
    for (const Tensor& g : grads) numbers.push_back(g.to_vector<double>());
    for (std::size_t r = 0; r < rows.size(); ++r) {
      Reals of_row;
      for (std::size_t j = 0; j < width; ++j) of_row.push_back(cotangent(r * width + j));
      const Expected expected = c.expected(rows[r], of_row, eps());
      check(path + " value", value, r, expected.value, expected.value_error);
      for (std::size_t i = 0; i < expected.gradients.size(); ++i)
        check(path + " gradient by " + std::to_string(i), numbers[i], r, expected.gradients[i],
              expected.gradient_errors[i]);
    }
  }
};

}  // namespace

bool add_special_cases(std::vector<SpecialCase> cases) {
  for (SpecialCase& c : cases) all_cases().push_back(std::move(c));
  return true;
}
const std::vector<SpecialCase>& special_cases() { return all_cases(); }

Reals special_numbers() {
  Reals all{0, kNaN};
  for (const Real size : {1e-42L, 1e-30L, 1e-19L, 1e-5L, 0.5L, 1.0L, 3.0L, 9.0L, 30.0L, 88.0L,
                          100.0L, 1e3L, 1e6L, 1.8e19L, 2e19L, 1e20L, 1e30L, 3e38L, kInf})
    for (const Real sign : {1.0L, -1.0L}) all.push_back(sign * size);
  return all;
}

TEST_CASE("special values: fast path, composed derivative and reference agree with long double") {
  const kernels::Isa before = kernels::active_isa();
  set_flush_denormal(false);  // denormals are exact too; denormals_test.cpp has the rest
  for (const kernels::Isa isa : {kernels::Isa::baseline, kernels::Isa::v3, kernels::Isa::v4}) {
    if (kernels::set_isa(isa) != isa) continue;
    for (const SpecialCase& c : special_cases())
      for (const DType dtype : {DType::f32, DType::f64}) {
        const Run run(c, dtype);
        run.run("op", c.f, false);
        run.run("composed", c.f, true);
        if (c.reference) run.run("reference", c.reference, false);
      }
  }
  kernels::set_isa(before);
  set_flush_denormal(true);
}

TEST_CASE("special values: every registered op has a case, or a reason to have none") {
  std::set<std::string> covered;
  for (const SpecialCase& c : special_cases()) covered.insert(c.op);
  for (const OpInfo& op : registered_ops()) {
    CAPTURE(std::string(op.name));
    CHECK(covered.contains(op.name) != exemptions().contains(op.name));
  }
}

}  // namespace fovea::test
