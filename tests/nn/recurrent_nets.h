// Every recurrent net, constructed from one set of options.
#pragma once

#include <fovea/nn/recurrent.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace fovea::test {

struct RecurrentNetKind {
  std::string name;
  bool lstm;
  std::function<std::unique_ptr<nn::RecurrentLayers>(nn::RecurrentOptions, Rng&)> make;
};

/// Adds the options that only this kind of net has.
inline std::vector<RecurrentNetKind> recurrent_net_kinds() {
  using Options = nn::RecurrentOptions;
  const auto lstm = [](std::int64_t proj_size, bool coupled) {
    return [=](Options o, Rng& rng) {
      o.proj_size = proj_size;
      o.coupled_gates = coupled;
      return std::make_unique<nn::LSTM>(o, rng);
    };
  };
  const auto rnn = [](nn::Nonlinearity f) {
    return [=](Options o, Rng& rng) {
      o.nonlinearity = f;
      return std::make_unique<nn::RNN>(o, rng);
    };
  };
  return {{"RNN tanh", false, rnn(nn::Nonlinearity::tanh)},
          {"RNN relu", false, rnn(nn::Nonlinearity::relu)},
          {"GRU", false, [](Options o, Rng& rng) { return std::make_unique<nn::GRU>(o, rng); }},
          {"LSTM", true, lstm(0, false)},
          {"LSTM, projected", true, lstm(2, false)},
          {"LSTM, coupled", true, lstm(0, true)}};
}

/// Without the values that only LSTMs support.
inline nn::RecurrentOptions for_kind(const RecurrentNetKind& kind, nn::RecurrentOptions o) {
  if (!kind.lstm) o.cell_zoneout = o.forget_bias = 0;
  return o;
}

inline void copy_parameters(nn::Module& from, nn::Module& to) {
  const NamedTensors source = from.parameters();
  NamedTensors target = to.parameters();
  for (std::size_t i = 0; i < source.size(); ++i) target[i].second.copy_from(source[i].second);
}

inline Tensor parameter(nn::Module& module, const std::string& name) {
  for (const auto& [found, value] : module.parameters())
    if (found == name) return value;
  return {};
}

/// Standard normal values, (sum of lengths, width).
inline Ragged random_batch(const std::vector<std::int64_t>& lengths, std::int64_t width) {
  Rng rng(9);
  const RaggedIndex index(lengths);
  return {randn({index.total(), width}, rng), index};
}

}  // namespace fovea::test
