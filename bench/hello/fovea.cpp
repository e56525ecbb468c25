// A small program: two layers trained on XOR, and attention. Its peer is libtorch.cpp;
// bench/startup measures the time to build and to start both.
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/linear.h>
#include <fovea/optim/sgd.h>

#include <iostream>

using namespace fovea;

class Net : public nn::Module {
 public:
  explicit Net(Rng& rng) : first({2, 8}, rng), second({8, 1}, rng) {}
  Tensor operator()(const Tensor& x) const { return second(tanh(first(x))); }
  void visit(nn::Visitor& v) override {
    v("first", first);
    v("second", second);
  }
  nn::Linear first, second;
};

class Attention : public nn::Module {
 public:
  Attention(std::int64_t width, Rng& rng)
      : query({width, width}, rng), key({width, width}, rng), value({width, width}, rng) {}
  Tensor operator()(const Tensor& x) const {
    const auto head = [](const Tensor& h) { return unsqueeze(h, 1); };  // (B, 1, T, C)
    return squeeze(scaled_dot_product_attention(head(query(x)), head(key(x)), head(value(x))), 1);
  }
  void visit(nn::Visitor& v) override {
    v("query", query);
    v("key", key);
    v("value", value);
  }
  nn::Linear query, key, value;
};

int main() {
  Rng rng(0);
  Net net(rng);
  const Attention attend(16, rng);
  const Tensor x = tensor({{0, 0}, {0, 1}, {1, 0}, {1, 1}});
  const Tensor y = reshape(tensor({0, 1, 1, 0}), {4, 1});
  optim::SGD sgd(net.parameters(), {.lr = 0.1});
  double last = 0;
  for (int i = 0; i < 10; ++i) {
    sgd.zero_grad();
    const Tensor loss = mse_loss(net(x), y);
    loss.backward();
    sgd.step();
    last = loss.item<double>();
  }
  const Tensor seen = attend(randn({2, 5, 16}, rng));
  sum(seen).backward();
  std::cout << last << " " << seen.shape().str() << "\n";
}
