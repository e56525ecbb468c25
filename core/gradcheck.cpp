#include <fovea/core/gradcheck.h>
#include <fovea/core/random.h>

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

namespace fovea {
namespace {

double weighted_sum(const Tensor& w, const Tensor& y) {
  const std::vector<double> ws = w.to_vector<double>(), ys = y.to_vector<double>();
  double sum = 0;
  for (std::size_t i = 0; i < ys.size(); ++i) sum += ws[i] * ys[i];
  return sum;
}

// New leaves with the same values: a check must not change the gradients of the caller's tensors.
std::vector<Tensor> as_leaves(const std::vector<Tensor>& inputs) {
  check_all_defined("gradcheck", "input", inputs);
  std::vector<Tensor> leaves;
  for (const Tensor& x : inputs) {
    if (x.dtype() != DType::f64)
      dtype_error("gradcheck", "input {} is {}: differences need f64", leaves.size(),
                  name_of(x.dtype()));
    leaves.push_back(without_graph(x).clone());
    leaves.back().set_requires_grad();
  }
  return leaves;
}

GradReport failure(std::size_t input, std::int64_t index, double numeric, double analytic) {
  return {false,
          fmt::format("input {}, element {}: numeric {:.12g}, analytic {:.12g}", input, index,
                      numeric, analytic),
          input,
          index,
          numeric,
          analytic};
}

}  // namespace

GradReport gradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs,
                     const GradcheckOptions& options) {
  const std::vector<Tensor> leaves = as_leaves(inputs);
  const Tensor y = f(leaves);
  Rng rng(options.seed);
  const Tensor w = randn(y.shape(), rng, DType::f64);
  y.backward(w);

  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const std::vector<double> analytic =
        leaves[k].grad().defined()
            ? leaves[k].grad().to_vector<double>()
            : std::vector<double>(static_cast<std::size_t>(leaves[k].numel()));
    for (std::int64_t i = 0; i < leaves[k].numel(); ++i) {
      std::vector<Tensor> shifted = as_leaves(inputs);
      double& value = shifted[k].mutable_data<double>()[i];
      const double at = value, h = options.step * std::max(1.0, std::abs(at));
      value = at + h;
      const double up = weighted_sum(w, f(shifted));
      shifted[k].mutable_data<double>()[i] = at - h;
      const double down = weighted_sum(w, f(shifted));
      const double numeric = (up - down) / (2 * h), exact = analytic[static_cast<std::size_t>(i)];
      const double error = std::abs(numeric - exact) / std::max(1.0, std::abs(numeric));
      if (!(error <= options.tolerance)) return failure(k, i, numeric, exact);  // NaN fails
    }
  }
  return {};
}

GradReport gradgradcheck(const TensorFunction& f, const std::vector<Tensor>& inputs,
                         const GradcheckOptions& options) {
  Rng rng(options.seed + 1);
  const Tensor w = randn(f(as_leaves(inputs)).shape(), rng, DType::f64);
  std::vector<Tensor> arguments = inputs;  // x_0 .. x_{n-1}, and the cotangent
  arguments.push_back(w);
  for (std::size_t k = 0; k < inputs.size(); ++k) {
    const TensorFunction gradient = [&](const std::vector<Tensor>& x) {
      const Tensor y = f({x.begin(), x.end() - 1});
      return grad(std::span(&y, 1), std::span(&x[k], 1), std::span(&x.back(), 1),
                  {.create_graph = true})[0];
    };
    GradReport report = gradcheck(gradient, arguments, options);
    if (!report) {
      report.message = fmt::format(
          "second derivative: gradient of input {}: {}{}", k,
          report.input == inputs.size() ? "with respect to the cotangent, " : "", report.message);
      return report;
    }
  }
  return {};
}

}  // namespace fovea
