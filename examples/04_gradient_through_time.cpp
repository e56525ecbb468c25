// Gradient of a loss at the end of a sequence, by position: recurrent nets and attention.
//
//   04_gradient_through_time              result: at t = 1 of 100 the norm is 2.5e-34 for an RNN,
//                                         7.1e-19 for a GRU, 8.4e-22 for an LSTM; with open gates
//                                         0.35 (GRU) and 0.13 (LSTM); for self-attention 4.6e-3,
//                                         and 4.8e-3 at t = 50; in 0.1 s on two cores of an AMD
//                                         EPYC
//   04_gradient_through_time --svg FILE   also writes the curves as SVG
//   04_gradient_through_time --smoke      exits with 1 if a norm is unexpected; run by ctest
//
// Read after 03_score_mod. New here: GradientFlow, unroll(), charts. B sequences, T positions,
// C width. The nets are not trained: these are the gradients at the start of training.
//
// Each net has the same 100 random rows as input, and its loss is L = w h_T, |w| = 1: one direction
// of the last output. The output is ||dL/dh_t||, the sensitivity of L to the state at t. Each step
// backward through a recurrent net multiplies it by the step's Jacobian, so it decays exponentially
// (Hochreiter 1991; Bengio, Simard and Frasconi 1994) or explodes (Pascanu et al. 2013, section 2).
// If the gate that retains the state is initially open, sigmoid(log(T - 1)) = 1 - 1/T, the factor
// is nearly 1 (Gers et al. 2000, section 3; Tallec and Ollivier 2018, Can Recurrent Neural Networks
// Warp Time, section 2). Attention has no steps: h_t is the input row at t, which the last position
// attends to directly, with a weight of about 1/T.
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/output.h>
#include <fovea/examples/support/program.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/inspect/gradient_flow.h>

#include <array>
#include <cmath>
#include <filesystem>
#include <iostream>
#include <string>
#include <unistd.h>

#include <fmt/ostream.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::nn::inspect;

namespace {

constexpr std::int64_t B = 16, T = 100, C = 32;
constexpr RecurrentOptions kSizes{.input_size = C, .hidden_size = C};

struct Task {
  Tensor x;  // (B, T, C)
  Tensor w;  // (C), of length 1
};

Task random_task(Rng& rng) {
  const Tensor x = randn({B, T, C}, rng), w = randn({C}, rng);
  return {x, w / sqrt(sum(square(w)))};
}

// L, summed over the sequences, which do not interact.    last: (B, C)
Tensor loss_of(const Tensor& last, const Task& task) { return sum(last * task.w); }

// The layer is one op for all steps. unroll() records every step in the graph, so that the gradient
// of each h_t can be recorded.
void watch_recurrent(GradientFlow& flow, const std::string& name, const RecurrentLayers& net,
                     const Task& task) {
  const Ragged x{reshape(task.x, {B * T, C}), RaggedIndex::equal(B, T)};
  const Unrolled run = unroll(net, x);
  flow.watch(name, run.layers[0].states);
  loss_of(select(run.last, 0, 0), task).backward();
}

void watch_attention(GradientFlow& flow, const std::string& name, const MultiheadAttention& net,
                     const Task& task) {
  Tensor h = task.x.clone();
  h.set_requires_grad();
  flow.watch(name, h);
  loss_of(select(net(h), 1, T - 1), task).backward();  // (B, T, C) -> (B, C)
}

// Sets the bias of one gate to log(T - 1), so that its value is about 1 - 1/T.
void open_gate(Module& net, std::int64_t gate) {
  for (const auto& [name, bias] : net.parameters())
    if (name == "bias_hh_l0") narrow(bias.detach(), 0, gate * C, C).fill(std::log(T - 1.0));
}

GradientFlow measure_all(Rng& rng) {
  const Task task = random_task(rng);
  GradientFlow flow;
  RNN rnn(kSizes, rng);
  GRU gru(kSizes, rng);
  LSTM lstm(kSizes, rng);
  watch_recurrent(flow, "RNN", rnn, task);
  watch_recurrent(flow, "GRU", gru, task);
  watch_recurrent(flow, "LSTM", lstm, task);
  open_gate(gru, 1);   // z of r z n
  open_gate(lstm, 1);  // f of i f g o
  watch_recurrent(flow, "GRU, z open", gru, task);
  watch_recurrent(flow, "LSTM, f open", lstm, task);
  const MultiheadAttention attention({.embed_dim = C, .num_heads = 4}, rng);
  watch_attention(flow, "self-attention", attention, task);
  return flow;
}

constexpr std::array<std::int64_t, 4> kShown{T, T - 10, T - 50, 1};  // from 1

void show(const std::vector<Flow>& flows) {
  fmt::print(std::cout, "||dL/dh_t||, mean of {} sequences\n{:16}", B, "");
  for (const std::int64_t t : kShown) fmt::print(std::cout, "{:>12}", fmt::format("t = {}", t));
  for (const Flow& flow : flows) {
    fmt::print(std::cout, "\n{:16}", flow.name);
    const std::vector<double> norms = flow.by_position();
    for (const std::int64_t t : kShown)
      fmt::print(std::cout, "{:12.1e}", norms[static_cast<std::size_t>(t - 1)]);
  }
  fmt::print(std::cout, "\n\n{}", draw_in_terminal(chart_of(flows), terminal_color(STDOUT_FILENO)));
}

double at(const Flow& flow, std::int64_t t) {  // from 1
  return flow.by_position()[static_cast<std::size_t>(t - 1)];
}

// Checks the results in the comment at the top.
bool as_claimed(const GradientFlow& flow) {
  const auto share = [&](const char* name) {
    const Flow f = flow.measure(name);
    return at(f, 1) / at(f, T - 50);  // remaining fraction after 49 more steps
  };
  return share("RNN") < 1e-6 && share("GRU") < 1e-6 && share("LSTM") < 1e-6 &&
         share("GRU, z open") > 0.3 && share("LSTM, f open") > 0.3 && share("self-attention") > 0.5;
}

int parse_and_run(int argc, char** argv) {
  std::filesystem::path svg;
  std::uint64_t seed = 1;
  bool smoke = false;
  support::CommandLine line(
      "Measures the gradient norm over 100 time steps of recurrent nets and attention.");
  support::Group group(line, "Options");
  group.file("--svg", svg, "FILE", "write the curves as SVG");
  group.number("--seed", seed, support::ranges::seed, "N", "random seed of weights and inputs");
  group.flag("--smoke", smoke, "exit with 1 if a gradient norm is unexpected");
  line.parse_or_exit(argc, argv);

  support::check_outputs({{"--svg", svg}});
  Rng rng(seed);
  const GradientFlow flow = measure_all(rng);
  show(flow.measure());
  if (!svg.empty()) write_file_atomically(svg, draw_as_svg(chart_of(flow.measure())));
  return !smoke || as_claimed(flow) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("04_gradient_through_time",
                              [&] { return parse_and_run(argc, argv); });
}
