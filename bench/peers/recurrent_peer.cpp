// libtorch peer of recurrent_bench: nn::LSTM, nn::GRU and nn::RNN, forward and backward. Different
// lengths run in both ways of PyTorch: as a packed sequence, and padded to the longest.
#include <fovea/bench/peers/fill.h>
#include <fovea/bench/peers/sgemm.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <string>
#include <vector>

#include <torch/torch.h>

namespace {

namespace nn = torch::nn;
using torch::Tensor;
using namespace workloads::recurrent;

// Packed sequences (rows, C)  ->  (B, T, C), padded with zeros
Tensor padded(const Tensor& packed, const Case& c) {
  const std::vector<Tensor> parts = packed.split_with_sizes(lengths(c), 0);
  return nn::utils::rnn::pad_sequence(parts, true);
}

Tensor numbers(const char* name, std::int64_t columns, float its_bound, const Case& c) {
  const auto count = static_cast<std::size_t>(rows(c) * columns);
  return padded(torch::tensor(workloads::uniform(name, count, its_bound)).view({-1, columns}), c);
}

template <class Net, class Options>
class Pass {
 public:
  explicit Pass(const Case& c)
      : net_(Options(c.I, c.H).batch_first(true)),
        lengths_(torch::tensor(lengths(c))),
        x_(numbers("x", c.I, x_bound, c).requires_grad_()),
        dy_(numbers("dy", c.H, dy_bound, c)),
        packed_dy_(packed(dy_).data()),
        inputs_{x_} {
    peers::fill_parameters(*net_, [](const std::string&) { return bound; });
    for (const auto& entry : net_->named_parameters()) {
      names_.push_back("result_d" + entry.key());
      inputs_.push_back(entry.value());
    }
  }

  /// The gradients of the input and of every weight, and the states.
  std::vector<Tensor> run_padded() {
    return with_gradients(std::get<0>(net_->forward(x_)), dy_);  // (B, T, H)
  }
  /// Packs the padded input, as users do; the states stay packed, as in fovea.
  std::vector<Tensor> run_packed() {
    return with_gradients(std::get<0>(net_->forward_with_packed_input(packed(x_))).data(),
                          packed_dy_);  // (rows, H)
  }

  peers::Checks checks(const std::vector<Tensor>& found) const {
    const auto norm = [](const Tensor& x) { return x.to(torch::kDouble).norm().item<double>(); };
    peers::Checks all{{"result_dx", norm(found[0])}};
    for (std::size_t i = 0; i < names_.size(); ++i) all[names_[i]] = norm(found[i + 1]);
    const Tensor& states = found.back();
    all["result_y"] = norm(states.dim() == 3 ? packed(states).data() : states);
    return all;
  }

 private:
  nn::utils::rnn::PackedSequence packed(const Tensor& x) const {
    return nn::utils::rnn::pack_padded_sequence(x, lengths_, true, false);
  }
  std::vector<Tensor> with_gradients(const Tensor& states, const Tensor& dy) const {
    std::vector<Tensor> all = torch::autograd::grad({states}, inputs_, {dy});
    all.push_back(states.detach());
    return all;
  }

  Net net_;
  Tensor lengths_, x_, dy_, packed_dy_;
  std::vector<Tensor> inputs_;
  std::vector<std::string> names_;
};

template <class Net, class Options>
void time_net(peers::Stopwatch& stopwatch, const workloads::recurrent::Net& net) {
  for (const Case& c : cases) {
    const auto time = [&](const std::string& name, auto run) {
      if (!stopwatch.wants(name)) return;
      Pass<Net, Options> pass(c);
      peers::Checks checks = pass.checks(run(pass));
      checks["extra_peak_MB"] = peers::peak_megabytes([&] { run(pass); });
      stopwatch.time(name, checks, [&] { run(pass); });
    };
    const auto padded = [](auto& pass) { return pass.run_padded(); };
    const auto packed = [](auto& pass) { return pass.run_packed(); };
    time(name_of(net, c) + (c.ragged ? "_padded" : ""), padded);
    if (c.ragged) time(name_of(net, c) + "_packed", packed);
  }
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  time_net<nn::LSTM, nn::LSTMOptions>(stopwatch, lstm);
  time_net<nn::GRU, nn::GRUOptions>(stopwatch, gru);
  time_net<nn::RNN, nn::RNNOptions>(stopwatch, rnn);
  peers::time_sgemm(stopwatch);
}
