#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/nn/inspect/unrolled.h>

#include <functional>
#include <map>

namespace fovea::nn::inspect {
namespace {

using Ids = std::vector<std::int64_t>;

Tensor select_rows(const Tensor& x, const Ids& rows) {
  return index_select(x, 0, from_data(rows, {static_cast<std::int64_t>(rows.size())}));
}

// A net's parameters by name, and the dropout between its layers.
class Parts final : public Visitor {
 public:
  explicit Parts(Module& net) { net.visit(*this); }
  void parameter(std::string_view name, Tensor& value) override {
    parameters_.emplace(std::string(name), value);
  }
  void child(std::string_view, Module& module) override {
    if (const auto* found = dynamic_cast<const Dropout*>(&module)) dropout = found;
  }
  Tensor find(const std::string& name) const {  // undefined where the net has no such parameter
    const auto at = parameters_.find(name);
    return at == parameters_.end() ? Tensor() : at->second;
  }

  const Dropout* dropout = nullptr;

 private:
  std::map<std::string, Tensor> parameters_;
};

struct State {
  Tensor h, c;  // (B, H); undefined for zeros
};

// What a step adds to a state. Sequences of length 0 in `running` keep theirs.
struct StepInputs {
  Tensor gates, weight, bias;  // (sequences that run, G H), W_hh, b_hh
};
using Step =
    std::function<State(const StepInputs& in, const State& before, const RaggedIndex& running)>;

State gru_step(const StepInputs& in, const State& before, const RaggedIndex& running) {
  return {gru({in.gates, in.weight, in.bias, before.h}, running).last, {}};
}

State lstm_step(const StepInputs& in, const State& before, const RaggedIndex& running) {
  const LstmOutput out = lstm({in.gates, in.weight, in.bias, before.h, before.c}, running);
  return {out.last, out.last_cell};
}

// Which sequences have a step s, and which rows of the packed batch it reads.
struct Running {
  Ids sequences, rows, lengths;  // lengths: (B), 1 or 0
};

Running running_at(std::int64_t s, const RaggedIndex& index, bool reverse) {
  Running running;
  for (std::int64_t b = 0; b < index.batch_size(); ++b) {
    const bool runs = s < index.length(b);
    running.lengths.push_back(runs ? 1 : 0);
    if (!runs) continue;
    running.sequences.push_back(b);
    running.rows.push_back(reverse ? index.offset(b + 1) - 1 - s : index.offset(b) + s);
  }
  return running;
}

// The layer's output, each row from the step that made it: (N, H).
Tensor packed(const UnrolledStates& states, std::int64_t H, DType dtype) {
  const RaggedIndex& index = states.index;
  if (index.total() == 0) return empty({0, H}, dtype);
  std::vector<Tensor> parts;
  Ids place(static_cast<std::size_t>(index.total()));  // where a packed row is among the parts'
  std::int64_t count = 0;
  for (std::size_t s = 0; s < states.steps.size(); ++s) {
    const Running running = running_at(static_cast<std::int64_t>(s), index, states.reverse);
    parts.push_back(select_rows(states.steps[s], running.sequences));
    for (const std::int64_t row : running.rows) place[static_cast<std::size_t>(row)] = count++;
  }
  return select_rows(concat(parts, 0), place);
}

// One direction of one layer.    seen: (N, I) or (N, D H)
UnrolledLayer run_layer(const Parts& net, const std::string& name, const Ragged& seen, bool reverse,
                        const Step& step) {
  const Tensor gates =
      linear(seen.values, net.find("weight_ih_" + name), net.find("bias_ih_" + name));  // (N, G H)
  const Tensor weight = net.find("weight_hh_" + name), bias = net.find("bias_hh_" + name);
  UnrolledLayer layer{name, {{}, seen.index, reverse}, {{}, seen.index, reverse}};
  State state;
  for (std::int64_t s = 0; s < seen.index.max_length(); ++s) {
    const Running running = running_at(s, seen.index, reverse);
    state = step({select_rows(gates, running.rows), weight, bias}, state,
                 RaggedIndex(running.lengths));  // (B, H)
    layer.states.steps.push_back(state.h);
    if (state.c.defined()) layer.cells.steps.push_back(state.c);
  }
  return layer;
}

Unrolled unroll_layers(RecurrentLayers& net, const Ragged& x, const Step& step) {
  const Parts parts(net);
  const RecurrentOptions& options = net.options();
  const std::int64_t B = x.index.batch_size(), H = options.hidden_size;
  const DType dtype = x.values.dtype();
  Unrolled out{x, {}, {}, {}};
  std::vector<Tensor> last, last_cell;
  for (std::int64_t l = 0; l < options.num_layers; ++l) {
    if (l > 0) out.states.values = (*parts.dropout)(out.states.values);
    std::vector<Tensor> sides;
    for (const bool reverse : {false, true}) {
      if (reverse && !options.bidirectional) continue;
      const std::string name = "l" + std::to_string(l) + (reverse ? "_reverse" : "");
      const UnrolledLayer& layer =
          out.layers.emplace_back(run_layer(parts, name, out.states, reverse, step));
      const std::vector<Tensor>&h = layer.states.steps, &c = layer.cells.steps;
      sides.push_back(packed(layer.states, H, dtype));  // (N, H)
      last.push_back(h.empty() ? zeros({B, H}, dtype) : h.back());
      if (!c.empty()) last_cell.push_back(c.back());
    }
    out.states.values = sides.size() == 1 ? sides[0] : concat(sides, 1);  // (N, D H)
  }
  out.last = stack(last, 0);
  if (!last_cell.empty()) out.last_cell = stack(last_cell, 0);
  return out;
}

}  // namespace

Unrolled unroll(GRU& net, const Ragged& x) { return unroll_layers(net, x, gru_step); }

Unrolled unroll(LSTM& net, const Ragged& x) {
  Unrolled out = unroll_layers(net, x, lstm_step);
  if (!out.last_cell.defined()) out.last_cell = zeros(out.last.shape(), out.last.dtype());
  return out;
}

}  // namespace fovea::nn::inspect
