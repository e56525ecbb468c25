#include "layers.h"

#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/kv_cache.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/lru.h>
#include <fovea/nn/min_rnn.h>
#include <fovea/nn/recurrent.h>

#include <algorithm>

using namespace fovea;

namespace {

// --- recurrent nets: decoding uses a state -------------------------------------------------------

struct State {
  Tensor h, c;  // c is LSTM's
};
struct Run {
  Tensor y;  // (N, C)
  State state;
};

Run run(const nn::RecurrentLayers& net, const Ragged& x, const State& before) {
  auto out = net(x, before.h, before.c);
  return {out.states.values, {out.last, out.last_cell}};
}
Run run(const nn::MinRecurrentLayers& net, const Ragged& x, const State& before) {
  auto out = net(x, before.h);
  return {out.states.values, {out.last, {}}};
}
Run run(const nn::LRU& net, const Ragged& x, const State& before) {
  auto out = net(x, before.h);
  return {out.outputs.values, {out.last, {}}};
}

// (B, T, C) -> (B T, C)
Ragged packed(const Tensor& x) {
  const std::int64_t B = x.dim(0), T = x.dim(1);
  return {reshape(x, {B * T, x.dim(2)}), RaggedIndex::equal(B, T)};
}

template <class Net>
class RecurrentDecoder : public Decoder {
 public:
  RecurrentDecoder(const Net& net, const Tensor& prefix)
      : net_(net), state_(run(net, packed(prefix), {}).state) {}
  void rewind() override {}  // a step creates a new state
  Tensor step(const Tensor& x) override {
    return reshape(run(net_, packed(x), state_).y, x.shape());
  }

 private:
  const Net& net_;
  State state_;
};

template <class Net>
class RecurrentLayer : public Layer {
 public:
  template <class Options>
  RecurrentLayer(const Options& options, Rng& rng) : net_(options, rng) {}
  Tensor operator()(const Tensor& x) const override {
    return reshape(run(net_, packed(x), {}).y, x.shape());
  }
  std::unique_ptr<Decoder> decoder(const Tensor& prefix) const override {
    return std::make_unique<RecurrentDecoder<Net>>(net_, prefix);
  }
  nn::Module& module() override { return net_; }

 private:
  Net net_;
};

template <class Net>
std::unique_ptr<Layer> recurrent(const Sizes& s, Rng& rng) {
  if constexpr (std::is_same_v<Net, nn::LRU>) {
    const nn::LRUOptions options{.width = s.width, .state_size = s.width / 2};
    return std::make_unique<RecurrentLayer<Net>>(options, rng);
  } else if constexpr (std::is_same_v<Net, nn::MinGRU>) {
    const nn::MinGRUOptions options{.input_size = s.width, .hidden_size = s.width};
    return std::make_unique<RecurrentLayer<Net>>(options, rng);
  } else {
    const nn::RecurrentOptions options{.input_size = s.width, .hidden_size = s.width};
    return std::make_unique<RecurrentLayer<Net>>(options, rng);
  }
}

// --- softmax attention: decoding uses a key-value cache, complete or windowed --------------------

class CacheDecoder : public Decoder {
 public:
  CacheDecoder(const nn::MultiheadAttention& net, const Tensor& prefix, std::int64_t window)
      : net_(net), prefix_(prefix), cache_(options(net, prefix, window)) {}

  void rewind() override {
    cache_.clear();
    const nn::KeyValue kv = net_.project_self(prefix_).kv;  // (B, H, T - 1, D)
    const std::int64_t T = prefix_.dim(1), window = cache_.options().window;
    if (!cache_.is_ring() && T > 0) cache_.append(kv);
    for (std::int64_t t = std::max<std::int64_t>(0, T - window); cache_.is_ring() && t < T; ++t)
      cache_.append({narrow(kv.k, 2, t, 1), narrow(kv.v, 2, t, 1)});
  }

  Tensor step(const Tensor& x) override {
    const auto heads = net_.project_self(x);
    const nn::KvCache::Visible seen = cache_.append(heads.kv);
    return net_.attend_heads(heads.q, seen.kv, seen.mask);
  }

 private:
  static nn::KvCacheOptions options(const nn::MultiheadAttention& net, const Tensor& prefix,
                                    std::int64_t window) {
    return {.batch_size = prefix.dim(0),
            .num_kv_heads = net.options().num_kv_heads,
            .head_dim = net.options().head_dim,
            .capacity = window > 0 ? 0 : prefix.dim(1) + 1,
            .window = window};
  }

  const nn::MultiheadAttention& net_;
  Tensor prefix_;
  nn::KvCache cache_;
};

enum class Sight { full, causal, window };

class AttentionLayer : public Layer {
 public:
  AttentionLayer(const Sizes& s, Sight sight, Rng& rng)
      : sight_(sight),
        window_(s.window),
        net_({.embed_dim = s.width,
              .num_heads = s.heads,
              .causal = sight != Sight::full,
              .window_left = sight == Sight::window ? s.window - 1 : -1},
             rng) {}
  Tensor operator()(const Tensor& x) const override { return net_(x); }
  bool decodes() const override { return sight_ != Sight::full; }
  std::unique_ptr<Decoder> decoder(const Tensor& prefix) const override {
    return std::make_unique<CacheDecoder>(net_, prefix, sight_ == Sight::window ? window_ : 0);
  }
  nn::Module& module() override { return net_; }

 private:
  Sight sight_;
  std::int64_t window_;
  nn::MultiheadAttention net_;
};

template <Sight sight>
std::unique_ptr<Layer> attention(const Sizes& s, Rng& rng) {
  return std::make_unique<AttentionLayer>(s, sight, rng);
}

// --- linear attention: decoding uses sums over the keys ------------------------------------------

struct Features {
  Tensor q, k, v;  // (B H, T, D)
};

Features features(const nn::MultiheadAttention& net, const Tensor& x) {
  const auto heads = net.project_self(x);  // (B, H, T, D)
  const std::int64_t T = x.dim(1), D = net.options().head_dim;
  const auto flat = [&](const Tensor& h) {
    return reshape(h, {x.dim(0) * net.options().num_heads, T, D});
  };
  return {elu_feature(flat(heads.q)), elu_feature(flat(heads.kv.k)), flat(heads.kv.v)};
}

// Concatenates the heads and applies the output projection.    (B H, T, D) -> (B, T, C)
Tensor joined(const nn::MultiheadAttention& net, const Tensor& y) {
  const std::int64_t H = net.options().num_heads, D = net.options().head_dim;
  const Tensor heads = reshape(y, {y.dim(0) / H, H, y.dim(1), D});
  return net.out_proj(reshape(transpose(heads, 1, 2), {y.dim(0) / H, y.dim(1), H * D}));
}

// M_t = M_{t-1} + k_t v_t^T,  z_t = z_{t-1} + k_t,  y_t = q_t M_t / (q_t . z_t)
class LinearDecoder : public Decoder {
 public:
  LinearDecoder(const nn::MultiheadAttention& net, const Tensor& prefix) : net_(net) {
    const Features f = features(net, prefix);
    M_ = matmul(transpose(f.k, 1, 2), f.v);  // (B H, D, D)
    z_ = sum(f.k, 1, true);                  // (B H, 1, D)
  }
  void rewind() override {}  // a step does not change these sums
  Tensor step(const Tensor& x) override {
    const Features f = features(net_, x);  // (B H, 1, D)
    const Tensor M = M_ + matmul(transpose(f.k, 1, 2), f.v), z = z_ + f.k;
    return joined(net_, matmul(f.q, M) / sum(f.q * z, 2, true));
  }

 private:
  const nn::MultiheadAttention& net_;
  Tensor M_, z_;
};

class LinearLayer : public Layer {
 public:
  LinearLayer(const Sizes& s, Rng& rng) : net_({.embed_dim = s.width, .num_heads = s.heads}, rng) {}
  Tensor operator()(const Tensor& x) const override {
    const Features f = features(net_, x);
    return joined(net_, linear_attention(f.q, f.k, f.v, Mask::causal()));
  }
  std::unique_ptr<Decoder> decoder(const Tensor& prefix) const override {
    return std::make_unique<LinearDecoder>(net_, prefix);
  }
  nn::Module& module() override { return net_; }

 private:
  nn::MultiheadAttention net_;
};

std::unique_ptr<Layer> linear_layer(const Sizes& s, Rng& rng) {
  return std::make_unique<LinearLayer>(s, rng);
}

}  // namespace

const std::vector<Kind>& kinds() {
  static const std::vector<Kind> all{
      {"rnn", false, recurrent<nn::RNN>},         {"gru", false, recurrent<nn::GRU>},
      {"lstm", false, recurrent<nn::LSTM>},       {"mingru", false, recurrent<nn::MinGRU>},
      {"lru", false, recurrent<nn::LRU>},         {"linear", true, linear_layer},
      {"window", true, attention<Sight::window>}, {"causal", true, attention<Sight::causal>},
      {"full", true, attention<Sight::full>},
  };
  return all;
}
