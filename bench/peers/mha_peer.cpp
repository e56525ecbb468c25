// libtorch peer of mha_bench: multi-head self-attention in the fastest way of libtorch's C++ API,
// with one product for queries, keys and values and scaled_dot_product_attention (the C++
// MultiheadAttention always computes the score matrix). With weights, the matrix is computed.
#include <fovea/bench/peers/attention.h>
#include <fovea/bench/peers/fill.h>
#include <fovea/bench/peers/sgemm.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <cmath>
#include <string>
#include <vector>

#include <torch/torch.h>

namespace {

using torch::Tensor;
using namespace workloads::mha;
constexpr std::int64_t D = C / H;

Tensor numbers(const char* name, std::int64_t T, float its_bound) {
  const auto count = static_cast<std::size_t>(B * T * C);
  return torch::tensor(workloads::uniform(name, count, its_bound)).view({B, T, C});
}

struct LayerImpl : torch::nn::Module {
  Tensor in_proj_weight = register_parameter("in_proj_weight", torch::empty({3 * C, C}));
  Tensor in_proj_bias = register_parameter("in_proj_bias", torch::empty({3 * C}));
  torch::nn::Linear out_proj{C, C};

  LayerImpl() { register_module("out_proj", out_proj); }

  /// x: (B, T, C)  ->  the output and, if enabled, the mean weights over the heads (B, T, T)
  std::vector<Tensor> forward(const Tensor& x, bool want_weights) {
    const std::int64_t T = x.size(1);
    std::vector<Tensor> heads = torch::linear(x, in_proj_weight, in_proj_bias).split(C, 2);
    for (Tensor& h : heads) h = h.view({B, T, H, D}).transpose(1, 2);  // (B, H, T, D)
    const auto merged = [&](const Tensor& y) {
      return out_proj(y.transpose(1, 2).reshape({B, T, C}));
    };
    if (!want_weights) return {merged(peers::attention(heads[0], heads[1], heads[2]))};
    const Tensor scores =
        torch::matmul(heads[0] * (1 / std::sqrt(1.0 * D)), heads[1].transpose(2, 3));
    const Tensor weights = torch::softmax(scores, -1);  // (B, H, T, T)
    return {merged(torch::matmul(weights, heads[2])), weights.detach().mean(1)};
  }
};
TORCH_MODULE(Layer);

void time_layer(peers::Stopwatch& stopwatch, std::int64_t T, bool want_weights) {
  const std::string name = name_of(want_weights, T);
  if (!stopwatch.wants(name)) return;
  Layer layer;
  peers::fill_parameters(*layer, [](const std::string&) { return bound; });
  std::vector<Tensor> inputs{numbers("x", T, x_bound).requires_grad_()};
  std::vector<std::string> names{"result_dx"};
  for (const auto& entry : layer->named_parameters()) {
    inputs.push_back(entry.value());
    names.push_back("result_d" + entry.key());
  }
  const Tensor dy = numbers("dy", T, dy_bound);
  const auto step = [&] {
    std::vector<Tensor> found = layer(inputs[0], want_weights);
    std::vector<Tensor> all = torch::autograd::grad({found[0]}, inputs, {dy});
    all.insert(all.end(), found.begin(), found.end());
    return all;
  };
  names.insert(names.end(), {"result_y", "result_weights"});
  peers::Checks checks;
  const std::vector<Tensor> found = step();
  for (std::size_t i = 0; i < found.size(); ++i) checks[names[i]] = peers::norm(found[i]);
  checks["extra_peak_MB"] = peers::peak_megabytes([&] { step(); });
  stopwatch.time(name, checks, [&] { step(); });
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  for (const bool want_weights : {false, true})
    for (const std::int64_t T : lengths) time_layer(stopwatch, T, want_weights);
  peers::time_sgemm(stopwatch);
}
