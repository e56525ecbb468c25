// DyNet peer of xor_bench: a training step of a minimal net. The graph is rebuilt in each step, as
// is usual in DyNet; with --keep-graph it is built once, and each step only runs it again.
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <algorithm>
#include <iterator>
#include <string>
#include <vector>

#include <dynet/dynet.h>
#include <dynet/expr.h>
#include <dynet/training.h>

namespace {

using dynet::ComputationGraph;
using dynet::Expression;
using namespace workloads::xor_step;

class Problem {
 public:
  Problem() {
    w1_ = parameter("0.weight", hidden, inputs);
    b1_ = parameter("0.bias", hidden, 1);
    w2_ = parameter("2.weight", 1, hidden);
    b2_ = parameter("2.bias", 1, 1);
  }

  Expression loss(ComputationGraph& graph) const {
    const Expression w1 = dynet::parameter(graph, w1_), b1 = dynet::parameter(graph, b1_);
    const Expression w2 = dynet::parameter(graph, w2_), b2 = dynet::parameter(graph, b2_);
    const Expression x = dynet::input(graph, dynet::Dim({inputs}, batch), &x_);
    const Expression y = dynet::input(graph, dynet::Dim({1}, batch), &y_);
    const Expression h = dynet::tanh(dynet::affine_transform({b1, w1, x}));
    const Expression answer = dynet::affine_transform({b2, w2, h});
    return dynet::mean_batches(dynet::squared_distance(answer, y));
  }

  float step(ComputationGraph& graph, const Expression& loss, dynet::Trainer& trainer) const {
    const float value = dynet::as_scalar(graph.forward(loss));
    graph.backward(loss);
    trainer.update();  // also resets the gradients
    return value;
  }

  float step(dynet::Trainer& trainer) const {
    ComputationGraph graph;
    return step(graph, loss(graph), trainer);
  }

  dynet::ParameterCollection& model() { return model_; }

 private:
  // fovea's matrices are row-major, DyNet's column-major.
  dynet::Parameter parameter(const std::string& name, std::size_t rows, std::size_t cols) {
    const auto values = workloads::uniform(name, rows * cols, bound);
    std::vector<float> transposed(values.size());
    for (std::size_t r = 0; r < rows; ++r)
      for (std::size_t c = 0; c < cols; ++c) transposed[c * rows + r] = values[r * cols + c];
    const auto m = static_cast<unsigned>(rows), n = static_cast<unsigned>(cols);
    dynet::Parameter p = model_.add_parameters(cols == 1 ? dynet::Dim({m}) : dynet::Dim({m, n}));
    p.set_value(transposed);
    return p;
  }

  dynet::ParameterCollection model_;
  dynet::Parameter w1_, b1_, w2_, b2_;
  std::vector<float> x_{std::begin(examples), std::end(examples)};
  std::vector<float> y_{std::begin(answers), std::end(answers)};
};

template <class Trainer>
void time_training(peers::Stopwatch& stopwatch, const std::string& name, double learning_rate,
                   bool keep_graph) {
  Problem problem;
  Trainer trainer(problem.model(), static_cast<float>(learning_rate));
  trainer.clipping_enabled = false;
  float loss = 0;
  for (int i = 0; i < checked_steps; ++i) loss = problem.step(trainer);
  const peers::Checks checks{{"loss", loss}};
  if (keep_graph) {
    ComputationGraph graph;
    const Expression kept = problem.loss(graph);
    stopwatch.time(name, checks, [&] { problem.step(graph, kept, trainer); });
  } else {
    stopwatch.time(name, checks, [&] { problem.step(trainer); });
  }
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  const bool keep_graph = std::find(argv, argv + argc, std::string("--keep-graph")) != argv + argc;
  dynet::DynetParams params;
  dynet::initialize(params);
  time_training<dynet::SimpleSGDTrainer>(stopwatch, "xor/sgd", sgd_learning_rate, keep_graph);
  time_training<dynet::AdamTrainer>(stopwatch, "xor/adam", adam_learning_rate, keep_graph);
}
