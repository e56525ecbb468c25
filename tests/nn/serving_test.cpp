// Several threads use one model at once, while another thread probes it.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/threads.h>
#include <fovea/nn/inspect/probe.h>
#include <fovea/nn/transformer_lm.h>
#include <fovea/tests/support/compare.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;

namespace {

constexpr std::int64_t layers = 2;

TransformerLM make_model() {
  static Rng rng(1);  // outlives the models; nothing is drawn in eval()
  TransformerLM model({.vocab = 11, .d_model = 16, .nhead = 2, .num_layers = layers, .max_len = 32},
                      rng);
  model.name_tree("lm");
  model.eval();
  return model;
}

Tensor tokens(std::uint64_t seed) {
  Rng rng(seed);
  std::vector<std::int64_t> ids(2 * 6);
  for (std::int64_t& id : ids) id = rng.below(11);
  return from_data(ids, {2, 6});
}

// Calls the model until `stop`; counts the results that differ from the first.
struct Server {
  const TransformerLM& model;
  const std::atomic<bool>& stop;
  Tensor input, expected;
  std::atomic<int> calls{0}, wrong{0};

  Server(const TransformerLM& m, const std::atomic<bool>& s, std::uint64_t seed)
      : model(m), stop(s), input(tokens(seed)) {
    const NoGrad guard;
    expected = model(input);
  }
  void run() {
    const NoGrad guard;
    while (!stop || calls < 3) {
      wrong += max_difference(model(input), expected) != 0;
      ++calls;
    }
  }
};

// Four threads serve while probe(model) runs on a fifth.
template <class F>
void serve_and(TransformerLM& model, const F& probe) {
  std::atomic<bool> stop{false};
  std::vector<std::unique_ptr<Server>> servers;
  for (std::uint64_t i = 0; i < 4; ++i)
    servers.push_back(std::make_unique<Server>(model, stop, 10 + i));
  std::vector<std::thread> threads;
  for (auto& server : servers) threads.emplace_back([&server] { server->run(); });
  std::thread([&] { probe(); }).join();
  stop = true;
  for (std::thread& thread : threads) thread.join();
  for (const auto& server : servers) {
    CHECK(server->calls >= 3);
    CHECK(server->wrong == 0);
  }
}

}  // namespace

TEST_CASE("four threads serve a model while a fifth probes it") {
  set_num_threads(2);
  TransformerLM model = make_model();
  const Tensor input = tokens(1);
  std::atomic<int> wrong{0};
  serve_and(model, [&] {
    const NoGrad guard;
    const Tensor expected = model(input);
    for (int i = 0; i < 50; ++i) {
      inspect::AttentionProbe probe(model, "**", {.matrix = true, .entropy = true});
      wrong += max_difference(model(input), expected) != 0;
      wrong += probe.layers().size() != layers;
      for (const inspect::ProbedLayer& layer : probe.layers()) {
        wrong += layer.calls.size() != 1;  // its own call, and none of the others
        wrong += max_difference(sum(layer.calls.at(0).matrix, -1), ones({2, 2, 6})) > 1e-5;
      }
    }
  });
  CHECK(wrong == 0);
}

TEST_CASE("two threads probe the same layer, each its own calls; others train separate graphs") {
  TransformerLM model = make_model();
  std::atomic<int> wrong{0};
  serve_and(model, [&] {
    const auto watch = [&](std::int64_t calls) {
      const NoGrad guard;
      inspect::AttentionProbe probe(model);
      for (std::int64_t i = 0; i < calls; ++i) model(tokens(3));
      for (const inspect::ProbedLayer& layer : probe.layers())
        wrong += static_cast<std::int64_t>(layer.calls.size()) != calls;
    };
    std::thread one(watch, 20), other(watch, 30);
    Rng rng(3);
    Tensor w = randn({8, 8}, rng);
    w.set_requires_grad();
    for (int i = 0; i < 50; ++i) {
      w.zero_grad();
      sum(w * w).backward();
    }
    one.join();
    other.join();
  });
  CHECK(wrong == 0);
}

TEST_CASE("a probe destroyed on another thread, and one that outlives its model") {
  auto model = std::make_unique<TransformerLM>(make_model());
  auto probe = std::make_unique<inspect::AttentionProbe>(*model);
  const NoGrad guard;
  (*model)(tokens(1));
  CHECK(probe->layers()[0].calls.size() == 1);
  std::thread([&] { (*model)(tokens(1)); }).join();
  CHECK(probe->layers()[0].calls.size() == 1);
  std::thread([&] { probe.reset(); }).join();
  (*model)(tokens(1));  // no observer is left

  inspect::AttentionProbe last(*model);
  model.reset();
  CHECK(last.layers()[0].calls.empty());
}
