// The libtorch peer of fovea.cpp.
#include <iostream>

#include <torch/torch.h>

namespace nn = torch::nn;
using torch::Tensor;

struct Net : nn::Module {
  Net() {
    register_module("first", first);
    register_module("second", second);
  }
  Tensor forward(const Tensor& x) { return second(torch::tanh(first(x))); }
  nn::Linear first{2, 8}, second{8, 1};
};

struct Attention : nn::Module {
  explicit Attention(int width) : query(width, width), key(width, width), value(width, width) {
    register_module("query", query);
    register_module("key", key);
    register_module("value", value);
  }
  Tensor forward(const Tensor& x) {
    const Tensor scores =
        torch::matmul(query(x), key(x).transpose(-2, -1)) / std::sqrt(1.0 * x.size(-1));
    return torch::matmul(torch::softmax(scores, -1), value(x));
  }
  nn::Linear query, key, value;
};

int main() {
  torch::manual_seed(0);
  Net net;
  Attention attend(16);
  const Tensor x = torch::tensor({{0.f, 0.f}, {0.f, 1.f}, {1.f, 0.f}, {1.f, 1.f}});
  const Tensor y = torch::tensor({{0.f}, {1.f}, {1.f}, {0.f}});
  torch::optim::SGD sgd(net.parameters(), 0.1);
  double last = 0;
  for (int i = 0; i < 10; ++i) {
    sgd.zero_grad();
    const Tensor loss = torch::mse_loss(net.forward(x), y);
    loss.backward();
    sgd.step();
    last = loss.item<double>();
  }
  const Tensor seen = attend.forward(torch::randn({2, 5, 16}));
  seen.sum().backward();
  std::cout << last << " " << seen.sizes() << "\n";
}
