// Recurrent nets and cells against PyTorch's, values and gradients of everything, in f32 and f64;
// what torch.nn does not have against plain PyTorch. The cases: tests/golden/recurrent_cases.py.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/nn/recurrent.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/golden.h>

#include <string>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::check_close;
using test::GoldenCase;

namespace {

// The first rows, columns, ... of what all cases share.
Tensor corner(const GoldenCase& golden, const std::string& name, const Shape& shape) {
  Tensor x = golden.file.tensor("shared/" + name);
  REQUIRE(x.rank() == shape.rank());
  for (int axis = 0; axis < shape.rank(); ++axis) x = narrow(x, axis, 0, shape[axis]);
  return x;
}

bool given(const GoldenCase& golden, const std::string& what) {
  const auto names = golden.options.value("given", std::vector<std::string>());
  return std::find(names.begin(), names.end(), what) != names.end();
}

// DEFAULTS of recurrent_cases.py.
RecurrentOptions options_of(const GoldenCase& golden) {
  const auto& o = golden.options;
  return {.input_size = o.value("input_size", 3),
          .hidden_size = o.value("hidden_size", 2),
          .num_layers = o.value("num_layers", 1),
          .bias = o.value("bias", true),
          .bidirectional = o.value("bidirectional", false),
          .nonlinearity =
              o.value("nonlinearity", "tanh") == "relu" ? Nonlinearity::relu : Nonlinearity::tanh,
          .proj_size = o.value("proj_size", 0),
          .coupled_gates = o.value("coupled_gates", false),
          .layer_norm = o.value("layer_norm", false),
          .zoneout = o.value("zoneout", 0.0),
          .cell_zoneout = o.value("cell_zoneout", 0.0)};
}

struct Inputs {
  Tensor x, h0, c0;  // (B, T, I), (L D, B, P), (L D, B, H)
};

Inputs inputs_of(const GoldenCase& golden, const RecurrentOptions& o, bool lstm, DType dtype) {
  const auto leaf = [&](const std::string& name, const Shape& shape) {
    return corner(golden, name, shape).to(dtype).clone().set_requires_grad();
  };
  const std::int64_t B = golden.options.value("batch", 3), T = golden.options.value("steps", 4),
                     LD = o.num_layers * (o.bidirectional ? 2 : 1), H = o.hidden_size;
  Inputs in{leaf("x", {B, T, o.input_size}), {}, {}};
  if (!golden.options.value("state", true)) return in;
  in.h0 = leaf("h0", {LD, B, o.proj_size > 0 ? o.proj_size : H});
  if (lstm) in.c0 = leaf("c0", {LD, B, H});
  return in;
}

void take_corners(const GoldenCase& golden, Module& module, const std::string& suffix,
                  DType dtype) {
  for (auto [name, value] : module.parameters())
    value.copy_from(corner(golden, name + suffix, value.shape()));
  test::cast(module, dtype);
}

// All of `found`, concatenated, against the flat tensor of the case: in f32 together, since a
// tensor of one or two values may be small by cancellation; in f64 each alone, where only the
// rounding of the file to f32 differs, by at most one unit in the last place.
void check_flat(const GoldenCase& golden, const std::string& key, const NamedTensors& found,
                double depth) {
  const Tensor expected = golden[key];
  std::vector<Tensor> flat;
  for (const auto& [name, x] : found) flat.push_back(reshape(x.to(DType::f32), {x.numel()}));
  if (found[0].second.dtype() == DType::f32)
    return check_close(concat(flat, 0), expected, key, depth);
  REQUIRE(concat(flat, 0).numel() == expected.numel());
  std::int64_t at = 0;
  for (std::size_t i = 0; i < found.size(); ++i) {
    const std::int64_t n = flat[i].numel();
    check_close(flat[i], narrow(expected, 0, at, n), "f64 " + key + " " + found[i].first, 0.0125);
    at += n;
  }
}

// depth: see check_close().
void check_case(const GoldenCase& golden, const std::vector<Tensor>& outputs, const Inputs& in,
                Module& module, double depth) {
  NamedTensors values, leaves;
  std::vector<Tensor> seeds, wanted;
  for (const Tensor& y : outputs) {
    if (!y.defined()) continue;
    seeds.push_back(corner(golden, "dy" + std::to_string(values.size()), y.shape()).to(y.dtype()));
    values.emplace_back("y" + std::to_string(values.size()), y);
  }
  for (const auto& [name, x] : {std::pair{"x", in.x}, {"h0", in.h0}, {"c0", in.c0}})
    if (x.defined()) leaves.emplace_back(name, x);
  append(leaves, "parameter", module.parameters());
  for (const auto& [name, x] : leaves) wanted.push_back(x);
  const std::vector<Tensor> found(outputs.begin(),
                                  outputs.begin() + static_cast<std::ptrdiff_t>(values.size()));
  const std::vector<Tensor> gradients = grad(found, wanted, seeds);
  for (std::size_t i = 0; i < leaves.size(); ++i) leaves[i].second = gradients[i];
  check_flat(golden, "values", values, depth);
  check_flat(golden, "gradients", leaves, depth);
}

// Each sequence's row of (B, C) for each of its rows.
Tensor spread(const Tensor& of_sequences, const RaggedIndex& index) {
  std::vector<std::int64_t> rows;
  for (std::int64_t b = 0; b < index.batch_size(); ++b)
    rows.insert(rows.end(), static_cast<std::size_t>(index.length(b)), b);
  return index_select(of_sequences, 0, from_data(rows, {index.total()}));
}

// recurrent() with the file's dropout masks and zoneout shares instead of random ones.
RecurrentLayers::Layer layer_with_given(const GoldenCase& golden, std::int64_t T) {
  return [&golden, T, layer = 0](Tensor x, std::vector<RecurrentDirection> directions,
                                 const RaggedIndex& index,
                                 const RecurrentSettings& settings) mutable {
    const auto D = static_cast<std::int64_t>(directions.size()), B = index.batch_size(),
               P = directions[0].weight_hh.dim(1),
               H = directions[0].weight_hh.dim(0) / gates_of(settings.kind);
    const DType dtype = directions[0].weight_hh.dtype();
    if (given(golden, "input_masks"))
      x = x * spread(corner(golden, "input_mask_l" + std::to_string(layer), {B, x.dim(1)}), index)
                  .to(dtype);
    for (std::int64_t d = 0; d < D; ++d) {
      RecurrentDirection& direction = directions[static_cast<std::size_t>(d)];
      const std::int64_t at = layer * D + d;
      const auto of_direction = [&](const std::string& name, const Shape& shape) {
        return select(corner(golden, name, shape), 0, at).to(dtype);
      };
      if (given(golden, "hidden_masks"))
        direction.hidden_mask = of_direction("hidden_mask", {at + 1, B, P});
      if (!given(golden, "shares")) continue;
      direction.zoneout_shares =
          pack(of_direction("zoneout_shares", {at + 1, B, T, P}), index).values;
      if (carries_cell(settings.kind))
        direction.cell_zoneout_shares =
            pack(of_direction("cell_zoneout_shares", {at + 1, B, T, H}), index).values;
    }
    ++layer;
    return recurrent(x, directions, index, settings);
  };
}

template <class Net>
void check_net(const GoldenCase& golden) {
  Rng rng(1);
  RecurrentOptions options = options_of(golden);
  // A norm divides its few values, and their rounding errors, by a possibly small deviation.
  const double depth = static_cast<double>(options.num_layers) * (options.layer_norm ? 4 : 1);
  for (const DType dtype : {DType::f32, DType::f64})
    for (const bool recompute : {false, true}) {
      options.recompute = recompute;
      Net net(options, rng);
      net.eval();
      take_corners(golden, net, "", dtype);
      const Inputs in = inputs_of(golden, options, carries_cell(net.kind()), dtype);
      const std::int64_t B = in.x.dim(0), T = in.x.dim(1);
      const RaggedIndex index =
          golden.options.contains("lengths") && !golden.options["lengths"].is_null()
              ? RaggedIndex(golden.options["lengths"].get<std::vector<std::int64_t>>())
              : RaggedIndex::equal(B, T);
      const Ragged x = pack(in.x, index);
      const auto y = golden.options.contains("given")
                         ? net.forward(layer_with_given(golden, T), x, in.h0, in.c0)
                         : net(x, in.h0, in.c0);
      check_case(golden, {pad(y.states), y.last, y.last_cell}, in, net, depth);
    }
}

// Sequences of one length without packing, the batch first and the steps first.
template <class Net>
void check_padded(const GoldenCase& golden) {
  if (golden.options.contains("lengths") || golden.options.contains("given")) return;
  for (const bool batch_first : {true, false}) {
    Rng rng(1);
    RecurrentOptions options = options_of(golden);
    options.batch_first = batch_first;
    Net net(options, rng);
    net.eval();
    take_corners(golden, net, "", DType::f64);
    const Inputs in = inputs_of(golden, options, carries_cell(net.kind()), DType::f64);
    const auto turned = [&](const Tensor& x) { return batch_first ? x : transpose(x, 0, 1); };
    const auto y = net(turned(in.x), in.h0, in.c0);
    CHECK(y.states.dim(0) == in.x.dim(batch_first ? 0 : 1));
    check_case(golden, {turned(y.states), y.last, y.last_cell}, in, net, 1);
  }
}

// The values of a cell are in the file as those of a net of one step.
template <class Cell>
void check_cell(const GoldenCase& golden) {
  constexpr bool lstm = std::is_same_v<Cell, LSTMCell>;
  const RecurrentOptions o = options_of(golden);
  for (const DType dtype : {DType::f32, DType::f64}) {
    Rng rng(1);
    Cell cell({.input_size = o.input_size,
               .hidden_size = o.hidden_size,
               .bias = o.bias,
               .nonlinearity = o.nonlinearity},
              rng);
    take_corners(golden, cell, "_l0", dtype);
    const Inputs in = inputs_of(golden, o, lstm, dtype);
    const auto alone = [](const Tensor& state) {
      return state.defined() ? select(state, 0, 0) : Tensor();
    };
    const Tensor x = select(in.x, 1, 0);
    std::vector<Tensor> outputs;
    if constexpr (lstm) {
      const LSTMCell::State y = cell(x, {alone(in.h0), alone(in.c0)});
      outputs = {unsqueeze(y.h, 1), unsqueeze(y.c, 0)};
    } else {
      outputs = {unsqueeze(cell(x, alone(in.h0)), 1)};
    }
    check_case(golden, outputs, in, cell, 1);
  }
}

template <class Net>
void check_both(const GoldenCase& golden) {
  check_net<Net>(golden);
  check_padded<Net>(golden);
}

// The equivalent of class Several of the Python script.
class Several : public Module {
 public:
  explicit Several(Rng& rng)
      : encoder({.input_size = 3,
                 .hidden_size = 4,
                 .num_layers = 2,
                 .bidirectional = true,
                 .proj_size = 3},
                rng),
        middle({.input_size = 6, .hidden_size = 4, .num_layers = 2, .bias = false}, rng),
        decoder({.input_size = 4,
                 .hidden_size = 2,
                 .bidirectional = true,
                 .nonlinearity = Nonlinearity::relu},
                rng) {
    cells.emplace_back(LSTMCellOptions{.input_size = 4, .hidden_size = 3}, rng);
    cells.emplace_back(LSTMCellOptions{.input_size = 3, .hidden_size = 2}, rng);
  }
  void visit(Visitor& v) override {
    v("encoder", encoder), v("middle", middle), v("decoder", decoder), v("cells", cells);
  }
  LSTM encoder;
  GRU middle;
  RNN decoder;
  std::vector<LSTMCell> cells;
};

// A state_dict of PyTorch's, loaded by name and without leave to miss any.
void check_state_dict(const GoldenCase& golden) {
  Rng rng(1);
  Several net(rng);
  load_into(FOVEA_GOLDEN_DIR "/recurrent_state_dict.safetensors", net.state());
  const Tensor x = corner(golden, "x", {3, 4, 3});
  const Tensor middle = net.middle(net.encoder(x).states).states;
  LSTMCell::State state{select(middle, 1, 3), {}};
  for (const LSTMCell& cell : net.cells) state = cell(state.h);
  check_flat(
      golden, "values",
      {{"middle", middle}, {"decoder", net.decoder(middle).states}, {"h", state.h}, {"c", state.c}},
      4);
}

}  // namespace

TEST_CASE("golden: recurrent nets and cells") {
  test::check_golden("recurrent", {{"RNN", check_both<RNN>},
                                   {"GRU", check_both<GRU>},
                                   {"LSTM", check_both<LSTM>},
                                   {"RNNCell", check_cell<RNNCell>},
                                   {"GRUCell", check_cell<GRUCell>},
                                   {"LSTMCell", check_cell<LSTMCell>},
                                   {"StateDict", check_state_dict}});
}
