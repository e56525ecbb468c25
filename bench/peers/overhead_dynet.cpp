// DyNet peer of overhead_bench: a chain of small ops on 1 and on 64 elements. The graph is rebuilt
// in each step, as in DyNet's own training loops; DyNet cannot run without a graph.
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <string>
#include <vector>

#include <dynet/dynet.h>
#include <dynet/expr.h>

namespace {

using dynet::ComputationGraph;
using dynet::Expression;
namespace chain = workloads::chain;

class Chain {
 public:
  explicit Chain(std::size_t size)
      : dim_({static_cast<unsigned>(size)}),
        c_(size, chain::factor),
        x_(model_.add_parameters(dim_)) {
    x_.set_value(workloads::uniform("chain", size, 1));
  }

  Expression run(ComputationGraph& graph) {
    Expression y = dynet::parameter(graph, x_);
    const Expression c = dynet::input(graph, dim_, &c_);
    for (int i = 0; i < chain::ops / 4; ++i) {
      y = dynet::cmult(y, c);
      y = y + c;
      y = dynet::tanh(y);
      y = dynet::cmult(y, y);
    }
    return y;
  }

  void forward() {
    ComputationGraph graph;
    graph.forward(run(graph));
  }

  float forward_backward() {
    model_.reset_gradient();
    ComputationGraph graph;
    const Expression result = dynet::sum_elems(run(graph));
    const float value = dynet::as_scalar(graph.forward(result));
    graph.backward(result);
    return value;
  }

 private:
  dynet::Dim dim_;
  std::vector<float> c_;
  dynet::ParameterCollection model_;
  dynet::Parameter x_;
};

void time_chain(peers::Stopwatch& stopwatch, std::size_t size) {
  const std::string name = "chain/" + std::to_string(size);
  Chain chain(size);
  const peers::Checks checks{{"result", chain.forward_backward()}};
  stopwatch.time(name + "/forward", checks, [&] { chain.forward(); });
  stopwatch.time(name + "/forward_backward", checks, [&] { chain.forward_backward(); });
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  dynet::DynetParams params;
  dynet::initialize(params);
  for (const std::size_t size : {1, 64}) time_chain(stopwatch, size);
}
