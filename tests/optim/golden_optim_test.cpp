// Optimizers, gradient clipping and schedules against PyTorch's. The cases:
// tests/golden/optim_cases.py.
#include <fovea/core/ops/layout.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/clip.h>
#include <fovea/optim/schedule.h>
#include <fovea/optim/sgd.h>
#include <fovea/tests/support/golden.h>

#include <string>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::check_close;
using test::GoldenCase;
using test::GoldenCheck;

namespace {

using nlohmann::json;

// The parameters of every trajectory, and the gradients of each step.
struct Problem {
  explicit Problem(const SafetensorsFile& file)
      : w(file.tensor("problem/w")),
        b(file.tensor("problem/b")),
        dw(file.tensor("problem/dw")),
        db(file.tensor("problem/db")) {
    w.set_requires_grad();
    b.set_requires_grad();
  }

  void set_gradients(std::int64_t step) {
    w.set_grad(select(dw, 0, step));
    b.set_grad(select(db, 0, step));
  }

  Tensor w, b;
  Tensor dw, db;  // (steps, ...)
};

// w and b; if b has its own options, it is a separate group.
std::vector<optim::ParameterGroup> groups(const Problem& problem, const json& options) {
  optim::ParameterGroup of_w{.parameters = {{"w", problem.w}}};
  optim::ParameterGroup of_b{.parameters = {{"b", problem.b}}};
  if (options.contains("group_b")) {
    const json& differs = options["group_b"];
    of_b.lr_scale = differs["lr"].get<double>() / options["lr"].get<double>();
    of_b.weight_decay = differs["weight_decay"];
  }
  return {of_w, of_b};
}

optim::SGD make_sgd(const Problem& problem, const json& o) {
  return optim::SGD(groups(problem, o), {.lr = o["lr"],
                                         .momentum = o.value("momentum", 0.0),
                                         .dampening = o.value("dampening", 0.0),
                                         .weight_decay = o.value("weight_decay", 0.0),
                                         .nesterov = o.value("nesterov", false)});
}

// Adam and AdamW. Options not in the case keep our defaults, which must equal PyTorch's.
template <class Adam, class Options>
Adam make_adam(const Problem& problem, const json& o) {
  Options options{.lr = o["lr"]};
  if (o.contains("betas")) {
    options.beta1 = o["betas"][0];
    options.beta2 = o["betas"][1];
  }
  options.eps = o.value("eps", options.eps);
  options.weight_decay = o.value("weight_decay", options.weight_decay);
  return Adam(groups(problem, o), options);
}

// Compares the parameters after each step with w (steps, ...) and b (steps, ...).
template <class Optimizer>
GoldenCheck trajectory(Optimizer (*make)(const Problem&, const json&)) {
  return [make](const GoldenCase& golden) {
    Problem problem(golden.file);
    Optimizer optimizer = make(problem, golden.options);
    const Tensor w = golden["w"], b = golden["b"];
    for (std::int64_t step = 0; step < w.dim(0); ++step) {
      CAPTURE(step);
      problem.set_gradients(step);
      optimizer.step();
      check_close(problem.w, select(w, 0, step), "w");
      check_close(problem.b, select(b, 0, step), "b");
    }
  };
}

void check_clipping(const GoldenCase& golden) {
  Problem problem(golden.file);
  problem.set_gradients(0);
  const double norm =
      optim::clip_grad_norm({{"w", problem.w}, {"b", problem.b}}, golden.options["max_norm"]);
  check_close(scalar(norm), golden["norm"], "norm");
  check_close(problem.w.grad(), golden["dw"], "dw");
  check_close(problem.b.grad(), golden["db"], "db");
}

// Compares the rates of all steps with lr (steps).
GoldenCheck rates(optim::Schedule (*make)(double base, const json& options)) {
  return [make](const GoldenCase& golden) {
    const optim::Schedule rate = make(golden.options["base"], golden.options);
    const Tensor lr = golden["lr"];
    std::vector<double> found;
    for (std::int64_t t = 0; t < lr.numel(); ++t) found.push_back(rate(t));
    check_close(from_data(found, lr.shape()), lr, "lr");
  };
}

optim::Schedule warm_up_cosine(double base, const json& o) {
  const std::int64_t warm_up = o["warmup"];
  return optim::sequential(
      {{warm_up, optim::linear(o["start_factor"].get<double>() * base, base, warm_up)}},
      optim::cosine(base, o["T_max"], o["eta_min"]));
}

}  // namespace

TEST_CASE("golden: optimizers and clipping") {
  test::check_golden("optimizers",
                     {{"SGD", trajectory(make_sgd)},
                      {"Adam", trajectory(make_adam<optim::Adam, optim::AdamOptions>)},
                      {"AdamW", trajectory(make_adam<optim::AdamW, optim::AdamWOptions>)},
                      {"clip_grad_norm", check_clipping}});
}

TEST_CASE("golden: learning rates") {
  test::check_golden(
      "learning_rates",
      {{"StepLR", rates([](double base, const json& o) {
          return optim::step_decay(base, o["step_size"], o["gamma"]);
        })},
       {"MultiStepLR", rates([](double base, const json& o) {
          return optim::multi_step(base, o["milestones"], o["gamma"]);
        })},
       {"ExponentialLR",
        rates([](double base, const json& o) { return optim::exponential(base, o["gamma"]); })},
       {"ConstantLR", rates([](double base, const json& o) {
          return optim::sequential(
              {{o["total_iters"], optim::constant(o["factor"].get<double>() * base)}},
              optim::constant(base));
        })},
       {"CosineAnnealingLR", rates([](double base, const json& o) {
          return optim::cosine(base, o["T_max"], o["eta_min"]);
        })},
       {"LinearLR", rates([](double base, const json& o) {
          return optim::linear(o["start_factor"].get<double>() * base,
                               o["end_factor"].get<double>() * base, o["total_iters"]);
        })},
       {"Noam", rates([](double base, const json& o) {
          return optim::noam(o["d_model"], o["warmup"], base);
        })},
       {"SequentialLR", rates(warm_up_cosine)}});
}
