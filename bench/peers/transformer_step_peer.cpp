// libtorch peer of transformer_step_bench: encoder-decoder, post-norm, in the fastest way of
// libtorch's C++ API, with scaled_dot_product_attention (the C++ Transformer always computes the
// score matrix). No masks without padding; decoder self-attention has only the causal mask.
//   B sentences, S and T words, C width, H heads, D head width, F feed-forward width, V vocabulary
#include <fovea/bench/peers/attention.h>
#include <fovea/bench/peers/fill.h>
#include <fovea/bench/peers/sgemm.h>
#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <cmath>
#include <string>
#include <vector>

#include <torch/torch.h>

namespace {

namespace nn = torch::nn;
using torch::Tensor;
using namespace workloads::transformer_step;
using Mask = c10::optional<Tensor>;
constexpr std::int64_t D = C / H;
constexpr double p = workloads::transformer_step::dropout;

struct AttentionImpl : nn::Module {
  Tensor in_proj_weight = register_parameter("in_proj_weight", torch::empty({3 * C, C}));
  Tensor in_proj_bias = register_parameter("in_proj_bias", torch::empty({3 * C}));
  nn::Linear out_proj{C, C};

  AttentionImpl() { register_module("out_proj", out_proj); }

  // x: (B, T, C)  ->  part * (B, H, T, D), the parts of the projection from `begin` on
  std::vector<Tensor> heads(const Tensor& x, std::int64_t begin, std::int64_t parts) {
    const std::int64_t from = begin * C, to = (begin + parts) * C;
    std::vector<Tensor> all =
        torch::linear(x, in_proj_weight.slice(0, from, to), in_proj_bias.slice(0, from, to))
            .split(C, 2);
    for (Tensor& h : all) h = h.view({x.size(0), x.size(1), H, D}).transpose(1, 2);
    return all;
  }
  Tensor attend(const Tensor& q, const Tensor& k, const Tensor& v, const Mask& mask, bool causal) {
    const Tensor y = peers::attention(q, k, v, mask, is_training() ? p : 0, causal);
    return out_proj(y.transpose(1, 2).reshape({y.size(0), y.size(2), C}));
  }

  Tensor of_itself(const Tensor& x, const Mask& mask, bool causal) {
    const std::vector<Tensor> qkv = heads(x, 0, 3);
    return attend(qkv[0], qkv[1], qkv[2], mask, causal);
  }
  Tensor of(const Tensor& x, const Tensor& memory, const Mask& mask) {
    const std::vector<Tensor> q = heads(x, 0, 1), kv = heads(memory, 1, 2);
    return attend(q[0], kv[0], kv[1], mask, false);
  }
};
TORCH_MODULE(Attention);

nn::LayerNorm norm_layer() { return nn::LayerNorm(nn::LayerNormOptions({C}).eps(eps)); }

struct LayerImpl : nn::Module {
  Attention self_attn, multihead_attn{nullptr};
  nn::Linear linear1{C, F}, linear2{F, C};
  nn::LayerNorm norm1 = norm_layer(), norm2 = norm_layer(), norm3{nullptr};

  explicit LayerImpl(bool decoder) {
    register_module("self_attn", self_attn);
    register_module("linear1", linear1);
    register_module("linear2", linear2);
    register_module("norm1", norm1);
    register_module("norm2", norm2);
    if (!decoder) return;
    multihead_attn = register_module("multihead_attn", Attention());
    norm3 = register_module("norm3", norm_layer());
  }

  Tensor drop(const Tensor& x) { return torch::dropout(x, p, is_training()); }
  Tensor feed_forward(const Tensor& x) { return linear2(drop(torch::relu(linear1(x)))); }

  Tensor encode(const Tensor& x, const Mask& mask) {
    const Tensor h = norm1(x + drop(self_attn->of_itself(x, mask, false)));
    return norm2(h + drop(feed_forward(h)));
  }
  Tensor decode(const Tensor& x, const Tensor& memory, const Mask& mask) {
    const Tensor h1 = norm1(x + drop(self_attn->of_itself(x, {}, true)));
    const Tensor h2 = norm2(h1 + drop(multihead_attn->of(h1, memory, mask)));
    return norm3(h2 + drop(feed_forward(h2)));
  }
};
TORCH_MODULE(Layer);

struct StackImpl : nn::Module {
  nn::ModuleList list;
  nn::LayerNorm norm = norm_layer();

  explicit StackImpl(bool decoder) {
    for (std::int64_t i = 0; i < layers; ++i) list->push_back(Layer(decoder));
    register_module("layers", list);
    register_module("norm", norm);
  }
};
TORCH_MODULE(Stack);

// p(m, 2 i) = sin(m 10000^(-2 i / C)), p(m, 2 i + 1) = cos(...)   ->   (T, C)
Tensor positions() {
  const Tensor rates = torch::exp(torch::arange(0, C, 2, torch::kDouble) *
                                  (-std::log(1e4) / static_cast<double>(C)));
  const Tensor angles = torch::outer(torch::arange(T, torch::kDouble), rates);  // (T, C / 2)
  return torch::stack({angles.sin(), angles.cos()}, 2).view({T, C}).to(torch::kFloat);
}

struct TranslatorImpl : nn::Module {
  nn::Embedding source_embedding{nn::EmbeddingOptions(V, C).padding_idx(0)};
  nn::Embedding target_embedding{nn::EmbeddingOptions(V, C).padding_idx(0)};
  Stack encoder{false}, decoder{true};
  nn::Linear output{C, V};
  Tensor places = positions();

  TranslatorImpl() {
    register_module("source_embedding", source_embedding);
    register_module("target_embedding", target_embedding);
    register_module("encoder", encoder);
    register_module("decoder", decoder);
    register_module("output", output);
  }

  Tensor embed(nn::Embedding& table, const Tensor& ids) {
    return torch::dropout(table(ids) * std::sqrt(1.0 * C) + places, p, is_training());
  }
  /// source: (B, S), previous: (B, T), mask: (B, 1, 1, S) false at padding, or none -> (B, T, V)
  Tensor forward(const Tensor& source, const Tensor& previous, const Mask& mask) {
    Tensor x = embed(source_embedding, source);
    for (const auto& layer : *encoder->list) x = layer->as<Layer>()->encode(x, mask);
    const Tensor memory = encoder->norm(x);
    Tensor y = embed(target_embedding, previous);
    for (const auto& layer : *decoder->list) y = layer->as<Layer>()->decode(y, memory, mask);
    return output(decoder->norm(y));
  }
};
TORCH_MODULE(Translator);

// Words, 0 after the end of each row.
Tensor word_matrix(const char* name, const std::vector<std::int64_t>& lengths, std::int64_t more) {
  const std::int64_t columns = T + more;
  const auto words = workloads::words(name, static_cast<std::size_t>(B * columns), V);
  const Tensor ends = torch::tensor(lengths).unsqueeze(1) + more;  // (B, 1)
  const Tensor behind = torch::arange(columns).unsqueeze(0).ge(ends);
  return torch::tensor(words).view({B, columns}).masked_fill(behind, 0);
}

void time_training(peers::Stopwatch& stopwatch, bool ragged) {
  if (!stopwatch.wants(name_of(ragged))) return;
  Translator model;
  peers::fill_parameters(*model, [](const std::string&) { return bound; });
  torch::optim::AdamW adam(model->parameters(),
                           torch::optim::AdamWOptions(learning_rate).weight_decay(weight_decay));
  const Tensor source = word_matrix("source_words", source_lengths(ragged), 0);
  const Tensor sentence = word_matrix("target_words", target_lengths(ragged), 1);
  const Tensor previous = sentence.slice(1, 0, T).contiguous();
  const Tensor next = sentence.slice(1, 1).contiguous().view(-1);
  const auto to_loss =
      nn::functional::CrossEntropyFuncOptions().ignore_index(0).label_smoothing(smoothing);
  Mask mask;
  if (ragged) mask = source.ne(0).view({B, 1, 1, T});

  const auto step = [&] {
    adam.zero_grad();
    const Tensor logits = model(source, previous, mask).view({-1, V});
    const Tensor loss = nn::functional::cross_entropy(logits, next, to_loss);
    loss.backward();
    adam.step();
    return loss.item<double>();
  };
  peers::Checks checks;
  model->eval();
  for (int i = 1; i <= checked_steps; ++i) {
    checks["loss_" + std::to_string(i)] = step();
    if (i == 1) checks["result_gradient"] = peers::gradient_norm(*model);
  }
  model->train();
  checks["extra_peak_MB"] = peers::peak_megabytes(step);
  stopwatch.time(name_of(ragged), checks, step);
}

}  // namespace

int main(int argc, char** argv) {
  peers::Stopwatch stopwatch(argc, argv);
  for (const bool ragged : {false, true}) time_training(stopwatch, ragged);
  peers::time_sgemm(stopwatch);
}
