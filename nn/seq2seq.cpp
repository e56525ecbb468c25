#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/step_linear.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/make.h>
#include <fovea/nn/seq2seq.h>

#include <algorithm>

#include <fmt/ranges.h>

namespace fovea::nn {

namespace {

// Whether the score multiplies queries and keys without projections: their widths must be equal.
bool needs_equal_widths(const std::string& attention) {
  return attention == "dot" || attention == "scaled-dot";
}

const Seq2SeqOptions& checked(const Seq2SeqOptions& o) {
  check_sizes("Seq2Seq", {{"source_vocab", o.source_vocab},
                          {"target_vocab", o.target_vocab},
                          {"embed_dim", o.embed_dim},
                          {"hidden_size", o.hidden_size}});
  const auto& names = attention_names();
  if (std::find(names.begin(), names.end(), o.attention) == names.end())
    value_error("Seq2Seq", "attention '{}': must be one of {}", o.attention,
                fmt::join(names, ", "));
  if (normalizer_from_name(o.weights) != AttentionNormalizer::softmax && o.attention == "none")
    value_error("Seq2Seq", "weights '{}' with attention 'none': must be softmax", o.weights);
  if (o.coverage && o.attention == "none")  // other names: make_decoder_attention() checks them
    value_error("Seq2Seq", "coverage with attention 'none': must be 'additive'");
  return o;
}

// decoder_tensors: the number of state tensors of the decoder, without those of the attention.
void check_step(const Seq2SeqMemory& memory, const Tensor& ids, const std::vector<Tensor>& state,
                std::size_t decoder_tensors) {
  const std::int64_t B = memory.initial.dim(0), H = memory.initial.dim(1);
  const std::int64_t rows = ids.rank() == 1 ? ids.dim(0) : -1;
  if (rows < 0 || (B == 0 ? rows : rows % B) != 0)
    shape_error("Seq2Seq", "ids {} for {} sentences: must be (B K)", ids.shape().str(), B);
  bool fits = state.size() >= decoder_tensors;
  for (std::size_t i = 0; fits && i < decoder_tensors; ++i)
    fits = state[i].shape() == Shape{rows, H};
  if (!fits)
    state_error("Seq2Seq", "a state of {} tensors for {} hypotheses: the first {}must be ({}, {})",
                state.size(), rows, decoder_tensors > 1 ? "two " : "", rows, H);
}

}  // namespace

const std::vector<std::string>& attention_names() {
  static const std::vector<std::string> names = [] {
    std::vector<std::string> all{"none"};
    const auto& step = decoder_attention_names();
    all.insert(all.end(), step.begin(), step.end());
    return all;
  }();
  return names;
}

Seq2Seq::Seq2Seq(Seq2SeqOptions o, Rng& rng)
    : options_(checked(o)),
      source_embedding({o.source_vocab, o.embed_dim, o.padding_idx}, rng),
      target_embedding({o.target_vocab, o.embed_dim, o.padding_idx}, rng),
      encoder({.input_size = o.embed_dim,
               .hidden_size = o.hidden_size,
               .bidirectional = true,
               .recompute = o.recompute},
              rng),
      initial({.in_features = attends() ? o.hidden_size : 2 * o.hidden_size,
               .out_features = o.hidden_size},
              rng),
      cell({.input_size = o.embed_dim + context_size() + fed_size(), .hidden_size = o.hidden_size},
           rng),
      readout({.in_features = o.embed_dim + o.hidden_size + context_size(),
               .out_features = o.hidden_size},
              rng),
      output({.in_features = o.hidden_size, .out_features = o.target_vocab}, rng),
      drop(o.dropout, rng) {
  if (attends())
    attention = make_decoder_attention(
        o.attention,
        {.query_dim = o.hidden_size,
         .key_dim = needs_equal_widths(o.attention) ? o.hidden_size : 2 * o.hidden_size,
         .attention_dim = o.hidden_size,
         .weights = normalizer_from_name(o.weights),
         .window = o.window,
         .num_heads = o.heads,
         .value_dim = 2 * o.hidden_size,
         .coverage = o.coverage},
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
  if (needs_equal_widths(options_.attention)) {
    const std::vector<Tensor> directions = split(keys, options_.hidden_size, 1);
    keys = directions[0] + directions[1];  // (N, H)
  }
  const Ragged projected{attention->project_keys(keys), tokens.index};  // (N, A)
  const Ragged values{attention->project_values(encoded.states.values), tokens.index};
  return {{pad(projected), pad(values), Mask::lengths(lengths)}, tanh(initial(backward_last))};
}

std::vector<Tensor> Seq2Seq::initial_state(const Seq2SeqMemory& memory) const {
  std::vector<Tensor> state{memory.initial};
  if (feeds()) state.push_back(zeros(memory.initial.shape(), memory.initial.dtype()));
  if (attention)
    for (Tensor& x : attention->initial_state(memory)) state.push_back(std::move(x));
  return state;
}

// Attention with the decoder's state before the step as query. The attention's state comes last.
Seq2Seq::Context Seq2Seq::attend(const Seq2SeqMemory& memory, std::vector<Tensor>& state) const {
  if (!attention) return {};
  const std::int64_t B = memory.initial.dim(0), H = memory.initial.dim(1);
  const std::int64_t K = state[0].dim(0) / std::max<std::int64_t>(1, B);
  const auto rest = state.begin() + (feeds() ? 2 : 1);
  std::vector<Tensor> attention_state(rest, state.end());
  const Tensor queries = reshape(state[0], {B, K, H});
  const AttentionOutput attended = attention->attend(queries, memory, attention_state);
  std::move(attention_state.begin(), attention_state.end(), rest);
  return {reshape(attended.context, {B * K, attended.context.dim(2)}), attended.weights};
}

// r = tanh(W_r [s; c; e]), for any number of rows.
Tensor Seq2Seq::read(const Tensor& state, const Tensor& context, const Tensor& embedded) const {
  std::vector<Tensor> inputs{state, embedded};
  if (attention) inputs.insert(inputs.begin() + 1, context);
  return tanh(readout(concat(inputs, -1)));
}

// The result of decode() for T = 0.
Tensor Seq2Seq::no_steps(const Seq2SeqMemory& memory, Tensor* weights) const {
  const std::int64_t B = memory.initial.dim(0);
  const DType dtype = memory.initial.dtype();
  if (weights && attention) *weights = zeros({B, 0, memory.values.dim(1)}, dtype);
  return zeros({0, options_.target_vocab}, dtype);
}

Tensor Seq2Seq::decode(const Seq2SeqMemory& memory, const Tensor& inputs,
                       const std::vector<std::int64_t>& lengths, Tensor* weights) const {
  const Scope in(*this);
  const RaggedIndex index(lengths);
  if (inputs.rank() == 2 && inputs.dim(1) == 0 && index.total() == 0)
    return no_steps(memory, weights);
  const Tensor embedded = drop(target_embedding(inputs));  // (B, T, E)
  StepLinear input_gates(embedded, cell.weight_ih, cell.bias_ih);
  const std::vector<Tensor> words = feeds() ? unbind(embedded, 1) : std::vector<Tensor>();
  std::vector<Tensor> states, contexts, reads, step_weights;
  std::vector<Tensor> state = initial_state(memory);  // s, r if fed, then the attention's
  for (std::int64_t t = 0; t < inputs.dim(1); ++t) {
    const Context attended = attend(memory, state);
    Tensor late_input = attended.context;  // (B, 2H)
    if (feeds()) late_input = attention ? concat({late_input, state[1]}, 1) : state[1];
    state[0] = cell.step(input_gates(late_input), state[0]);
    if (feeds()) state[1] = read(state[0], attended.context, words[static_cast<std::size_t>(t)]);
    states.push_back(state[0]);
    if (attention) contexts.push_back(attended.context);    // (B, 2H)
    if (feeds()) reads.push_back(state[1]);                 // (B, H)
    if (weights) step_weights.push_back(attended.weights);  // (B, 1, S)
  }
  if (weights && attention) *weights = concat(step_weights, 1);  // (B, T, S)
  const auto packed = [&](const std::vector<Tensor>& steps) {
    return pack(stack(steps, 1), index).values;  // (N, .)
  };
  const Tensor read_out = feeds() ? packed(reads)
                                  : read(packed(states), attention ? packed(contexts) : Tensor(),
                                         pack(embedded, index).values);  // (N, H)
  return output(drop(read_out));                                         // (N, V)
}

Tensor Seq2Seq::step(const Seq2SeqMemory& memory, const Tensor& ids, std::vector<Tensor>& state,
                     Tensor* weights) const {
  const Scope in(*this);
  check_step(memory, ids, state, feeds() ? 2 : 1);
  const Tensor embedded = target_embedding(ids);  // (B K, E)
  const Context attended = attend(memory, state);
  std::vector<Tensor> input{embedded};
  if (attention) input.push_back(attended.context);
  if (feeds()) input.push_back(state[1]);
  state[0] = cell(concat(input, 1), state[0]);
  const Tensor read_out = read(state[0], attended.context, embedded);  // (B K, H)
  if (feeds()) state[1] = read_out;
  if (weights && attention) *weights = attended.weights;
  return output(drop(read_out));  // (B K, V)
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
