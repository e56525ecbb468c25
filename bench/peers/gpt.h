// The language model of gpt_step_peer and decode_peer: pre-norm, GELU, learned positions, tied
// output layer.   B batch, T tokens, C width, H heads, D head width, V vocabulary.
#pragma once

#include <fovea/bench/peers/attention.h>
#include <fovea/bench/peers/fill.h>
#include <fovea/bench/workloads.h>

#include <string>
#include <utility>
#include <vector>

#include <torch/torch.h>

namespace peers::gpt {

namespace nn = torch::nn;
using torch::Tensor;
using namespace workloads::gpt;
inline constexpr std::int64_t D = C / H;

/// Keys and values of one layer, (H, max_len, D), and the number of cached tokens.
struct Cache {
  Tensor keys, values;
  std::int64_t length = 0;
};

struct SelfAttentionImpl : nn::Module {
  Tensor in_proj_weight = register_parameter("in_proj_weight", torch::empty({3 * C, C}));
  Tensor in_proj_bias = register_parameter("in_proj_bias", torch::empty({3 * C}));
  nn::Linear out_proj{C, C};

  SelfAttentionImpl() { register_module("out_proj", out_proj); }

  Tensor forward(const Tensor& x) {  // (B, T, C)
    const std::int64_t B = x.size(0), T = x.size(1);
    std::vector<Tensor> heads = torch::linear(x, in_proj_weight, in_proj_bias).split(C, 2);
    for (Tensor& h : heads) h = h.view({B, T, H, D}).transpose(1, 2);  // (B, H, T, D)
    const Tensor y = peers::attention(heads[0], heads[1], heads[2], {}, 0, true);
    return out_proj(y.transpose(1, 2).reshape({B, T, C}));
  }

  Tensor step(const Tensor& x, Cache& cache) {  // (1, C)
    const std::int64_t at = cache.length, end = at + 1;
    const Tensor heads = torch::linear(x, in_proj_weight, in_proj_bias).view({3, H, 1, D});
    cache.keys.slice(1, at, end).copy_(heads[1]);
    cache.values.slice(1, at, end).copy_(heads[2]);
    cache.length = end;
    const Tensor y =
        peers::attention(heads[0].unsqueeze(0), cache.keys.slice(1, 0, end).unsqueeze(0),
                         cache.values.slice(1, 0, end).unsqueeze(0));  // (1, H, 1, D)
    return out_proj(y.view({1, C}));
  }
};
TORCH_MODULE(SelfAttention);

struct LayerImpl : nn::Module {
  SelfAttention self_attn;
  nn::Linear linear1{C, F}, linear2{F, C};
  nn::LayerNorm norm1{nn::LayerNormOptions({C}).eps(eps)},
      norm2{nn::LayerNormOptions({C}).eps(eps)};

  LayerImpl() {
    register_module("self_attn", self_attn);
    register_module("linear1", linear1);
    register_module("linear2", linear2);
    register_module("norm1", norm1);
    register_module("norm2", norm2);
  }

  template <class Attend>
  Tensor with(const Tensor& x, Attend attend) {
    const Tensor h = x + attend(norm1(x));
    return h + linear2(torch::gelu(linear1(norm2(h))));
  }
  Tensor forward(const Tensor& x) {
    return with(x, [this](const Tensor& n) { return self_attn(n); });
  }
  Tensor step(const Tensor& x, Cache& cache) {
    return with(x, [&](const Tensor& n) { return self_attn->step(n, cache); });
  }
};
TORCH_MODULE(Layer);

/// The names of the parameters are those of fovea's model.
struct ModelImpl : nn::Module {
  nn::Embedding embedding{V, C};
  struct PositionsImpl : nn::Module {
    explicit PositionsImpl(std::int64_t max_len)
        : weight(register_parameter("weight", torch::empty({max_len, C}))) {}
    Tensor weight;
  };
  std::shared_ptr<PositionsImpl> positions;
  nn::ModuleList stack;
  nn::LayerNorm norm{nn::LayerNormOptions({C}).eps(eps)};

  explicit ModelImpl(std::int64_t max_len) : positions(std::make_shared<PositionsImpl>(max_len)) {
    register_module("embedding", embedding);
    register_module("positions", positions);
    for (std::int64_t i = 0; i < workloads::gpt::layers; ++i) stack->push_back(Layer());
    const auto transformer = std::make_shared<nn::Module>("transformer");
    transformer->register_module("layers", stack);
    transformer->register_module("norm", norm);
    register_module("transformer", transformer);
    fill_parameters(*this, [](const std::string&) { return bound; });
  }

  /// tokens: i64 (B, T)  ->  logits (B, T, V)
  Tensor forward(const Tensor& tokens) {
    Tensor x = embedding(tokens) + positions->weight.slice(0, 0, tokens.size(1));
    for (const auto& layer : *stack) x = layer->as<Layer>()->forward(x);
    return torch::linear(norm(x), embedding->weight);
  }

  /// token: i64 (1)  ->  logits (1, V)
  Tensor step(const Tensor& token, std::vector<Cache>& caches) {
    const std::int64_t at = caches[0].length;
    Tensor x = embedding(token) + positions->weight.slice(0, at, at + 1);
    for (std::size_t i = 0; i < caches.size(); ++i) x = stack[i]->as<Layer>()->step(x, caches[i]);
    return torch::linear(norm(x), embedding->weight);
  }
};
TORCH_MODULE(Model);

}  // namespace peers::gpt
