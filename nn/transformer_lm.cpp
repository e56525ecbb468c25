#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ragged.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/init.h>
#include <fovea/nn/transformer_lm.h>

#include <algorithm>
#include <cmath>

namespace fovea::nn {
namespace {

using Options = TransformerLMOptions;

Options checked(Options o) {
  check_sizes("TransformerLM",
              {{"vocab", o.vocab}, {"max_len", o.max_len}, {"d_model", o.d_model}});
  checked_range("TransformerLM", "num_layers", o.num_layers, 1, kMaxLayers);
  check_sizes("TransformerLM", {{"window", o.window}, {"dim_feedforward", o.dim_feedforward}}, 0);
  if (o.dim_feedforward == 0) o.dim_feedforward = 4 * o.d_model;
  return o;
}

PositionalOptions added_positions(const Options& o) {
  const Positions kind = o.positions == LmPositions::learned      ? Positions::learned
                         : o.positions == LmPositions::sinusoidal ? Positions::sinusoidal
                                                                  : Positions::none;
  return {.dim = o.d_model, .kind = kind, .max_len = o.max_len};
}

TransformerStackOptions stack(const Options& o) {
  TransformerLayerOptions layer{.d_model = o.d_model, .nhead = o.nhead};
  layer.dim_feedforward = o.dim_feedforward;
  layer.dropout = o.dropout;
  layer.activation = o.activation;
  layer.norm_first = o.norm_first;
  layer.norm = o.norm;
  layer.layer_norm_eps = o.norm_eps;
  layer.bias = o.bias;
  layer.causal = true;
  layer.num_kv_heads = o.num_kv_heads;
  if (o.window > 0) layer.window_left = o.window - 1;
  if (o.positions == LmPositions::rope) layer.rope = o.rope;
  layer.alibi = o.positions == LmPositions::alibi;
  return {.layer = layer, .num_layers = o.num_layers, .final_norm = o.norm_first};
}

void check_ids(const char* op, const Tensor& ids, std::int64_t rank) {
  if (ids.rank() != rank || ids.numel() == 0)
    shape_error(op, "ids {}: must be {} and not empty", ids.shape().str(),
                rank == 1 ? "(B)" : "(B, T)");
}

// h[b, counts[b] - 1]: (B, T, C) -> (B, C)
Tensor last_of_rows(const Tensor& h, const std::vector<std::int64_t>& counts) {
  if (counts.empty()) return select(h, 1, h.dim(1) - 1);
  std::vector<Tensor> rows;
  for (std::int64_t b = 0; b < h.dim(0); ++b)
    rows.push_back(select(select(h, 0, b), 0, counts[static_cast<std::size_t>(b)] - 1));
  return fovea::stack(rows);
}

}  // namespace

const std::vector<std::int64_t>& LmCache::lengths() const {
  if (layers.empty()) state_error("LmCache", "it has no layers: must be of make_cache()");
  return layers[0].lengths();
}

namespace {

void check_layers(const Options& o, const LmCache& cache) {
  if (std::ssize(cache.layers) != o.num_layers)
    value_error("TransformerLM", "a cache of {} layers: must be {}", cache.layers.size(),
                o.num_layers);
}

// ALiBi measures distances from the end of the cache, so a padded chunk must fit into it.
void check_fits(const Options& o, const KvCache& cache, std::int64_t T) {
  const std::int64_t longest = *std::max_element(cache.lengths().begin(), cache.lengths().end());
  if (o.positions == LmPositions::alibi && longest + T > cache.slots())
    state_error("TransformerLM",
                "{} tokens after {} with alibi: must be at most capacity = {} with padding", T,
                longest, cache.slots());
}

// Whether a sequence may be longer than max_len.
bool is_unbounded(const Options& o) {
  return o.window > 0 && o.positions != LmPositions::learned && o.positions != LmPositions::alibi;
}

void check_lengths(const Tensor& ids, const std::vector<std::int64_t>& lengths) {
  if (lengths.empty()) return;
  if (static_cast<std::int64_t>(lengths.size()) != ids.dim(0))
    shape_error("TransformerLM::prefill", "ids {} and {} lengths: must be one per row",
                ids.shape().str(), lengths.size());
  for (const std::int64_t length : lengths)
    if (length < 1 || length > ids.dim(1))
      value_error("TransformerLM::prefill", "length = {} with ids {}: must be from 1 to {}", length,
                  ids.shape().str(), ids.dim(1));
}

}  // namespace

void LmCache::clear() {
  for (KvCache& layer : layers) layer.clear();
}

TransformerLM::TransformerLM(const Options& options, Rng& rng)
    : options_(checked(options)),
      embedding({options_.vocab, options_.d_model}, rng),
      positions(added_positions(options_), rng),
      transformer(stack(options_), rng),
      drop(options_.dropout, rng) {
  const bool sinusoidal = options_.positions == LmPositions::sinusoidal;
  const double stddev = sinusoidal ? 1 / std::sqrt(static_cast<double>(options_.d_model)) : 0.02;
  init::normal(embedding.weight, 0.0, stddev, rng);
  if (options_.tied) return;
  output.emplace(LinearOptions{options_.d_model, options_.vocab, false}, rng);
  init::normal(output->weight, 0.0, 0.02, rng);
}

// --- whole sequences -----------------------------------------------------------------------------

Tensor TransformerLM::embed(const Tensor& ids, const Tensor& at) const {
  Tensor x = embedding(ids);  // (B, T, C)
  if (options_.positions == LmPositions::sinusoidal)
    x = std::sqrt(static_cast<double>(options_.d_model)) * x;
  return drop(positions(x, at));
}

Tensor TransformerLM::hidden(const Tensor& ids) const {
  check_ids("TransformerLM", ids, 2);
  if (ids.dim(1) > options_.max_len)
    value_error("TransformerLM", "{} tokens: must be at most max_len = {}", ids.dim(1),
                options_.max_len);
  return transformer(embed(ids, arange(ids.dim(1))));  // (B, T, C)
}

Tensor TransformerLM::read_out(const Tensor& h) const {
  return linear(h, output ? output->weight : embedding.weight);  // (..., V)
}

Tensor TransformerLM::operator()(const Tensor& ids) const {
  const Scope in(*this);
  return read_out(hidden(ids));
}

Tensor TransformerLM::operator()(const Tensor& ids,
                                 const std::vector<std::int64_t>& lengths) const {
  const Scope in(*this);
  return read_out(pack(hidden(ids), RaggedIndex(lengths)).values);
}

// --- with a cache --------------------------------------------------------------------------------

LmCache TransformerLM::make_cache(std::int64_t B, std::int64_t capacity,
                                  std::int64_t max_chunk) const {
  const std::int64_t most = capacity == 0 ? options_.max_len : capacity;
  if (most > options_.max_len && !is_unbounded(options_))
    value_error("TransformerLM", "a cache of {} tokens: must be at most max_len = {}", most,
                options_.max_len);
  const auto& attention = transformer.layers[0].self_attn.options();
  KvCacheOptions o{.batch_size = B,
                   .num_kv_heads = attention.num_kv_heads,
                   .head_dim = attention.head_dim,
                   .dtype = embedding.weight.dtype()};
  o.window = options_.window;
  if (o.window > 0 && options_.positions != LmPositions::alibi) {
    o.max_chunk = max_chunk;
  } else {
    o.capacity = most;
  }
  LmCache cache;
  for (std::int64_t i = 0; i < options_.num_layers; ++i) cache.layers.emplace_back(o);
  return cache;
}

Tensor TransformerLM::hidden(const Tensor& ids, LmCache& cache,
                             const std::vector<std::int64_t>& counts) const {
  check_layers(options_, cache);
  check_fits(options_, cache.layers[0], ids.dim(1));
  const Tensor at = cache.layers[0].next_positions(ids.dim(1));  // (T) or (B, T)
  Tensor x = embed(ids, at);
  for (std::size_t i = 0; i < cache.layers.size(); ++i) {
    const TransformerEncoderLayer& layer = transformer.layers[i];
    x = layer.forward(
        x, [&](const Tensor& n) { return cache.layers[i].extend(layer.self_attn, n, counts); });
  }
  return transformer.norm ? (*transformer.norm)(x) : x;  // (B, T, C)
}

Tensor TransformerLM::extend(const Tensor& ids, LmCache& cache,
                             const std::vector<std::int64_t>& counts) const {
  const Scope in(*this);
  const NoGrad guard;
  check_ids("TransformerLM::extend", ids, 2);
  return read_out(hidden(ids, cache, counts));
}

Tensor TransformerLM::prefill(const Tensor& ids, LmCache& cache,
                              const std::vector<std::int64_t>& lengths) const {
  const Scope in(*this);
  const NoGrad guard;
  check_ids("TransformerLM::prefill", ids, 2);
  check_lengths(ids, lengths);
  check_layers(options_, cache);
  const std::int64_t T = ids.dim(1);
  const std::int64_t chunk = cache.layers[0].is_ring() ? cache.layers[0].options().max_chunk : T;
  if (chunk >= T) return read_out(last_of_rows(hidden(ids, cache, lengths), lengths));
  // In chunks: the last token of each row may be in another chunk.
  std::vector<Tensor> last(static_cast<std::size_t>(ids.dim(0)));
  for (std::int64_t begin = 0; begin < T; begin += chunk) {
    const std::int64_t n = std::min(chunk, T - begin);
    std::vector<std::int64_t> counts;
    for (std::size_t b = 0; b < last.size(); ++b)
      counts.push_back(std::clamp<std::int64_t>((lengths.empty() ? T : lengths[b]) - begin, 0, n));
    const Tensor h = hidden(narrow(ids, 1, begin, n), cache, counts);  // (B, n, C)
    for (std::size_t b = 0; b < last.size(); ++b)
      if (counts[b] > 0)
        last[b] = select(select(h, 0, static_cast<std::int64_t>(b)), 0, counts[b] - 1);
  }
  return read_out(fovea::stack(last));  // (B, V)
}

Tensor TransformerLM::step(const Tensor& ids, LmCache& cache) const {
  const Scope in(*this);
  const NoGrad guard;
  check_ids("TransformerLM::step", ids, 1);
  return read_out(select(hidden(unsqueeze(ids, 1), cache, {}), 1, 0));  // (B, V)
}

void TransformerLM::visit(Visitor& v) {
  v("embedding", embedding);
  v("positions", positions);
  v("transformer", transformer);
  v("output", output);
  v("drop", drop);
}

// --- generation ----------------------------------------------------------------------------------

std::vector<std::int64_t> generate(const TransformerLM& model, std::span<const std::int64_t> prompt,
                                   const GenerateOptions& options, Rng& rng,
                                   const std::function<bool(std::int64_t)>& on_token) {
  checked_range("generate", "max_tokens", options.max_tokens, 0);
  if (prompt.empty()) value_error("generate", "an empty prompt: must have at least 1 token");
  const auto length = std::ssize(prompt);
  const std::int64_t max_len = model.options().max_len;
  const std::int64_t most = is_unbounded(model.options())
                                ? options.max_tokens
                                : std::min(options.max_tokens, max_len - length + 1);
  std::vector<std::int64_t> tokens;
  if (options.max_tokens == 0) return tokens;
  if (most < 1)
    value_error("generate", "a prompt of {} tokens: must be at most max_len = {}", length, max_len);
  // The last token is not fed back. An unbounded model's cache is a ring buffer.
  const std::int64_t capacity = is_unbounded(model.options()) ? 0 : length + most - 1;
  LmCache cache = model.make_cache(1, capacity);
  Tensor logits = model.prefill(from_data(prompt, {1, length}), cache);  // (1, V)
  for (;;) {
    const std::int64_t token = sample(select(logits, 0, 0), options.sampling, rng);
    if (std::find(options.stop.begin(), options.stop.end(), token) != options.stop.end()) break;
    tokens.push_back(token);
    if ((on_token && !on_token(token)) || std::ssize(tokens) == most) break;
    logits = model.step(from_data(std::vector{token}, {1}), cache);
  }
  return tokens;
}

}  // namespace fovea::nn
