// TransformerLM: a decoder-only language model, and token-by-token generation with a cache.
//
// B batch, T tokens, C width, V vocabulary.
#pragma once

#include <fovea/nn/attention/kv_cache.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/positional.h>
#include <fovea/nn/sampling.h>
#include <fovea/nn/transformer_layers.h>

#include <functional>
#include <optional>
#include <span>
#include <vector>

namespace fovea::nn {

/// The position information of the model. With `none` it comes from the causal mask alone (Haviv et
/// al. 2022, Transformer Language Models without Positional Encodings Still Learn Positional
/// Information).
enum class LmPositions { none, learned, sinusoidal, rope, alibi };

struct TransformerLMOptions {
  std::int64_t vocab;             ///< V
  std::int64_t d_model = 256;     ///< C
  std::int64_t nhead = 4;         ///< H
  std::int64_t num_kv_heads = 0;  ///< G; 0: H
  std::int64_t num_layers = 4;
  std::int64_t dim_feedforward = 0;  ///< F; 0: 4 C
  std::int64_t max_len = 1024;       ///< maximum number of tokens of a sequence
  std::int64_t window = 0;           ///< keys visible to a token, the last is its own; 0: all
  LmPositions positions = LmPositions::learned;
  RopeOptions rope = {};  ///< for positions = rope
  bool norm_first = true;
  NormKind norm = NormKind::layer;
  double norm_eps = 1e-5;
  Activation activation = Activation::gelu;
  bool bias = true;
  bool tied = true;  ///< the output projection shares the embedding matrix (Press and Wolf 2017)
  double dropout = 0.1;
};

/// Keys and values of the past tokens: a KvCache for each layer.
struct LmCache {
  std::vector<KvCache> layers;

  const std::vector<std::int64_t>& lengths() const;  ///< (B). StateError without layers
  void clear();
};

/// p(x) = prod_t softmax(W_o norm(layers(embed(x_<t))))
///   embed(x) = dropout(s table[x] + position), s = sqrt(C) with sinusoidal positions, else 1
/// Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3; with
/// RMSNorm, SwiGLU, RoPE and no biases: Touvron et al. 2023, LLaMA, section 2.2.
///
/// Initialization: the embedding table N(0, 0.02^2) (Radford et al. 2018, section 4.1), or N(0,
/// 1/C) with sinusoidal positions, so that tokens and positions have the same magnitude; an output
/// projection that is not tied N(0, 0.02^2), without bias; the layers as TransformerEncoderLayer.
/// ValueError for a vocabulary, length, width or number of layers below 1.
class TransformerLM : public Module {
  TransformerLMOptions options_;  // first: the members below take their sizes from it

 public:
  /// `rng` must outlive the module: dropout draws from it.
  TransformerLM(const TransformerLMOptions& options, Rng& rng);

  /// ids: i64 (B, T)  ->  logits (B, T, V).   Position t predicts token t + 1, and does not depend
  /// on later tokens: padding at the end of a row does not change the logits before it.
  /// ValueError: T above max_len.
  Tensor operator()(const Tensor& ids) const;
  /// The logits of the positions that are not padding: (sum of lengths, V), packed.
  Tensor operator()(const Tensor& ids, const std::vector<std::int64_t>& lengths) const;

  // --- token by token: without gradients ---------------------------------------------------------

  /// For B sequences of up to `capacity` tokens (0: max_len). With a window the cache is a ring
  /// buffer of the size that the window needs, and prefill() runs in chunks of `max_chunk` tokens.
  /// (Except with ALiBi, which needs the keys in order.)
  LmCache make_cache(std::int64_t B, std::int64_t capacity = 0, std::int64_t max_chunk = 16) const;

  /// Appends tokens to the cache and returns the logits of all of them, (B, T, V). counts: (B),
  /// only the first counts[b] tokens of row b are used; the logits of the others are meaningless. T
  /// is at most max_chunk in a ring buffer. Errors as KvCache::append().
  Tensor extend(const Tensor& ids, LmCache& cache,
                const std::vector<std::int64_t>& counts = {}) const;
  /// Appends prompts of any length and returns the logits of the next token: (B, V).
  ///   ids: i64 (B, T)   lengths: (B), 1 to T each, or empty: all T
  Tensor prefill(const Tensor& ids, LmCache& cache,
                 const std::vector<std::int64_t>& lengths = {}) const;
  /// One token for each row.    ids: i64 (B)   ->   (B, V)
  Tensor step(const Tensor& ids, LmCache& cache) const;

  void visit(Visitor& v) override;
  const TransformerLMOptions& options() const { return options_; }

  Embedding embedding;
  PositionalEncoding positions;  ///< learned or sinusoidal
  TransformerEncoder transformer;
  std::optional<Linear> output;  ///< absent if tied
  Dropout drop;

 private:
  Tensor embed(const Tensor& ids, const Tensor& at) const;
  Tensor hidden(const Tensor& ids) const;
  Tensor hidden(const Tensor& ids, LmCache& cache, const std::vector<std::int64_t>& counts) const;
  Tensor read_out(const Tensor& h) const;
};

struct GenerateOptions {
  SamplingOptions sampling = {};
  std::int64_t max_tokens = 256;        ///< maximum number of new tokens
  std::vector<std::int64_t> stop = {};  ///< tokens that end the generation; not in the result
};

/// Generates tokens after a prompt of at least one token. `on_token` is called with each new token,
/// and stops the generation by returning false. Ends early when the model's max_len is reached,
/// unless the model has a window and positions without a limit (none, sinusoidal, rope).
/// Returns all new tokens. ValueError for an empty prompt and for max_tokens < 0.
std::vector<std::int64_t> generate(const TransformerLM& model, std::span<const std::int64_t> prompt,
                                   const GenerateOptions& options, Rng& rng,
                                   const std::function<bool(std::int64_t)>& on_token = {});

}  // namespace fovea::nn
