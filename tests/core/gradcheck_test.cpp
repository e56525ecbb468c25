// gradcheck must detect wrong backward functions.
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/grad_cases.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;
using test::randn64;

namespace {

// y = f(x), with the given backward.
template <class Backward>
TensorFunction with_backward(TensorFunction f, Backward backward) {
  return [f = std::move(f), backward](const std::vector<Tensor>& x) {
    Tensor y;
    {
      const NoGrad computing;
      y = f(x);
    }
    const Tensor input = x[0];
    return record<"test_claimed">(
        y, {input}, [input = keep(input), backward](const Tensor& dy, NeedsGrad) -> Grads {
          return {backward(dy, input)};
        });
  };
}

Tensor squares(const std::vector<Tensor>& x) { return x[0] * x[0]; }

}  // namespace

TEST_CASE("a correct backward passes, and no gradient remains") {
  const Tensor x = randn64({2, 3}, 1).set_requires_grad();
  CHECK(gradcheck(squares, {x}));
  CHECK(gradgradcheck(squares, {x}));
  CHECK(gradcheck([](const auto& in) { return in[0] * in[1] + exp(in[1]); }, {x, randn64({3}, 2)}));
  CHECK_FALSE(x.grad().defined());
}

TEST_CASE("a wrong factor is detected and reported with both values") {
  const auto f =
      with_backward(squares, [](const Tensor& dy, const Tensor& x) { return 3.0 * x * dy; });
  const GradReport report = gradcheck(f, {tensor({1, 2}).to(DType::f64)});
  CHECK_FALSE(report.ok);
  CHECK(report.input == 0);
  CHECK(report.index == 0);
  CHECK(report.analytic / report.numeric == doctest::Approx(1.5));
  CHECK(report.message.starts_with("input 0, element 0: numeric "));
  CHECK(report.message.find(", analytic ") != std::string::npos);
}

TEST_CASE("an error in one element of many is detected") {
  const auto f = with_backward(squares, [](const Tensor& dy, const Tensor& x) {
    Tensor dx = 2.0 * x * dy;
    if (!grad_enabled()) dx.mutable_data<double>()[4] *= 1.001;
    return dx;
  });
  const GradReport report = gradcheck(f, {randn64({2, 3}, 1)});
  CHECK_FALSE(report.ok);
  CHECK(report.index == 4);
}

TEST_CASE("zeros as the gradient of a softmax are detected although its rows sum to one") {
  const auto f = with_backward([](const auto& x) { return softmax(x[0]); },
                               [](const Tensor& dy, const Tensor&) { return dy * 0.0; });
  CHECK_FALSE(gradcheck(f, {randn64({2, 5}, 1)}).ok);
  CHECK(gradcheck([](const auto& x) { return softmax(x[0]); }, {randn64({2, 5}, 1)}));
}

TEST_CASE("NaN fails, in the gradient and in the function") {
  const double nan = std::nan("");
  const auto in_gradient =
      with_backward(squares, [nan](const Tensor& dy, const Tensor&) { return dy * nan; });
  CHECK_FALSE(gradcheck(in_gradient, {randn64({2}, 1)}).ok);
  CHECK_FALSE(gradcheck([nan](const auto& x) { return x[0] * nan; }, {randn64({2}, 1)}).ok);
}

TEST_CASE("a missing gradient counts as zero and is detected") {
  const TensorFunction f = [](const auto& x) { return x[0] * x[1].detach(); };
  const GradReport report = gradcheck(f, {randn64({2}, 1), randn64({2}, 2)});
  CHECK_FALSE(report.ok);
  CHECK(report.input == 1);
  CHECK(report.analytic == 0);
}

TEST_CASE("a correct first derivative with a wrong second one") {
  const auto f = with_backward(squares, [](const Tensor& dy, const Tensor& x) {
    return 2.0 * x.detach() * dy;  // ignores the dependence on x
  });
  CHECK(gradcheck(f, {randn64({3}, 1)}));
  const GradReport report = gradgradcheck(f, {randn64({3}, 1)});
  CHECK_FALSE(report.ok);
  CHECK(report.message.starts_with("second derivative: gradient of input 0: input 0, "));
}

TEST_CASE("a linear function has no second derivative, and passes") {
  CHECK(gradgradcheck([](const auto& x) { return sum(x[0]) * 3.0; }, {randn64({3}, 1)}));
}

TEST_CASE("finite differences require f64") {
  CHECK(message_of<DTypeError>([] { gradcheck(squares, {ones({2})}); }) ==
        "gradcheck: input 0 is f32: differences need f64");
}
