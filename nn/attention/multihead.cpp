#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/init.h>

namespace fovea::nn {
namespace {

MultiheadAttentionOptions completed(MultiheadAttentionOptions o) {
  constexpr const char* name = "MultiheadAttention";
  check_sizes(name, {{"embed_dim", o.embed_dim}, {"num_heads", o.num_heads}});
  check_sizes(name,
              {{"num_kv_heads", o.num_kv_heads},
               {"kdim", o.kdim},
               {"vdim", o.vdim},
               {"head_dim", o.head_dim}},
              0);
  if (o.num_kv_heads == 0) o.num_kv_heads = o.num_heads;
  if (o.kdim == 0) o.kdim = o.embed_dim;
  if (o.vdim == 0) o.vdim = o.embed_dim;
  if (o.head_dim == 0 && o.embed_dim % o.num_heads != 0)
    value_error("MultiheadAttention",
                "embed_dim = {}: must be a multiple of num_heads = {}, or give head_dim",
                o.embed_dim, o.num_heads);
  if (o.head_dim == 0) o.head_dim = o.embed_dim / o.num_heads;
  if (o.num_heads % o.num_kv_heads != 0)
    value_error("MultiheadAttention", "num_heads = {}: must be a multiple of num_kv_heads = {}",
                o.num_heads, o.num_kv_heads);
  if (!(o.soft_cap >= 0))
    value_error("MultiheadAttention", "soft_cap = {}: must not be negative", o.soft_cap);
  if (!(o.dropout >= 0 && o.dropout < 1))
    value_error("MultiheadAttention", "dropout = {}: must be in [0, 1)", o.dropout);
  return o;
}

Tensor xavier(std::int64_t out, std::int64_t in, Rng& rng) {
  Tensor w = empty({out, in});
  init::xavier_uniform(w, rng);
  return w.set_requires_grad();
}

void check_input(const char* name, const Tensor& x, std::int64_t width) {
  if (x.rank() != 3 || x.dim(2) != width)
    shape_error("MultiheadAttention", "{} {}: must be (batch, length, {})", name, x.shape().str(),
                width);
}

bool same(const Tensor& a, const Tensor& b) { return a.impl() == b.impl(); }

// (B, T, H D) -> (B, H, T, D), a view
Tensor split_heads(const Tensor& x, std::int64_t H, std::int64_t D) {
  return transpose(reshape(x, {x.dim(0), x.dim(1), H, D}), 1, 2);
}

// (B, H, T, D) -> (B, T, H D), a view if the output has the query's memory layout
Tensor join_heads(const Tensor& y) {
  return reshape(transpose(y, 1, 2), {y.dim(0), y.dim(2), y.dim(1) * y.dim(3)});
}

// (1, H, N, D) -> (N, H, D), a view
Tensor rows_of(const Tensor& h) { return transpose(squeeze(h, 0), 0, 1); }

// Splits the rows of a parameter: the gradients are joined by one copy. Undefined stays undefined.
std::vector<Tensor> rows(const Tensor& parameter, const std::vector<std::int64_t>& sizes) {
  return parameter.defined() ? split(parameter, sizes, 0) : std::vector<Tensor>(sizes.size());
}

}  // namespace

MultiheadAttention::MultiheadAttention(const MultiheadAttentionOptions& options, Rng& rng)
    : options_(completed(options)),
      out_proj(
          {.in_features = query_width(), .out_features = options_.embed_dim, .bias = options_.bias},
          rng),
      rng_(&rng) {
  const MultiheadAttentionOptions& o = options_;
  if (o.num_kv_heads == o.num_heads && o.kdim == o.embed_dim && o.vdim == o.embed_dim) {
    in_proj_weight = xavier(3 * query_width(), o.embed_dim, rng);
  } else {
    q_proj_weight = xavier(query_width(), o.embed_dim, rng);
    k_proj_weight = xavier(kv_width(), o.kdim, rng);
    v_proj_weight = xavier(kv_width(), o.vdim, rng);
  }
  if (o.bias) {
    in_proj_bias = zeros({query_width() + 2 * kv_width()}).set_requires_grad();
    out_proj.bias.fill(0);
  }
  if (o.qk_norm) {
    q_norm.emplace(o.head_dim);
    k_norm.emplace(o.head_dim);
  }
  if (o.sinks) sinks = zeros({o.num_heads}).set_requires_grad();
}

// --- projections ---------------------------------------------------------------------------------

Tensor MultiheadAttention::query_heads(const Tensor& projected, const Tensor& positions) const {
  Tensor q = split_heads(projected, options_.num_heads, options_.head_dim);  // (B, H, T, D)
  if (q_norm) q = (*q_norm)(q);
  if (options_.rope)
    q = rope(q, positions.defined() ? positions : arange(q.dim(2)), *options_.rope);
  return q;
}

KeyValue MultiheadAttention::key_value_heads(const Tensor& k_projected, const Tensor& v_projected,
                                             const Tensor& positions) const {
  Tensor k = split_heads(k_projected, options_.num_kv_heads, options_.head_dim);  // (B, G, S, D)
  if (k_norm) k = (*k_norm)(k);
  if (options_.rope)
    k = rope(k, positions.defined() ? positions : arange(k.dim(2)), *options_.rope);
  return {k, split_heads(v_projected, options_.num_kv_heads, options_.head_dim)};
}

Tensor MultiheadAttention::project_query(const Tensor& query) const {
  check_input("query", query, options_.embed_dim);
  const std::vector<std::int64_t> sizes{query_width(), 2 * kv_width()};
  const Tensor weight = in_proj_weight.defined() ? rows(in_proj_weight, sizes)[0] : q_proj_weight;
  return linear(query, weight, rows(in_proj_bias, sizes)[0]);  // (B, T, H D)
}

KeyValue MultiheadAttention::project(const Tensor& key, const Tensor& value,
                                     const Tensor& positions) const {
  const Scope in(*this);
  check_input("key", key, options_.kdim);
  check_input("value", value, options_.vdim);
  const std::int64_t Q = query_width(), KV = kv_width();
  if (in_proj_weight.defined() && same(key, value)) {
    const Tensor both = linear(key, rows(in_proj_weight, {Q, 2 * KV})[1],
                               rows(in_proj_bias, {Q, 2 * KV})[1]);  // (B, S, 2 H D)
    const std::vector<Tensor> kv = split(both, {KV, KV}, -1);
    return key_value_heads(kv[0], kv[1], positions);
  }
  const std::vector<Tensor> w = in_proj_weight.defined()
                                    ? rows(in_proj_weight, {Q, KV, KV})
                                    : std::vector{q_proj_weight, k_proj_weight, v_proj_weight};
  const std::vector<Tensor> b = rows(in_proj_bias, {Q, KV, KV});
  return key_value_heads(linear(key, w[1], b[1]), linear(value, w[2], b[2]), positions);
}

MultiheadAttention::Heads MultiheadAttention::project_self(const Tensor& x,
                                                           const Tensor& positions) const {
  const Scope in(*this);
  check_input("x", x, options_.embed_dim);
  const std::int64_t Q = query_width(), KV = kv_width();
  if (!in_proj_weight.defined()) {
    const std::vector<Tensor> b = rows(in_proj_bias, {Q, KV, KV});
    return {
        query_heads(linear(x, q_proj_weight, b[0]), positions),
        key_value_heads(linear(x, k_proj_weight, b[1]), linear(x, v_proj_weight, b[2]), positions)};
  }
  const Tensor all = linear(x, in_proj_weight, in_proj_bias);  // (B, T, 3 H D)
  const std::vector<Tensor> qkv = split(all, {Q, KV, KV}, -1);
  return {query_heads(qkv[0], positions), key_value_heads(qkv[1], qkv[2], positions)};
}

// --- attention -----------------------------------------------------------------------------------

Mask MultiheadAttention::own_mask() const {
  Mask mask = options_.causal ? Mask::causal(options_.corner) : Mask::none();
  if (options_.window_left >= 0 || options_.window_right >= 0)
    mask = mask & Mask::window(options_.window_left, options_.window_right, options_.corner);
  return mask;
}

AttentionOptions MultiheadAttention::attention_options() const {
  AttentionOptions o;
  o.dropout = training() ? options_.dropout : 0;
  o.rng = rng_;
  o.sinks = sinks;
  if (options_.soft_cap > 0) o.score_mod = ScoreMod::soft_cap(options_.soft_cap);
  if (options_.alibi) {
    const ScoreMod alibi = ScoreMod::alibi(options_.corner);
    o.score_mod = o.score_mod ? o.score_mod.then(alibi) : alibi;
  }
  return o;
}

void MultiheadAttention::notify_observers(const Tensor& q, const Tensor& k, const Mask& mask,
                                          const Tensor& logsumexp) const {
  const Tensor queries = without_graph(q), keys = without_graph(k);
  const AttentionOptions o = attention_options();
  AttentionCall call{.B = q.dim(0),
                     .H = q.dim(1),
                     .T = q.dim(2),
                     .S = k.dim(2),
                     .rows = [=](std::int64_t begin, std::int64_t end) {
                       return attention_weights(queries, keys, mask, o, begin, end);
                     }};
  if (logsumexp.defined())
    call.head_mean = [=, lse = without_graph(logsumexp)] {
      return attention_head_mean(queries, keys, mask, o, lse);
    };
  report(call);
}

bool MultiheadAttention::has_step() const {
  const MultiheadAttentionOptions& o = options_;
  return !o.alibi && o.soft_cap == 0 && !o.sinks && !o.qk_norm && o.kdim == o.embed_dim &&
         o.vdim == o.embed_dim && !(training() && o.dropout > 0);
}

Tensor MultiheadAttention::step(const Tensor& x, const AttentionStepCache& cache) const {
  const Scope in(*this);
  check_input("x", x, options_.embed_dim);
  if (!has_step())
    state_error("MultiheadAttention::step",
                "alibi, soft_cap, sinks, qk_norm, dropout or a kdim or vdim other than embed_dim: "
                "not supported, use attend_heads()");
  return attention_step(x,
                        {.q = in_proj_weight.defined() ? in_proj_weight : q_proj_weight,
                         .k = k_proj_weight,
                         .v = v_proj_weight,
                         .bias = in_proj_bias,
                         .out = out_proj.weight,
                         .out_bias = out_proj.bias,
                         .rope = options_.rope},
                        cache);
}

Tensor MultiheadAttention::attend_heads(const Tensor& q, const KeyValue& kv,
                                        const Mask& mask) const {
  const Scope in(*this);
  const AttentionResult y =
      scaled_dot_product_attention_with_lse(q, kv.k, kv.v, mask, attention_options());
  if (watched()) notify_observers(q, kv.k, mask, y.logsumexp);
  return out_proj(join_heads(y.output));  // (B, H, T, D) -> (B, T, C)
}

Tensor MultiheadAttention::attend(const Tensor& query, const KeyValue& kv, const Mask& mask,
                                  const Tensor& positions) const {
  const Scope in(*this);
  return attend_heads(query_heads(project_query(query), positions), kv, mask & own_mask());
}

Tensor MultiheadAttention::operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                                      const Mask& mask) const {
  if (same(query, key) && same(query, value)) return (*this)(query, mask);
  return attend(query, project(key, value), mask);
}

Tensor MultiheadAttention::operator()(const Tensor& x, const Mask& mask) const {
  const Scope in(*this);
  const Heads heads = project_self(x);
  return attend_heads(heads.q, heads.kv, mask & own_mask());
}

// --- packed sequences ----------------------------------------------------------------------------
// They are projected as a batch of one row, whose positions restart at each sequence.

Tensor MultiheadAttention::rope_positions(const RaggedIndex& index) const {
  return options_.rope ? unsqueeze(positions_in(index), 0) : Tensor();  // (1, N)
}

RaggedKeyValue MultiheadAttention::project(const Ragged& x) const {
  const Tensor row = unsqueeze(x.values, 0);  // (1, N, C)
  const KeyValue kv = project(row, row, rope_positions(x.index));
  return {rows_of(kv.k), rows_of(kv.v), x.index};
}

Ragged MultiheadAttention::attend(const Ragged& query, const RaggedKeyValue& kv,
                                  const Mask& mask) const {
  const Scope in(*this);
  const Tensor projected = project_query(unsqueeze(query.values, 0));  // (1, N, H D)
  const Tensor q = rows_of(query_heads(projected, rope_positions(query.index)));
  return attend_rows({q, query.index}, kv, mask & own_mask());
}

Ragged MultiheadAttention::operator()(const Ragged& x, const Mask& mask) const {
  const Scope in(*this);
  const Heads heads = project_self(unsqueeze(x.values, 0), rope_positions(x.index));
  return attend_rows({rows_of(heads.q), x.index},
                     {rows_of(heads.kv.k), rows_of(heads.kv.v), x.index}, mask & own_mask());
}

// Each query sequence attends only to its own keys.    q: (N, H, D)  ->  (N, C)
Ragged MultiheadAttention::attend_rows(const Ragged& q, const RaggedKeyValue& kv,
                                       const Mask& mask) const {
  const Ragged k{kv.k, kv.index}, v{kv.v, kv.index};
  const AttentionOptions o = attention_options();
  if (watched()) {
    const auto padded = [](const Ragged& h) {  // (N, H, D) -> (B, H, T, D)
      const NoGrad guard;
      return transpose(pad(h), 1, 2);
    };
    report({.B = q.index.batch_size(),
            .H = options_.num_heads,
            .T = q.index.max_length(),
            .S = k.index.max_length(),
            .rows = [padded, q = Ragged{without_graph(q.values), q.index},
                     k = Ragged{without_graph(k.values), k.index}, o,
                     padded_mask = mask & Mask::lengths(k.index.lengths())](std::int64_t begin,
                                                                            std::int64_t end) {
              return attention_weights(padded(q), padded(k), padded_mask, o, begin, end);
            }});
  }
  const Tensor y = scaled_dot_product_attention(q, k, v, mask, o).values;   // (N, H, D)
  return {out_proj(reshape(y, {y.dim(0), y.dim(1) * y.dim(2)})), q.index};  // (N, C)
}

Tensor MultiheadAttention::weights(const Tensor& query, const KeyValue& kv, const Mask& mask,
                                   const Tensor& positions) const {
  const Scope in(*this);
  const NoGrad guard;
  const Tensor q = query_heads(project_query(query), positions);
  return attention_weights(q, kv.k, mask & own_mask(), attention_options(), 0, q.dim(2));
}

void MultiheadAttention::visit(Visitor& v) {
  v("in_proj_weight", in_proj_weight);
  v("q_proj_weight", q_proj_weight);
  v("k_proj_weight", k_proj_weight);
  v("v_proj_weight", v_proj_weight);
  v("in_proj_bias", in_proj_bias);
  v("out_proj", out_proj);
  v("q_norm", q_norm);
  v("k_norm", k_norm);
  v("sinks", sinks);
}

Tensor positions_in(const RaggedIndex& index) {
  Tensor positions = empty({index.total()}, DType::i64);
  auto* position = positions.mutable_data<std::int64_t>();
  for (std::int64_t b = 0; b < index.batch_size(); ++b)
    for (std::int64_t t = 0; t < index.length(b); ++t) *position++ = t;
  return positions;
}

}  // namespace fovea::nn
