// Options of recurrent nets: dropout, zoneout, initialization, coupled gates, invalid options.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/nn/recurrent_nets.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <cmath>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::copy_parameters;
using test::for_kind;
using test::max_difference;
using test::message_of;
using test::parameter;
using test::random_batch;

namespace {

template <class F>
void for_all_kinds(const F& f) {
  for (const auto& kind : test::recurrent_net_kinds()) {
    CAPTURE(kind.name);
    f(kind);
  }
}

// The arguments of each layer's op.
struct Seen {
  std::vector<Tensor> inputs;
  std::vector<std::vector<RecurrentDirection>> directions;
};

Seen watch(const RecurrentLayers& net, const Ragged& x) {
  Seen seen;
  net.forward(
      [&](const Tensor& input, const std::vector<RecurrentDirection>& directions,
          const RaggedIndex& index, const RecurrentSettings& settings) {
        seen.inputs.push_back(input);
        seen.directions.push_back(directions);
        return recurrent(input, directions, index, settings);
      },
      x);
  return seen;
}

std::int64_t count_of(const Tensor& x, float value) {
  const auto numbers = x.to_vector<float>();
  return std::count(numbers.begin(), numbers.end(), value);
}

// Five standard deviations of a proportion of n values.
double spread(double p, std::int64_t n) {
  return 5 * std::sqrt(p * (1 - p) / static_cast<double>(n));
}

// Checks that all values of x are `dropped` or `kept`, about a share p of them `dropped`.
void check_two_values(const Tensor& x, float dropped, float kept, double p) {
  const std::int64_t n = x.numel(), left = count_of(x, dropped);
  CHECK(left + count_of(x, kept) == n);
  CHECK(std::abs(static_cast<double>(left) / static_cast<double>(n) - p) <= spread(p, n));
}

// Checks that each value of `found` is that of `before` or of `next`, about a share p the former.
void check_zoned_out(const Tensor& found, const Tensor& before, const Tensor& next, double p) {
  const auto y = found.to_vector<float>(), old = before.to_vector<float>(),
             made = next.to_vector<float>();
  std::int64_t stayed = 0, neither = 0, in_doubt = 0;
  for (std::size_t i = 0; i < y.size(); ++i) {
    stayed += y[i] == old[i];
    neither += y[i] != old[i] && y[i] != made[i];
    in_doubt += old[i] == made[i];
  }
  CHECK(neither == 0);
  CHECK(in_doubt == 0);
  CHECK(std::abs(static_cast<double>(stayed) / static_cast<double>(y.size()) - p) <=
        spread(p, found.numel()));
}

}  // namespace

TEST_CASE("zoneout in training: each element of a state is the old or the new value") {
  for_all_kinds([](const auto& kind) {
    for (const double p : {0.1, 0.3, 0.7}) {
      Rng rng(1);
      const RecurrentOptions plain_options{.input_size = 3, .hidden_size = 12};
      RecurrentOptions options = plain_options;
      options.zoneout = p;
      options.cell_zoneout = 1 - p;
      const auto net = kind.make(for_kind(kind, options), rng),
                 plain = kind.make(plain_options, rng);
      copy_parameters(*net, *plain);
      const Ragged x = random_batch(std::vector<std::int64_t>(200, 1), 3);  // one step
      const std::int64_t P = parameter(*net, "weight_hh_l0").dim(1);
      const Tensor h = randn({1, 200, P}, rng);
      const Tensor c = kind.lstm ? randn({1, 200, 12}, rng) : Tensor();
      const auto found = (*net)(x, h, c), expected = (*plain)(x, h, c);
      check_zoned_out(found.last, h, expected.last, p);
      if (kind.lstm) check_zoned_out(found.last_cell, c, expected.last_cell, 1 - p);
    }
  });
}

TEST_CASE("zoneout shares are exactly 0 or 1 for any probability") {
  const Ragged x = random_batch({3}, 2);
  for (int percent = 1; percent < 100; ++percent) {
    CAPTURE(percent);
    Rng rng(1);
    const GRU net({.input_size = 2, .hidden_size = 10, .zoneout = percent / 100.0}, rng);
    const Tensor shares = watch(net, x).directions[0][0].zoneout_shares;
    CHECK(count_of(shares, 0) + count_of(shares, 1) == 30);
  }
}

TEST_CASE("zoneout draws for every step, sequence and direction") {
  Rng rng(1);
  const LSTM net({.input_size = 3,
                  .hidden_size = 8,
                  .num_layers = 2,
                  .bidirectional = true,
                  .zoneout = 0.4,
                  .cell_zoneout = 0.1},
                 rng);
  const Ragged x = random_batch({30, 1, 50}, 3);
  std::vector<Tensor> shares;
  for (const Seen& seen : {watch(net, x), watch(net, x)})
    for (const auto& layer : seen.directions)
      for (const RecurrentDirection& d : layer) {
        check_two_values(d.zoneout_shares, 1, 0, 0.4);
        check_two_values(d.cell_zoneout_shares, 1, 0, 0.1);
        CHECK(d.zoneout_shares.shape() == Shape{81, 8});
        for (const Tensor& other : shares) CHECK(max_difference(other, d.zoneout_shares) == 1);
        shares.push_back(d.zoneout_shares);
        CHECK(max_difference(narrow(d.zoneout_shares, 0, 0, 40),
                             narrow(d.zoneout_shares, 0, 40, 40)) == 1);
      }
  CHECK(shares.size() == 8);
}

TEST_CASE("variational dropout: one mask per sequence, the same at all its steps") {
  for_all_kinds([](const auto& kind) {
    Rng rng(1);
    const auto net = kind.make(for_kind(kind, {.input_size = 40,
                                               .hidden_size = 30,
                                               .num_layers = 2,
                                               .bidirectional = true,
                                               .variational_dropout = 0.25}),
                               rng);
    const RaggedIndex index({5, 1, 9});
    const Seen seen = watch(*net, {ones({15, 40}), index});
    check_two_values(seen.inputs[0], 0, 1 / 0.75F, 0.25);
    std::vector<Tensor> masks;
    for (std::int64_t b = 0; b < 3; ++b) {
      const Tensor rows = narrow(seen.inputs[0], 0, index.offset(b), index.length(b));
      masks.push_back(narrow(rows, 0, 0, 1));
      CHECK(max_difference(rows, expand(masks.back(), rows.shape())) == 0);
      // An input of the second layer is 0 at all steps of a sequence, or at none (except by relu).
      const Tensor next = narrow(seen.inputs[1], 0, index.offset(b), index.length(b));
      const Tensor first = narrow(next, 0, 0, 1);
      if (kind.name != "RNN relu")
        for (std::int64_t t = 0; t < next.dim(0); ++t)
          for (std::int64_t k = 0; k < next.dim(1); ++k)
            CHECK((select(select(next, 0, t), 0, k).item() == 0) ==
                  (select(select(first, 0, 0), 0, k).item() == 0));
    }
    CHECK(max_difference(masks[0], masks[1]) > 1);
    CHECK(max_difference(masks[1], masks[2]) > 1);
  });
}

TEST_CASE("variational dropout of the state: one mask per sequence, direction, layer and call") {
  Rng rng(1);
  const GRU net({.input_size = 3,
                 .hidden_size = 40,
                 .num_layers = 2,
                 .bidirectional = true,
                 .variational_dropout = 0.5},
                rng);
  const Ragged x = random_batch({4, 2}, 3);
  std::vector<Tensor> masks;
  for (const Seen& seen : {watch(net, x), watch(net, x)})
    for (const auto& layer : seen.directions)
      for (const RecurrentDirection& d : layer) {
        CHECK(d.hidden_mask.shape() == Shape{2, 40});
        check_two_values(d.hidden_mask, 0, 2, 0.5);
        for (std::int64_t b = 0; b < 2; ++b) masks.push_back(select(d.hidden_mask, 0, b));
      }
  CHECK(masks.size() == 16);
  for (std::size_t i = 0; i < masks.size(); ++i)
    for (std::size_t j = 0; j < i; ++j) CHECK(max_difference(masks[i], masks[j]) == 2);
}

TEST_CASE("dropout of all inputs, and zoneout of all states") {
  Rng rng(1);
  GRU net({.input_size = 3, .hidden_size = 4, .variational_dropout = 1.0}, rng);
  const Ragged x = random_batch({3, 1}, 3);
  const Ragged nothing{zeros({4, 3}), x.index};
  const Seen seen = watch(net, x);
  CHECK(count_of(seen.inputs[0], 0) == 12);
  CHECK(count_of(seen.directions[0][0].hidden_mask, 0) == 8);
  CHECK(max_difference(net(x).states.values, net(nothing).states.values) == 0);
  LSTM still({.input_size = 3, .hidden_size = 4, .zoneout = 1.0, .cell_zoneout = 1.0}, rng);
  const Tensor h = randn({1, 2, 4}, rng), c = randn({1, 2, 4}, rng);
  for (const bool training : {true, false}) {
    still.train(training);
    CHECK(max_difference(still(x, h, c).last, h) == 0);
    CHECK(max_difference(still(x, h, c).last_cell, c) == 0);
  }
}

TEST_CASE("each kind of dropout is random in training, and off in eval") {
  using Change = std::function<void(RecurrentOptions&)>;
  const std::vector<Change> changes{[](auto& o) { o.dropout = 0.5; },
                                    [](auto& o) { o.variational_dropout = 0.5; }};
  const Ragged x = random_batch({6, 3, 6}, 3);
  for_all_kinds([&](const auto& kind) {
    for (const Change& change : changes) {
      RecurrentOptions options{.input_size = 3, .hidden_size = 9, .num_layers = 2};
      Rng rng(1);
      const auto plain = kind.make(options, rng);
      change(options);
      const auto net = kind.make(options, rng);
      copy_parameters(*plain, *net);
      CHECK(max_difference((*net)(x).states.values, (*net)(x).states.values) > 0);
      net->eval();
      CHECK(max_difference((*net)(x).states.values, (*plain)(x).states.values) == 0);
    }
  });
}

TEST_CASE("zoneout in eval is deterministic, but active") {
  const Ragged x = random_batch({6, 3, 6}, 3);
  for_all_kinds([&](const auto& kind) {
    Rng rng(1);
    const auto net = kind.make({.input_size = 3, .hidden_size = 9, .zoneout = 0.5}, rng),
               plain = kind.make({.input_size = 3, .hidden_size = 9}, rng);
    copy_parameters(*net, *plain);
    CHECK(max_difference((*net)(x).states.values, (*net)(x).states.values) > 0);
    net->eval();
    CHECK(max_difference((*net)(x).states.values, (*net)(x).states.values) == 0);
    CHECK(max_difference((*net)(x).states.values, (*plain)(x).states.values) > 0.01);
    // From state 0 the mean of old and new is the new value times its share.
    const Tensor first = narrow((*plain)(x).states.values, 0, 0, 1);
    CHECK(max_difference(narrow((*net)(x).states.values, 0, 0, 1), 0.5 * first) == 0);
  });
}

TEST_CASE("forget_bias is added only to the initial f part of bias_ih") {
  for (const bool coupled : {false, true}) {
    Rng first(1), second(1);
    const RecurrentOptions options{
        .input_size = 3, .hidden_size = 4, .bidirectional = true, .coupled_gates = coupled};
    RecurrentOptions raised = options;
    raised.forget_bias = 1.5;
    LSTM plain(options, first), net(raised, second);
    const NamedTensors before = plain.parameters(), after = net.parameters();
    for (std::size_t i = 0; i < before.size(); ++i) {
      const std::string& name = after[i].first;
      const Tensor& value = after[i].second;
      CAPTURE(name);
      const Tensor change = value.detach() - before[i].second.detach();
      Tensor expected = zeros(change.shape());
      if (name.starts_with("bias_ih")) narrow(expected, 0, coupled ? 0 : 4, 4).fill(1.5);
      CHECK(max_difference(change, expected) <= 1e-6);
      CHECK(value.requires_grad());
    }
  }
}

TEST_CASE("orthogonal initialization: the columns of W_hh are orthonormal per gate") {
  for_all_kinds([](const auto& kind) {
    Rng rng(1);
    const auto net =
        kind.make({.input_size = 3, .hidden_size = 6, .num_layers = 2, .orthogonal = true}, rng);
    for (const char* name : {"weight_hh_l0", "weight_hh_l1"}) {
      const Tensor w = parameter(*net, name).detach();
      CHECK(parameter(*net, name).requires_grad());
      for (std::int64_t row = 0; row < w.dim(0); row += 6) {
        const Tensor gate = narrow(w, 0, row, 6);  // (H, P)
        const Tensor one = matmul(transpose(gate, 0, 1), gate);
        for (std::int64_t i = 0; i < one.dim(0); ++i)
          for (std::int64_t j = 0; j < one.dim(0); ++j)
            CHECK(std::abs(select(select(one, 0, i), 0, j).item() - (i == j)) <= 1e-5);
      }
    }
  });
}

TEST_CASE("coupled gates: an LSTM whose input gate is one minus its forget gate") {
  Rng rng(1);
  const RecurrentOptions options{.input_size = 3, .hidden_size = 4, .proj_size = 2};
  RecurrentOptions coupled_options = options;
  coupled_options.coupled_gates = true;
  LSTM coupled(coupled_options, rng), plain(options, rng);
  for (auto [name, value] : plain.parameters()) {
    const Tensor w = parameter(coupled, name).detach();
    if (name.starts_with("weight_hr")) {
      value.copy_from(w);
      continue;
    }
    CHECK(w.dim(0) == 3 * 4);
    value.copy_from(concat({-narrow(w, 0, 0, 4), w}, 0));  // s(-f) = 1 - s(f)
  }
  const Ragged x = random_batch({6, 2}, 3);
  const auto found = coupled(x), expected = plain(x);
  CHECK(max_difference(found.states.values, expected.states.values) <= 1e-6);
  CHECK(max_difference(found.last_cell, expected.last_cell) <= 1e-6);
}

TEST_CASE("recompute gives bitwise the same results") {
  for_all_kinds([](const auto& kind) {
    for (const bool layer_norm : {false, true}) {
      std::vector<std::vector<Tensor>> results;
      for (const bool recompute : {false, true}) {
        Rng rng(1);
        const auto net = kind.make(for_kind(kind, {.input_size = 3,
                                                   .hidden_size = 9,
                                                   .num_layers = 2,
                                                   .bidirectional = true,
                                                   .dropout = 0.2,
                                                   .layer_norm = layer_norm,
                                                   .variational_dropout = 0.1,
                                                   .zoneout = 0.2,
                                                   .cell_zoneout = 0.3,
                                                   .recompute = recompute}),
                                   rng);
        const Ragged x = random_batch({7, 0, 4}, 3);
        const auto out = (*net)(x);
        (sum(square(out.states.values)) + sum(out.last)).backward();
        results.push_back({out.states.values, out.last});
        for (const auto& [name, value] : net->parameters()) results.back().push_back(value.grad());
      }
      for (std::size_t i = 0; i < results[0].size(); ++i)
        CHECK(max_difference(results[0][i], results[1][i]) == 0);
    }
  });
}

TEST_CASE("invalid options are errors") {
  Rng rng(1);
  const auto message = [&]<class Net>(RecurrentOptions o, Net*) {
    return message_of<ValueError>([&] { Net(o, rng); });
  };
  RNN* rnn = nullptr;
  GRU* gru = nullptr;
  LSTM* lstm = nullptr;
  CHECK(message({.input_size = 0, .hidden_size = 2}, gru) ==
        "GRU: input_size = 0: must be from 1 to 1073741824");
  CHECK(message({.input_size = 3, .hidden_size = -1}, lstm) ==
        "LSTM: hidden_size = -1: must be from 1 to 1073741824");
  CHECK(message({.input_size = 3, .hidden_size = 2, .num_layers = 0}, rnn) ==
        "RNN: num_layers = 0: must be from 1 to 65536");
  const std::string of_lstm = ": only supported by LSTM";
  CHECK(message({.input_size = 3, .hidden_size = 2, .proj_size = 1}, gru) ==
        "GRU: proj_size" + of_lstm);
  CHECK(message({.input_size = 3, .hidden_size = 2, .coupled_gates = true}, gru) ==
        "GRU: coupled_gates" + of_lstm);
  CHECK(message({.input_size = 3, .hidden_size = 2, .cell_zoneout = 0.1}, rnn) ==
        "RNN: cell_zoneout" + of_lstm);
  CHECK(message({.input_size = 3, .hidden_size = 2, .forget_bias = 1}, rnn) ==
        "RNN: forget_bias" + of_lstm);
  CHECK(message({.input_size = 3, .hidden_size = 2, .nonlinearity = Nonlinearity::relu}, gru) ==
        "GRU: nonlinearity = relu: only supported by RNN");
  CHECK(message({.input_size = 3, .hidden_size = 2, .nonlinearity = Nonlinearity::relu}, lstm) ==
        "LSTM: nonlinearity = relu: only supported by RNN");
  CHECK(message({.input_size = 3, .hidden_size = 2, .proj_size = 2}, lstm) ==
        "LSTM: proj_size = 2: must be 0 (none) or below hidden_size = 2");
  CHECK(message({.input_size = 3, .hidden_size = 2, .proj_size = -1}, lstm) ==
        "LSTM: proj_size = -1: must be 0 (none) or below hidden_size = 2");
  CHECK(message({.input_size = 3, .hidden_size = 2, .bias = false, .forget_bias = 1}, lstm) ==
        "LSTM: forget_bias = 1: must be 0 without bias and layer_norm");
}

TEST_CASE("with layer norm, forget_bias is added to the norm's bias of f") {
  Rng rng(1);
  LSTM net({.input_size = 3, .hidden_size = 2, .layer_norm = true, .forget_bias = 1.5}, rng);
  bool found = false;
  for (const auto& [name, value] : net.parameters())
    if (name == "norm_ih_bias_l0") {
      found = true;
      CHECK(value.to_vector<double>() == std::vector<double>{0, 0, 1.5, 1.5, 0, 0, 0, 0});
    }
  CHECK(found);
}

TEST_CASE("probabilities must be between 0 and 1") {
  Rng rng(1);
  for (double RecurrentOptions::*option :
       {&RecurrentOptions::dropout, &RecurrentOptions::variational_dropout,
        &RecurrentOptions::zoneout, &RecurrentOptions::cell_zoneout})
    for (const double p : {-0.5, 1.5, std::nan("")}) {
      RecurrentOptions options{.input_size = 3, .hidden_size = 2};
      options.*option = p;
      CHECK(message_of<ValueError>([&] { LSTM(options, rng); }) ==
            fmt::format("LSTM: probability = {}: must be in [0, 1]", p));
    }
}
