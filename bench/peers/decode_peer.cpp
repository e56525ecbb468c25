// libtorch peer of decode_bench: greedy decoding of one text with a cache with in-place updates.
#include <fovea/bench/peers/gpt.h>
#include <fovea/bench/peers/sgemm.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <vector>

#include <torch/torch.h>

namespace {

using torch::Tensor;
using namespace workloads::gpt;

std::vector<std::int64_t> generated(peers::gpt::Model& model) {
  const c10::InferenceMode without_gradients;
  std::vector<peers::gpt::Cache> caches;
  for (std::int64_t i = 0; i < layers; ++i)
    caches.push_back({torch::empty({H, new_tokens, peers::gpt::D}),
                      torch::empty({H, new_tokens, peers::gpt::D})});
  std::vector<std::int64_t> tokens;
  Tensor token = torch::zeros({1}, torch::kLong);
  while (static_cast<std::int64_t>(tokens.size()) < new_tokens) {
    token = model->step(token, caches).argmax(-1);
    tokens.push_back(token.item<std::int64_t>());
  }
  return tokens;
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  peers::gpt::Model model(new_tokens);
  model->eval();
  const std::vector<std::int64_t> tokens = generated(model);
  peers::Checks checks{{"result_tokens", digest(tokens)},
                       {"result_count", static_cast<double>(tokens.size())}};
  {
    const torch::NoGradGuard no_grad;  // logits of the same text in one forward pass
    checks["result_logits"] =
        model(torch::tensor(tokens).unsqueeze(0)).to(torch::kDouble).norm().item<double>();
  }
  checks["extra_peak_MB"] = peers::peak_megabytes([&] { generated(model); });
  stopwatch.time(decode_name, checks, [&] { generated(model); });
  peers::time_sgemm(stopwatch);
}
