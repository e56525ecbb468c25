// The layers of the Transformer: names, formulas, gradients and norms.
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/transformer_layers.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;

namespace {

std::vector<std::string> names_of(Module& module) {
  std::vector<std::string> names;
  for (const auto& [name, value] : module.parameters()) names.push_back(name);
  return names;
}

TransformerLayerOptions layer_options() {
  return {.d_model = 6, .nhead = 2, .dim_feedforward = 5, .dropout = 0.3};
}

}  // namespace

TEST_CASE("a layer's parameters are named as PyTorch's") {
  Rng rng(1);
  TransformerEncoderLayer encoder(layer_options(), rng);
  CHECK(names_of(encoder) ==
        std::vector<std::string>{"self_attn.in_proj_weight", "self_attn.in_proj_bias",
                                 "self_attn.out_proj.weight", "self_attn.out_proj.bias",
                                 "linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias",
                                 "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias"});
  TransformerDecoderLayer decoder(layer_options(), rng);
  CHECK(names_of(decoder) ==
        std::vector<std::string>{"self_attn.in_proj_weight", "self_attn.in_proj_bias",
                                 "self_attn.out_proj.weight", "self_attn.out_proj.bias",
                                 "multihead_attn.in_proj_weight", "multihead_attn.in_proj_bias",
                                 "multihead_attn.out_proj.weight", "multihead_attn.out_proj.bias",
                                 "linear1.weight", "linear1.bias", "linear2.weight", "linear2.bias",
                                 "norm1.weight", "norm1.bias", "norm2.weight", "norm2.bias",
                                 "norm3.weight", "norm3.bias"});
  TransformerLayerOptions o = layer_options();
  o.bias = false;
  o.activation = Activation::swiglu;
  TransformerEncoder bare({.layer = o, .num_layers = 1, .final_norm = true}, rng);
  CHECK(names_of(bare) ==
        std::vector<std::string>{"layers.0.self_attn.in_proj_weight",
                                 "layers.0.self_attn.out_proj.weight", "layers.0.linear1.weight",
                                 "layers.0.linear2.weight", "layers.0.linear3.weight",
                                 "layers.0.norm1.weight", "layers.0.norm2.weight", "norm.weight"});
}

TEST_CASE("pre-norm and post-norm follow their formulas") {
  Rng rng(13);
  const Tensor x = randn({2, 4, 6}, rng);
  for (const bool norm_first : {false, true}) {
    TransformerLayerOptions o = layer_options();
    o.dropout = 0;
    o.norm_first = norm_first;
    o.activation = Activation::swiglu;
    const TransformerEncoderLayer l(o, rng);
    const auto ff = [&](const Tensor& h) {
      return l.linear2(silu(l.linear1(h)) * (*l.linear3)(h));
    };
    Tensor expected;
    if (norm_first) {
      const Tensor h = x + l.self_attn(l.norm1(x));
      expected = h + ff(l.norm2(h));
    } else {
      const Tensor h = l.norm1(x + l.self_attn(x));
      expected = l.norm2(h + ff(h));
    }
    CHECK(max_difference(l(x), expected) == 0);
  }
}

TEST_CASE("gradients of a layer's inputs and parameters, against finite differences") {
  TransformerLayerOptions post = layer_options();
  post.dropout = 0;
  post.activation = Activation::gelu;
  post.num_kv_heads = 1;
  post.sinks = true;
  TransformerLayerOptions pre = post;
  pre.norm_first = true;
  pre.norm = NormKind::rms;
  pre.activation = Activation::swiglu;
  pre.causal = true;
  pre.head_dim = 2;
  pre.rope = RopeOptions{};
  pre.qk_norm = true;
  for (const TransformerLayerOptions& o : {post, pre}) {
    Rng rng(18);
    TransformerDecoderLayer layer(o, rng);
    std::vector<Tensor> inputs{randn({2, 3, 6}, rng, DType::f64),
                               randn({2, 4, 6}, rng, DType::f64)};
    for (const auto& [name, value] : layer.parameters())
      inputs.push_back(value.detach().to(DType::f64) +
                       0.1 * randn(value.shape(), rng, DType::f64));  // biases too
    const auto report = gradcheck(
        [&](const std::vector<Tensor>& x) {
          std::size_t next = 2;
          test::ReplaceParameters replace([&](const Tensor&) { return x[next++]; });
          layer.visit(replace);
          return layer(x[0], x[1], Mask::lengths({3, 2}), Mask::lengths({2, 4}));
        },
        inputs);
    CHECK_MESSAGE(report.ok, report.message);
  }
}

TEST_CASE("dropout is active in training only, in all its positions") {
  const Tensor x = [] {
    Rng rng(11);
    return randn({2, 4, 6}, rng);
  }();
  for (const bool attention_only : {false, true}) {
    Rng rng(12);
    TransformerLayerOptions o = layer_options();
    if (attention_only) {
      o.dropout = 0;
      o.attention_dropout = 0.5;
    }
    TransformerEncoderLayer layer(o, rng);
    CHECK(max_difference(layer(x), layer(x)) > 1e-3);
    layer.eval();
    CHECK(max_difference(layer(x), layer(x)) == 0);
  }
}

TEST_CASE("dropout is applied where PyTorch applies it") {
  // Each dropout reserves one random word per element.
  const std::int64_t B = 2, T = 4, S = 3, C = 6, H = 2, F = 5;
  Rng rng(21), places(0);
  const TransformerEncoderLayer encoder(layer_options(), rng);
  const TransformerDecoderLayer decoder(layer_options(), rng);
  const Tensor x = randn({B, T, C}, rng), memory = randn({B, S, C}, rng);
  places.set_state(rng.state());
  const auto attention = [&](std::int64_t keys) {
    dropout(zeros({B * H * keys * T}), 0.3, places);
  };
  const auto sublayer = [&] { dropout(zeros({B * T * C}), 0.3, places); };
  const auto feed_forward = [&] { dropout(zeros({B * T * F}), 0.3, places); };
  encoder(x);
  attention(T), sublayer(), feed_forward(), sublayer();
  CHECK(rng.state() == places.state());
  decoder(x, memory);
  attention(T), sublayer(), attention(S), sublayer(), feed_forward(), sublayer();
  CHECK(rng.state() == places.state());
}

TEST_CASE("Norm is LayerNorm or RMSNorm") {
  Rng rng(19);
  const Tensor x = randn({3, 6}, rng);
  Norm layer({.width = 6, .eps = 1e-3}), rms({.width = 6, .kind = NormKind::rms, .eps = 1e-3});
  Norm no_bias({.width = 6, .bias = false});
  CHECK(names_of(layer) == std::vector<std::string>{"weight", "bias"});
  CHECK(names_of(rms) == std::vector<std::string>{"weight"});
  CHECK(names_of(no_bias) == std::vector<std::string>{"weight"});
  RMSNorm plain(6, 1e-3);
  CHECK(names_of(plain) == std::vector<std::string>{"weight"});
  CHECK(max_difference(layer(x), LayerNorm(6, 1e-3)(x)) == 0);
  CHECK(max_difference(rms(x), plain(x)) == 0);
  CHECK(max_difference(rms(x), x / sqrt(mean(square(x), -1, true) + 1e-3)) <= 1e-6);
  plain.weight.fill(2);
  CHECK(max_difference(plain(x), 2 * rms(x)) <= 1e-6);
}

TEST_CASE("the encoder on packed sequences equals that on padded ones") {
  Rng rng(20);
  TransformerLayerOptions o = layer_options();
  o.dropout = 0;
  const Tensor x = randn({3, 4, 6}, rng);
  const std::vector<std::int64_t> lengths{4, 0, 2};
  const RaggedIndex index(lengths);
  for (const bool causal : {false, true}) {
    o.causal = o.norm_first = causal;
    const TransformerEncoder encoder({.layer = o, .num_layers = 2, .final_norm = causal}, rng);
    const Tensor padded = pack(encoder(x, Mask::lengths(lengths)), index).values;
    CHECK(max_difference(encoder(pack(x, index)).values, padded) <= 1e-5);
  }
}
