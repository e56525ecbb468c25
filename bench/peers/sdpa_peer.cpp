// libtorch peer of sdpa_bench.
#include <fovea/bench/peers/attention.h>
#include <fovea/bench/peers/sgemm.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <string>
#include <vector>

#include <torch/torch.h>

namespace {

using torch::Tensor;
using namespace workloads::sdpa;

Tensor input(const char* name, std::int64_t T, float its_bound) {
  const auto count = static_cast<std::size_t>(B * H * T * D);
  return torch::tensor(workloads::uniform(name, count, its_bound)).view({B, H, T, D});
}

// True for attended keys: (T, T)
Tensor window_mask(std::int64_t T) {
  const Tensor kept = torch::ones({T, T}, torch::kBool);
  return kept.tril().logical_and(kept.triu(1 - window));
}

// True for attended keys: (B, 1, 1, T)
Tensor length_mask(std::int64_t T) {
  return torch::arange(T)
      .unsqueeze(0)
      .lt(torch::tensor(key_lengths(T)).unsqueeze(1))
      .view({B, 1, 1, T});
}

void time_attention(peers::Stopwatch& stopwatch, const Case& c) {
  const std::string kind = c.kind, name = "sdpa/" + kind + "/" + std::to_string(c.T);
  if (!stopwatch.wants(name)) return;
  const Tensor q = input("q", c.T, bound).requires_grad_();
  const Tensor k = input("k", c.T, bound).requires_grad_();
  const Tensor v = input("v", c.T, bound).requires_grad_(), dy = input("dy", c.T, dy_bound);
  c10::optional<Tensor> mask;
  if (kind == "window") mask = window_mask(c.T);
  if (kind == "ragged") mask = length_mask(c.T);

  const auto step = [&](double p) -> std::vector<Tensor> {
    const Tensor y = peers::attention(q, k, v, mask, p, kind == "causal");
    std::vector<Tensor> all = torch::autograd::grad({y}, {q, k, v}, {dy});
    all.push_back(y.detach());
    return all;
  };
  peers::Checks checks;
  const char* const names[] = {"result_dq", "result_dk", "result_dv", "result_y"};
  const std::vector<Tensor> checked = step(0);
  for (std::size_t i = 0; i < checked.size(); ++i)
    checks[names[i]] = checked[i].to(torch::kDouble).norm().item<double>();
  const double p = kind == "dropout" ? workloads::sdpa::dropout : 0;
  checks["extra_peak_MB"] = peers::peak_megabytes([&] { step(p); });
  stopwatch.time(name, checks, [&] { step(p); });
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  for (const Case& c : cases) time_attention(stopwatch, c);
  peers::time_sgemm(stopwatch);
}
