// libtorch peer of gpt_step_bench: a training step of a small language model, AdamW.
#include <fovea/bench/peers/fill.h>
#include <fovea/bench/peers/gpt.h>
#include <fovea/bench/peers/sgemm.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <string>

#include <torch/torch.h>

namespace {

using torch::Tensor;
using namespace workloads::gpt;

Tensor token_matrix(const std::string& name, const Case& c) {
  return torch::tensor(workloads::words(name, static_cast<std::size_t>(c.B * c.T), V))
      .view({c.B, c.T});
}

void time_training(peers::Stopwatch& stopwatch, const Case& c) {
  if (!stopwatch.wants(name_of(c))) return;
  peers::gpt::Model model(c.T);
  torch::optim::AdamW adam(model->parameters(),
                           torch::optim::AdamWOptions(learning_rate).weight_decay(weight_decay));
  const Tensor inputs = token_matrix("input_tokens", c);
  const Tensor next = token_matrix("next_tokens", c).view(-1);
  const auto step = [&] {
    adam.zero_grad();
    const Tensor loss = torch::nn::functional::cross_entropy(model(inputs).view({-1, V}), next);
    loss.backward();
    adam.step();
    return loss.item<double>();
  };
  peers::Checks checks;
  for (int i = 1; i <= checked_steps; ++i) {
    checks["loss_" + std::to_string(i)] = step();
    if (i == 1) checks["result_gradient"] = peers::gradient_norm(*model);
  }
  checks["extra_peak_MB"] = peers::peak_megabytes(step);
  stopwatch.time(name_of(c), checks, step);
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  for (const Case& c : cases) time_training(stopwatch, c);
  peers::time_sgemm(stopwatch);
}
