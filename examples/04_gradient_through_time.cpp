// How much of a loss at the end of a sequence reaches its beginning: recurrent nets and attention.
//
//   04_gradient_through_time              result: at t = 1 of 100 an RNN has 2.5e-34 left, a GRU
//                                         7.1e-19, an LSTM 8.4e-22; with open gates these have 0.35
//                                         and 0.13; self-attention 4.6e-3, and 4.8e-3 at t = 50;
//                                         in 0.1 s on two cores of an AMD EPYC
//   04_gradient_through_time --svg FILE   the curves as a picture too
//   04_gradient_through_time --smoke      the exit code says whether that holds; run by ctest
//
// Read after 03_score_mod. New here: GradientFlow, unroll(), charts. B sequences, T positions,
// C width. Nothing is trained: this is what training has to start with.
//
// Each net reads the same 100 random rows, and its loss is L = w h_T, |w| = 1: one direction of the
// last output and nothing else. Shown is ||dL/dh_t||, how far L moves with the state at t. Each
// step back through a recurrent net multiplies it by the step's Jacobian, so it falls like a power
// (Hochreiter 1991; Bengio, Simard and Frasconi 1994) or explodes (Pascanu et al. 2013, section 2).
// Where the gate that keeps the state starts open, sigmoid(log(T - 1)) = 1 - 1/T, the factor is
// nearly 1 (Gers et al. 2000, section 3; Tallec and Ollivier 2018, Can Recurrent Neural Networks
// Warp Time, section 2). Attention takes no steps: h_t is the row at t that the last position looks
// at, and all rows are equally near. Its price: each gets a share of about 1/T.
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

// L, summed over the sequences: each has the gradient of its own loss.    last: (B, C)
Tensor loss_of(const Tensor& last, const Task& task) { return sum(last * task.w); }

// The layer is one op for all steps, and h_t's way through h_{t+1} is inside it: step by step it is
// in the graph, where it can be watched.
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

// Sets the bias of one gate to log(T - 1): it then keeps about 1 - 1/T of the state.
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
  fmt::print(std::cout, "\n\n{}",
             draw_in_terminal(chart_of(flows), terminal_colour(STDOUT_FILENO)));
}

double at(const Flow& flow, std::int64_t t) {  // from 1
  return flow.by_position()[static_cast<std::size_t>(t - 1)];
}

// What the opening comment says.
bool as_claimed(const GradientFlow& flow) {
  const auto share = [&](const char* name) {
    const Flow f = flow.measure(name);
    return at(f, 1) / at(f, T - 50);  // what 49 more steps leave of it
  };
  return share("RNN") < 1e-6 && share("GRU") < 1e-6 && share("LSTM") < 1e-6 &&
         share("GRU, z open") > 0.3 && share("LSTM, f open") > 0.3 && share("self-attention") > 0.5;
}

int parse_and_run(int argc, char** argv) {
  std::filesystem::path svg;
  std::uint64_t seed = 1;
  bool smoke = false;
  support::CommandLine line(
      "Measures what is left of a gradient along 100 steps of recurrent nets and attention.");
  support::Group group(line, "Options");
  group.file("--svg", svg, "FILE", "draws the curves into this file");
  group.number("--seed", seed, support::ranges::seed, "N", "of weights and inputs");
  group.flag("--smoke", smoke, "the exit code says whether the gradients are as claimed");
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
