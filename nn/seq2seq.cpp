#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/nn/seq2seq.h>

#include <algorithm>

namespace fovea::nn {

Seq2Seq::Seq2Seq(Seq2SeqOptions o, Rng& rng)
    : options_(o),
      source_embedding({o.source_vocab, o.embed_dim, o.padding_idx}, rng),
      target_embedding({o.target_vocab, o.embed_dim, o.padding_idx}, rng),
      encoder({.input_size = o.embed_dim, .hidden_size = o.hidden_size, .bidirectional = true},
              rng),
      initial({.in_features = o.attention ? o.hidden_size : 2 * o.hidden_size,
               .out_features = o.hidden_size},
              rng),
      cell({.input_size = o.embed_dim + context_size(), .hidden_size = o.hidden_size}, rng),
      readout({.in_features = o.embed_dim + o.hidden_size + context_size(),
               .out_features = o.hidden_size},
              rng),
      output({.in_features = o.hidden_size, .out_features = o.target_vocab}, rng),
      drop(o.dropout, rng) {
  if (o.attention)
    attention.emplace(AdditiveAttentionOptions{.query_dim = o.hidden_size,
                                               .key_dim = 2 * o.hidden_size,
                                               .attention_dim = o.hidden_size},
                      rng);
}

Seq2SeqMemory Seq2Seq::encode(const Tensor& ids, const std::vector<std::int64_t>& lengths) const {
  const Scope in(*this);
  const Ragged tokens = pack(ids, RaggedIndex(lengths));
  const Tensor embedded = drop(source_embedding(tokens.values));  // (N, E)
  const GRU::Output encoded = encoder({embedded, tokens.index});  // (N, 2H), (2, B, H)
  const Tensor backward_last = select(encoded.last, 0, 1);        // (B, H)
  if (!attention) {
    const Tensor both = concat({select(encoded.last, 0, 0), backward_last}, 1);
    return {{}, {}, Mask::none(), tanh(initial(both))};
  }
  const Ragged keys{attention->project_keys(encoded.states.values), tokens.index};  // (N, A)
  return {pad(encoded.states), pad(keys), Mask::lengths(lengths), tanh(initial(backward_last))};
}

Seq2Seq::Context Seq2Seq::look(const Seq2SeqMemory& memory, const Tensor& state) const {
  const std::int64_t B = memory.initial.dim(0), K = state.dim(0) / std::max<std::int64_t>(1, B);
  const Tensor queries = reshape(state, {B, K, state.dim(1)});
  const AttentionOutput seen = attention->attend(queries, memory.keys, memory.values, memory.mask);
  return {reshape(seen.context, {B * K, seen.context.dim(2)}), seen.weights};
}

// seen: the states, the contexts if there are any, and the embeddings.
Tensor Seq2Seq::logits(const std::vector<Tensor>& seen) const {
  return output(drop(tanh(readout(concat(seen, -1)))));
}

Tensor Seq2Seq::decode(const Seq2SeqMemory& memory, const Tensor& inputs,
                       const std::vector<std::int64_t>& lengths) const {
  const Scope in(*this);
  const std::int64_t E = options_.embed_dim, T = inputs.dim(1);
  const RaggedIndex real(lengths);
  const Tensor embedded = drop(target_embedding(inputs));  // (B, T, E)
  // The embeddings' half of the cell's input does not depend on the states: all steps in one
  // product.
  const Tensor weight_e = slice(cell.weight_ih, 1, 0, E);                   // (3H, E)
  const Tensor weight_c = slice(cell.weight_ih, 1, E, E + context_size());  // (3H, 2H)
  const std::vector<Tensor> gates = unbind(linear(embedded, weight_e, cell.bias_ih), 1);
  std::vector<Tensor> states, contexts;
  Tensor state = memory.initial;  // (B, H)
  for (std::int64_t t = 0; t < T; ++t) {
    Tensor gate = gates[static_cast<std::size_t>(t)];  // (B, 3H)
    if (attention) {
      contexts.push_back(look(memory, state).context);  // (B, 2H)
      gate = gate + linear(contexts.back(), weight_c, {});
    }
    state = cell.step(gate, state);
    states.push_back(state);
  }
  std::vector<Tensor> seen{pack(stack(states, 1), real).values};         // (N, H)
  if (attention) seen.push_back(pack(stack(contexts, 1), real).values);  // (N, 2H)
  seen.push_back(pack(embedded, real).values);                           // (N, E)
  return logits(seen);                                                   // (N, V)
}

Tensor Seq2Seq::step(const Seq2SeqMemory& memory, const Tensor& ids, Tensor& state,
                     Tensor* weights) const {
  const Scope in(*this);
  const Tensor embedded = target_embedding(ids);  // (B K, E)
  std::vector<Tensor> input{embedded}, seen;
  if (attention) {
    const Context looked = look(memory, state);
    input.push_back(looked.context);
    seen.push_back(looked.context);
    if (weights) *weights = looked.weights;
  }
  state = cell(concat(input, 1), state);
  seen.insert(seen.begin(), state);
  seen.push_back(embedded);
  return logits(seen);  // (B K, V)
}

void Seq2Seq::visit(Visitor& v) {
  v("source_embedding", source_embedding);
  v("target_embedding", target_embedding);
  v("encoder", encoder);
  v("initial", initial);
  v("attention", attention);
  v("cell", cell);
  v("readout", readout);
  v("output", output);
  v("drop", drop);
}

}  // namespace fovea::nn
