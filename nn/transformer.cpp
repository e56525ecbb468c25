#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ragged.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/init.h>
#include <fovea/nn/transformer.h>

#include <algorithm>
#include <cmath>

namespace fovea::nn {
namespace {

TransformerOptions checked(const TransformerOptions& o) {
  if (o.tied == TiedEmbeddings::all && o.source_vocab != o.target_vocab)
    value_error("Transformer", "source_vocab = {}, target_vocab = {}: must be equal for one table",
                o.source_vocab, o.target_vocab);
  checked_range("Transformer", "num_decoder_layers", o.num_decoder_layers, 1, kMaxLayers);
  checked_range("Transformer", "num_encoder_layers", o.num_encoder_layers, 0, kMaxLayers);
  return o;
}

void check_ids(const char* name, const Tensor& ids, const std::vector<std::int64_t>& lengths) {
  if (ids.rank() != 2 || ids.dim(0) != static_cast<std::int64_t>(lengths.size()))
    shape_error("Transformer", "{} {} and {} lengths: must be (B, length) and B", name,
                ids.shape().str(), lengths.size());
}

TransformerStackOptions stack_options(const TransformerOptions& o, std::int64_t num_layers,
                                      bool causal) {
  return {.layer = {.d_model = o.d_model,
                    .nhead = o.nhead,
                    .dim_feedforward = o.dim_feedforward,
                    .dropout = o.dropout,
                    .attention_dropout = o.attention_dropout,
                    .activation = o.activation,
                    .norm_first = o.norm_first,
                    .norm = o.norm,
                    .layer_norm_eps = o.layer_norm_eps,
                    .bias = o.bias,
                    .causal = causal,
                    .num_kv_heads = o.num_kv_heads,
                    .rope = o.rope,
                    .alibi = o.alibi},
          .num_layers = num_layers,
          .final_norm = o.final_norm.value_or(o.norm_first)};
}

// N(0, 1/C); the padding row stays 0.
Embedding make_table(std::int64_t V, const TransformerOptions& o, Rng& rng) {
  Embedding table({V, o.d_model, o.padding_idx}, rng);  // N(0, 1)
  const double stddev = 1.0 / std::sqrt(static_cast<double>(o.d_model));
  table.weight.copy_from(without_graph(table.weight) * stddev);
  return table;
}

PositionalOptions positional(const TransformerOptions& o) {
  return {.dim = o.d_model, .kind = o.positions, .max_len = o.max_length};
}

// Keys only: the weights do not depend on the values.    (N, G, D) -> (B, G, S, D)
KeyValue padded_keys(const RaggedKeyValue& kv) {
  return {transpose(pad({kv.k, kv.index}), 1, 2), {}};
}

// Initializes every matrix, as torch.nn.Transformer does.
void xavier_matrices(Module& module, Rng& rng) {
  for (auto& [name, parameter] : module.parameters())
    if (parameter.rank() > 1) init::xavier_uniform(parameter, rng);
}

}  // namespace

Transformer::Transformer(const TransformerOptions& o, Rng& rng)
    : options_(checked(o)),
      source_embedding(make_table(o.source_vocab, o, rng)),
      target_embedding(make_table(o.target_vocab, o, rng)),
      source_positions(positional(o), rng),
      target_positions(positional(o), rng),
      encoder(stack_options(o, o.num_encoder_layers, false), rng),
      decoder(stack_options(o, o.num_decoder_layers, true), rng),
      output({.in_features = o.d_model,
              .out_features = o.target_vocab,
              .bias = o.bias && o.tied == TiedEmbeddings::none},
             rng),
      drop(o.dropout, rng) {
  xavier_matrices(encoder, rng);
  xavier_matrices(decoder, rng);
  if (o.tied == TiedEmbeddings::all) target_embedding.weight = source_embedding.weight;
  if (o.tied != TiedEmbeddings::none) output.weight = target_embedding.weight;
}

Tensor Transformer::embed(const Embedding& table, const PositionalEncoding& add, const Tensor& ids,
                          const Tensor& positions) const {
  const Tensor x = table(ids) * std::sqrt(static_cast<double>(options_.d_model));  // (B, T, C)
  return drop(add(x, positions));
}

TransformerMemory Transformer::encode(const Tensor& ids,
                                      const std::vector<std::int64_t>& lengths) const {
  const Scope in(*this);
  check_ids("ids", ids, lengths);
  const Ragged tokens = pack(ids, RaggedIndex(lengths));
  const Tensor x = embed(source_embedding, source_positions, unsqueeze(tokens.values, 0),
                         unsqueeze(positions_in(tokens.index), 0));  // (1, N, C)
  const Ragged y = encoder(Ragged{squeeze(x, 0), tokens.index});     // (N, C)
  TransformerMemory memory;
  for (const TransformerDecoderLayer& layer : decoder.layers)
    memory.layers.push_back(layer.multihead_attn.project(y));
  return memory;
}

Tensor Transformer::decode(const TransformerMemory& memory, const Tensor& inputs,
                           const std::vector<std::int64_t>& lengths) const {
  const Scope in(*this);
  check_memory(memory);
  check_ids("inputs", inputs, lengths);
  const Ragged tokens = pack(inputs, RaggedIndex(lengths));
  const RaggedIndex& index = tokens.index;
  Tensor x = squeeze(embed(target_embedding, target_positions, unsqueeze(tokens.values, 0),
                           unsqueeze(positions_in(index), 0)),
                     0);  // (N, C)
  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    const TransformerDecoderLayer& layer = decoder.layers[i];
    x = layer.forward(
        x,
        [&](const Tensor& n) {
          return layer.self_attn(Ragged{n, index}).values;
        },
        [&](const Tensor& n) {
          return layer.multihead_attn.attend(Ragged{n, index}, memory.layers[i]).values;
        });
  }
  return output(decoder.norm ? (*decoder.norm)(x) : x);  // (N, V)
}

void Transformer::check_memory(const TransformerMemory& memory) const {
  if (memory.layers.size() != decoder.layers.size())
    value_error("Transformer", "memory of {} layers: must be of encode(), with {} layers",
                memory.layers.size(), decoder.layers.size());
}

std::vector<Tensor> Transformer::initial_state(const TransformerMemory& memory) const {
  const Scope in(*this);
  check_memory(memory);
  std::vector<Tensor> state;
  for (std::size_t i = 0; i < decoder.layers.size(); ++i) {
    const MultiheadAttentionOptions& o = decoder.layers[i].self_attn.options();
    const RaggedKeyValue& source = memory.layers[i];
    for (int kv = 0; kv < 2; ++kv)
      state.push_back(
          empty({source.index.batch_size(), o.num_kv_heads, 0, o.head_dim}, source.k.dtype()));
  }
  return state;
}

Tensor Transformer::step(const TransformerMemory& memory, const Tensor& ids,
                         std::vector<Tensor>& state, Tensor* weights) const {
  const Scope in(*this);
  check_memory(memory);
  const std::size_t layers = decoder.layers.size();
  const std::int64_t B = memory.layers[0].index.batch_size(), rows = ids.dim(0),
                     C = options_.d_model;
  const std::int64_t K = rows / std::max<std::int64_t>(1, B);
  if (state.size() != 2 * layers || rows != B * K)
    shape_error("Transformer",
                "{} hypotheses of {} sentences and a state of {} tensors: must be B K, B, {}", rows,
                B, state.size(), 2 * layers);
  const std::int64_t t = state[0].dim(2);
  const Tensor position = full({1}, static_cast<double>(t), DType::i64);
  Tensor x = embed(target_embedding, target_positions, unsqueeze(ids, 1), position);  // (B K, 1, C)
  for (std::size_t i = 0; i < layers; ++i) {
    const TransformerDecoderLayer& layer = decoder.layers[i];
    const MultiheadAttention& cross = layer.multihead_attn;
    x = layer.forward(
        x,
        [&](const Tensor& n) {
          const MultiheadAttention::Heads heads = layer.self_attn.project_self(n, position);
          Tensor& k = state[2 * i];
          Tensor& v = state[2 * i + 1];
          k = concat({k, heads.kv.k}, 2);  // (B K, G, t + 1, D)
          v = concat({v, heads.kv.v}, 2);
          return layer.self_attn.attend_heads(heads.q, {k, v}, Mask::none());
        },
        [&](const Tensor& n) {  // the K hypotheses are queries of one sentence
          const RaggedKeyValue& source = memory.layers[i];
          if (weights && i == (layers > 1 ? layers - 2 : 0))
            *weights = mean(cross.weights(reshape(n, {B, K, C}), padded_keys(source),
                                          Mask::lengths(source.index.lengths())),
                            1);  // (B, K, S)
          const Ragged queries{squeeze(n, 1), RaggedIndex::equal(B, K)};
          return unsqueeze(cross.attend(queries, source).values, 1);  // (B K, 1, C)
        });
  }
  const Tensor y = squeeze(x, 1);                        // (B K, C)
  return output(decoder.norm ? (*decoder.norm)(y) : y);  // (B K, V)
}

void Transformer::visit(Visitor& v) {
  v("source_embedding", source_embedding);
  v("target_embedding", target_embedding);
  v("source_positions", source_positions);
  v("target_positions", target_positions);
  v("encoder", encoder);
  v("decoder", decoder);
  v("output", output);
  v("drop", drop);
}

}  // namespace fovea::nn
