// Introduction to autograd: an expression, its graph and its gradients.
//
//   01_gradients     result: df/dx = -0.2136, df/dy = -0.4242, d2f/dxdy = -0.5729
//   01_gradients 2>/dev/null | dot -Tsvg > graph.svg     the graph, from standard output
//   01_gradients --smoke     checks the gradients against the formula; run by ctest
//
// Read first. New here: Tensor, backward(), graph_to_dot(), second derivatives, gradcheck().
#include <fovea/core/diagnose.h>
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/examples/support/program.h>

#include <cmath>
#include <iostream>

#include <CLI/CLI.hpp>
#include <fmt/core.h>

using namespace fovea;

namespace {

// f(x, y) = x y + tanh(x) y^2
Tensor f(const Tensor& x, const Tensor& y) { return x * y + tanh(x) * y * y; }

bool near(double a, double b) { return std::abs(a - b) <= 1e-6; }

int run() {
  Tensor x = scalar(0.5, DType::f64), y = scalar(-1.0, DType::f64);
  x.set_requires_grad();
  y.set_requires_grad();

  const Tensor z = f(x, y);
  const std::vector<std::pair<std::string, Tensor>> names{{"x", x}, {"y", y}};
  std::cout << graph_to_dot(z, names);

  // The forward pass has recorded the graph; backward() traverses it from z to the leaves.
  z.backward({}, {.retain_graph = true});
  const double t = std::tanh(0.5), slope = 1 - t * t;
  fmt::print(stderr, "f(0.5, -1)  = {:.4f}\n", z.item<double>());
  fmt::print(stderr, "df/dx       = {:.4f}   by hand: y + (1 - tanh(x)^2) y^2 = {:.4f}\n",
             x.grad().item<double>(), -1 + slope);
  fmt::print(stderr, "df/dy       = {:.4f}   by hand: x + 2 tanh(x) y = {:.4f}\n",
             y.grad().item<double>(), 0.5 - 2 * t);

  // With create_graph the backward pass is recorded, too, so it can be differentiated again.
  const Tensor dx = grad(z, x, {.create_graph = true});
  const Tensor dxy = grad(dx, y);
  fmt::print(stderr, "d2f/dxdy    = {:.4f}   by hand: 1 + 2 (1 - tanh(x)^2) y = {:.4f}\n",
             dxy.item<double>(), 1 - 2 * slope);

  // Check against finite differences of f.
  const GradReport report =
      gradcheck([](const std::vector<Tensor>& in) { return f(in[0], in[1]); }, {x, y});
  fmt::print(stderr, "gradcheck   : {}\n", report ? "agrees" : report.message);

  const bool right = report && near(x.grad().item<double>(), -1 + slope) &&
                     near(y.grad().item<double>(), 0.5 - 2 * t) &&
                     near(dxy.item<double>(), 1 - 2 * slope);
  return right ? 0 : 1;
}

int parse_and_run(int argc, char** argv) {
  CLI::App app{"An expression, its graph as DOT (standard output) and its gradients."};
  bool smoke = false;  // every run checks its results
  app.add_flag("--smoke", smoke,
               "accepted for ctest: every run exits with 1 if a gradient is wrong");
  CLI11_PARSE(app, argc, argv);
  return run();
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("01_gradients", [&] { return parse_and_run(argc, argv); });
}
