// libtorch peer of overhead_bench: a chain of small ops on 1 and on 64 elements.
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <torch/torch.h>

namespace {

using torch::Tensor;
namespace chain = workloads::chain;

Tensor run_chain(const Tensor& x, const Tensor& c) {
  Tensor y = x;
  for (int i = 0; i < chain::ops / 4; ++i) {
    y = y * c;
    y = y + c;
    y = torch::tanh(y);
    y = y * y;
  }
  return y;
}

void time_chain(peers::Stopwatch& stopwatch, std::int64_t size) {
  const std::string name = "chain/" + std::to_string(size);
  const auto start = workloads::uniform("chain", static_cast<std::size_t>(size), 1);
  Tensor x = torch::tensor(start).set_requires_grad(true);
  const Tensor c = torch::full({size}, chain::factor);

  const peers::Checks checks{{"result", run_chain(x, c).sum().item<double>()}};

  stopwatch.time(name + "/no_grad_forward", checks, [&] {
    const torch::NoGradGuard no_grad;
    run_chain(x, c);
  });
  stopwatch.time(name + "/forward", checks, [&] { run_chain(x, c); });
  stopwatch.time(name + "/forward_backward", checks, [&] {
    x.mutable_grad() = Tensor();
    run_chain(x, c).sum().backward();
  });
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  for (const std::int64_t size : {1, 64}) time_chain(stopwatch, size);
}
