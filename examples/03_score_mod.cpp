// A user-defined lambda in the fused attention, with a trained parameter: two heads learn the
// delays of echoes.
//
//   03_score_mod             result: every weight within 0.007 of the true one, in 0.5 s
//                            on one core of an AMD EPYC
//   03_score_mod --smoke     fewer steps, and checks the result; run by ctest
//
// Read after 02_attention_by_hand. New here: score_mod(), a lambda that reads a parameter, fused
// attention compared with the reference implementation. B batch, H heads, T queries and keys.
//
// The target of head 0 is y_t = 0.6 x_{t-2} + 0.4 x_{t-7}, of head 1 y_t = 0.5 x_{t-1} +
// 0.3 x_{t-4} + 0.2 x_{t-9}. The signal is random, so q and k are zero: a score is only the value
// that the lambda reads from a table indexed by distance, and the softmax of a head's row of the
// table becomes its echo. No (T, T) matrix is stored, forward or backward.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/score_mod_lambda.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/program.h>
#include <fovea/optim/adam.h>

#include <iostream>

#include <fmt/ostream.h>

using namespace fovea;

namespace {

constexpr std::int64_t kReach = 12;  // size of the table: larger distances are masked

// echo[h][d]: coefficient of x_{t-d} in the target of head h
Tensor true_echoes() {
  Tensor echo = zeros({2, kReach});
  float* e = echo.mutable_data<float>();
  e[2] = 0.6F, e[7] = 0.4F;
  e[kReach + 1] = 0.5F, e[kReach + 4] = 0.3F, e[kReach + 9] = 0.2F;
  return echo;
}

// y_t = sum_d echo_d x_{t-d}.   x: (B, H, T, 1)
Tensor heard(const Tensor& x, const Tensor& echo) {
  const std::int64_t H = x.dim(1), T = x.dim(2);
  Tensor y = zeros(x.shape());
  float* out = y.mutable_data<float>();
  for (std::int64_t bh = 0; bh < x.dim(0) * H; ++bh)
    for (std::int64_t t = 0; t < T; ++t)
      for (std::int64_t d = 0; d <= std::min(t, kReach - 1); ++d)
        out[bh * T + t] +=
            echo.data<float>()[bh % H * kReach + d] * x.data<float>()[bh * T + t - d];
  return y;
}

// Modifies the scores. Only the forward is written; the gradient of the table is derived from the
// same lambda. -infinity masks a key.
ScoreMod by_distance(const Tensor& table) {  // (H, kReach)
  return score_mod(
      []<class N>(N score, const ScorePlace& at, auto read) -> N {
        const std::int64_t distance = at.query - at.key;
        if (distance < 0 || distance >= kReach) return -INFINITY;
        return score + read(0, distance);
      },
      {unsqueeze(table, 0)});  // (1, H, kReach): each head reads its own row
}

struct Attended {
  Tensor y, loss;
};

// The first kReach rows, whose echo is incomplete, are not part of the loss.
template <class Attention>
Attended attend(const Tensor& x, const Tensor& target, const Tensor& table,
                const Attention& attention) {
  AttentionOptions options;
  options.score_mod = by_distance(table);
  const Tensor q = zeros({x.dim(0), x.dim(1), x.dim(2), 1});
  const Tensor y = attention(q, q, x, Mask::none(), options);  // (B, H, T, 1)
  const std::int64_t rest = x.dim(2) - kReach;
  return {y, mean(square(narrow(y - target, 2, kReach, rest)))};
}

const auto fused = [](const auto&... in) { return scaled_dot_product_attention(in...); };
const auto by_definition = [](const auto&... in) { return attention_reference(in...).output; };

// Largest difference between the fused gradient of the table and that of the reference.
double disagreement(const Tensor& x, const Tensor& target, const Tensor& table) {
  const Tensor a = grad(attend(x, target, table, fused).loss, table);
  const Tensor b = grad(attend(x, target, table, by_definition).loss, table);
  return max(abs(a - b)).item<double>();
}

double train(Tensor& table, const Tensor& echo, int steps) {
  Rng rng(1);
  optim::Adam adam({{"table", table}}, {.lr = 0.1});
  double loss = 0;
  for (int step = 1; step <= steps; ++step) {
    const Tensor x = randn({4, 2, 256, 1}, rng);  // (B, H, T, 1)
    const Attended now = attend(x, heard(x, echo), table, fused);
    adam.zero_grad();
    now.loss.backward();
    adam.step();
    loss = now.loss.item<double>();
    if (step == 1 || step % 50 == 0) fmt::print(std::cout, "step {:3}   loss {:.6f}\n", step, loss);
  }
  return loss;
}

void show(const Tensor& learned, const Tensor& echo) {
  for (std::int64_t h = 0; h < 2; ++h) {
    fmt::print(std::cout, "\nhead {}: distance, weight, true weight\n", h);
    for (std::int64_t d = 0; d < kReach; ++d) {
      const float weight = learned.data<float>()[h * kReach + d];
      fmt::print(std::cout, "{:4}   {:.3f}   {:.1f}  {}\n", d, weight,
                 echo.data<float>()[h * kReach + d],
                 std::string(static_cast<std::size_t>(weight * 50 + 0.5F), '#'));
    }
  }
}

int parse_and_run(int argc, char** argv) {
  bool smoke = false;
  int steps = 400;
  support::CommandLine line(
      "Trains a parameter of a score_mod lambda in the fused attention to find the delays of "
      "echoes.");
  support::Group group(line, "Options");
  group.number("--steps", steps, {1, 100'000}, "N", "Adam steps");
  group.flag("--smoke", smoke, "150 steps; exit with 1 if the echoes are not found");
  line.rules = [&] {
    return std::vector<support::Rule>{
        {!smoke, "only without --smoke, which sets the number of steps", "--steps"}};
  };
  line.parse_or_exit(argc, argv);

  const Tensor echo = true_echoes();
  Tensor table = zeros({2, kReach}).set_requires_grad();
  const double loss = train(table, echo, smoke ? 150 : steps);
  const Tensor learned = softmax(table.detach(), -1);  // (H, kReach)
  show(learned, echo);

  Rng rng(2);
  const Tensor x = randn({1, 2, 64, 1}, rng);
  const double gap = disagreement(x, heard(x, echo), table);
  const double miss = max(abs(learned - echo)).item<double>();
  fmt::print(std::cout, "\nfinal loss {:.1e}; largest error of a weight {:.3f}\n", loss, miss);
  fmt::print(std::cout, "largest difference between the fused gradient and the reference {:.1e}\n",
             gap);
  return !smoke || (miss < 0.03 && gap < 1e-6) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("03_score_mod", [&] { return parse_and_run(argc, argv); });
}
