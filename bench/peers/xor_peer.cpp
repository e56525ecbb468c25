// libtorch peer of xor_bench: a training step of a minimal net.
#include <fovea/bench/peers/fill.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <torch/torch.h>

namespace {

namespace nn = torch::nn;
using namespace workloads::xor_step;

struct Problem {
  nn::Sequential net{nn::Linear(inputs, hidden), nn::Tanh(), nn::Linear(hidden, 1)};
  torch::Tensor x = torch::tensor(at::ArrayRef<float>(examples)).view({batch, inputs});
  torch::Tensor y = torch::tensor(at::ArrayRef<float>(answers)).view({batch, 1});

  Problem() {
    peers::fill_parameters(*net, [](const std::string&) { return bound; });
  }

  torch::Tensor step(torch::optim::Optimizer& optimizer) {
    optimizer.zero_grad();
    torch::Tensor loss = torch::mse_loss(net->forward(x), y);
    loss.backward();
    optimizer.step();
    return loss;
  }
};

template <class Optimizer, class Options>
void time_training(peers::Stopwatch& stopwatch, const std::string& name, const Options& options) {
  Problem problem;
  Optimizer optimizer(problem.net->parameters(), options);
  torch::Tensor loss;
  for (int i = 0; i < checked_steps; ++i) loss = problem.step(optimizer);
  stopwatch.time(name, {{"loss", loss.item<double>()}}, [&] { problem.step(optimizer); });
}

}  // namespace

int main(int argc, char** argv) {
  namespace optim = torch::optim;
  peers::Stopwatch stopwatch(argc, argv);
  time_training<optim::SGD>(stopwatch, "xor/sgd", optim::SGDOptions(sgd_learning_rate));
  time_training<optim::Adam>(stopwatch, "xor/adam", optim::AdamOptions(adam_learning_rate));
}
