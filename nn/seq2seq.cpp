#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/nn/attention/make.h>
#include <fovea/nn/seq2seq.h>

#include <algorithm>

#include <fmt/ranges.h>

namespace fovea::nn {

namespace {

// Do queries and keys meet as they are? Then their widths must be equal.
bool multiplies(const std::string& attention) {
  return attention == "dot" || attention == "scaled-dot";
}

const Seq2SeqOptions& checked(const Seq2SeqOptions& o) {
  const auto& names = attention_names();
  if (std::find(names.begin(), names.end(), o.attention) == names.end())
    value_error("Seq2Seq", "attention '{}': it must be one of {}", o.attention,
                fmt::join(names, ", "));
  weights_named(o.weights);
  return o;
}

void check_step(const Seq2SeqMemory& memory, const Tensor& ids, const std::vector<Tensor>& state) {
  const std::int64_t B = memory.initial.dim(0), H = memory.initial.dim(1);
  const std::int64_t rows = ids.rank() == 1 ? ids.dim(0) : -1;
  if (rows < 0 || (B == 0 ? rows : rows % B) != 0)
    shape_error("Seq2Seq", "ids {} for {} sentences: they must be (B K)", ids.shape().str(), B);
  if (state.empty() || !(state[0].shape() == Shape{rows, H}))
    state_error("Seq2Seq", "a state of {} tensors for {} hypotheses: the first must be ({}, {})",
                state.size(), rows, rows, H);
}

}  // namespace

const std::vector<std::string>& attention_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all{"none"};
    const auto& step = step_attention_names();
    all.insert(all.end(), step.begin(), step.end());
    return all;
  }();
  return names;
}

Seq2Seq::Seq2Seq(Seq2SeqOptions o, Rng& rng)
    : options_(checked(o)),
      source_embedding({o.source_vocab, o.embed_dim, o.padding_idx}, rng),
      target_embedding({o.target_vocab, o.embed_dim, o.padding_idx}, rng),
      encoder({.input_size = o.embed_dim, .hidden_size = o.hidden_size, .bidirectional = true},
              rng),
      initial({.in_features = attends() ? o.hidden_size : 2 * o.hidden_size,
               .out_features = o.hidden_size},
              rng),
      cell({.input_size = o.embed_dim + context_size(), .hidden_size = o.hidden_size}, rng),
      readout({.in_features = o.embed_dim + o.hidden_size + context_size(),
               .out_features = o.hidden_size},
              rng),
      output({.in_features = o.hidden_size, .out_features = o.target_vocab}, rng),
      drop(o.dropout, rng) {
  if (attends())
    attention =
        make_step_attention(o.attention,
                            {.query_dim = o.hidden_size,
                             .key_dim = multiplies(o.attention) ? o.hidden_size : 2 * o.hidden_size,
                             .attention_dim = o.hidden_size,
                             .weights = weights_named(o.weights),
                             .window = o.window},
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
    return {{}, tanh(initial(both))};
  }
  Tensor keys = encoded.states.values;  // (N, 2H)
  if (multiplies(options_.attention)) {
    const std::vector<Tensor> directions = split(keys, options_.hidden_size, 1);
    keys = directions[0] + directions[1];  // (N, H)
  }
  const Ragged projected{attention->project_keys(keys), tokens.index};  // (N, A)
  return {{pad(projected), pad(encoded.states), Mask::lengths(lengths)},
          tanh(initial(backward_last))};
}

std::vector<Tensor> Seq2Seq::initial_state(const Seq2SeqMemory& memory) const {
  std::vector<Tensor> state{memory.initial};
  if (attention)
    for (Tensor& x : attention->initial_state(memory)) state.push_back(std::move(x));
  return state;
}

// state: the whole, of which the attention has what follows the decoder's own.
Seq2Seq::Context Seq2Seq::look(const Seq2SeqMemory& memory, const Tensor& query,
                               std::vector<Tensor>& state) const {
  const std::int64_t B = memory.initial.dim(0), K = query.dim(0) / std::max<std::int64_t>(1, B);
  const Tensor queries = reshape(query, {B, K, query.dim(1)});
  std::vector<Tensor> remembered(state.begin() + 1, state.end());
  const AttentionOutput seen = attention->attend(queries, memory, remembered);
  std::move(remembered.begin(), remembered.end(), state.begin() + 1);
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
  std::vector<Tensor> state = initial_state(memory);  // (B, H) and the attention's
  for (std::int64_t t = 0; t < T; ++t) {
    Tensor gate = gates[static_cast<std::size_t>(t)];  // (B, 3H)
    if (attention) {
      contexts.push_back(look(memory, state[0], state).context);  // (B, 2H)
      gate = gate + linear(contexts.back(), weight_c, {});
    }
    state[0] = cell.step(gate, state[0]);
    states.push_back(state[0]);
  }
  std::vector<Tensor> seen{pack(stack(states, 1), real).values};         // (N, H)
  if (attention) seen.push_back(pack(stack(contexts, 1), real).values);  // (N, 2H)
  seen.push_back(pack(embedded, real).values);                           // (N, E)
  return logits(seen);                                                   // (N, V)
}

Tensor Seq2Seq::step(const Seq2SeqMemory& memory, const Tensor& ids, std::vector<Tensor>& state,
                     Tensor* weights) const {
  const Scope in(*this);
  check_step(memory, ids, state);
  const Tensor embedded = target_embedding(ids);  // (B K, E)
  std::vector<Tensor> input{embedded}, seen;
  if (attention) {
    const Context looked = look(memory, state[0], state);
    input.push_back(looked.context);
    seen.push_back(looked.context);
    if (weights) *weights = looked.weights;
  }
  state[0] = cell(concat(input, 1), state[0]);
  seen.insert(seen.begin(), state[0]);
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
