// TransformerLM: a decoder-only language model, and its use token by token with a cache.
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

/// How the model knows where a token stands. With `none` only the causal mask tells it (Haviv et
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
  std::int64_t max_len = 1024;       ///< tokens of a sequence at most
  std::int64_t window = 0;           ///< keys that a token sees, itself the last; 0: all before it
  LmPositions positions = LmPositions::learned;
  RopeOptions rope = {};  ///< for positions = rope
  bool norm_first = true;
  NormKind norm = NormKind::layer;
  double norm_eps = 1e-5;
  Activation activation = Activation::gelu;
  bool bias = true;
  bool tied = true;  ///< the read-out's matrix is the embedding's (Press and Wolf 2017)
  double dropout = 0.1;
};

/// What a model remembers of the tokens so far: a KvCache for each layer.
struct LmCache {
  std::vector<KvCache> layers;

  const std::vector<std::int64_t>& lengths() const { return layers[0].lengths(); }  ///< (B)
  void clear();
};

/// p(x) = prod_t softmax(W_o norm(layers(embed(x_<t))))
///   embed(x) = dropout(s table[x] + position), s = sqrt(C) with sinusoidal positions, else 1
/// Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3; with
/// RMSNorm, SwiGLU, RoPE and no biases: Touvron et al. 2023, LLaMA, section 2.2.
///
/// Starts: the table N(0, 0.02^2) (Radford et al. 2018, section 4.1), or N(0, 1/C) with sinusoidal
/// positions, so that tokens and positions weigh alike; a read-out that is not tied N(0, 0.02^2),
/// without bias; the layers as TransformerEncoderLayer's. ValueError for a vocabulary, length,
/// width or number of layers below 1.
class TransformerLM : public Module {
  TransformerLMOptions options_;  // first: the members below are sized by it

 public:
  /// `rng` must outlive the module: dropout draws from it.
  TransformerLM(const TransformerLMOptions& options, Rng& rng);

  /// ids: i64 (B, T)  ->  logits (B, T, V).   Token t's logits are those of token t + 1, and do not
  /// depend on later tokens: padding at the ends changes nothing before it. ValueError: T above
  /// max_len.
  Tensor operator()(const Tensor& ids) const;
  /// Of the real positions alone: (sum of lengths, V), packed.
  Tensor operator()(const Tensor& ids, const std::vector<std::int64_t>& lengths) const;

  // --- token by token: without gradients ---------------------------------------------------------

  /// For B sequences of up to `capacity` tokens (0: max_len). With a window the cache is a ring: it
  /// holds no more than the window needs, and prefill() goes in pieces of `max_chunk`. (Not so with
  /// ALiBi, which needs the keys in order.)
  LmCache make_cache(std::int64_t B, std::int64_t capacity = 0, std::int64_t max_chunk = 16) const;

  /// Adds tokens to the cache and gives the logits of all of them, (B, T, V). counts: (B), of row b
  /// only the first counts[b] tokens are real; the others' logits mean nothing. T at most
  /// max_chunk in a ring. Errors as KvCache::append().
  Tensor extend(const Tensor& ids, LmCache& cache,
                const std::vector<std::int64_t>& counts = {}) const;
  /// Adds prompts of any length and gives the logits of what comes next: (B, V).   ids: i64 (B, T)
  /// lengths: (B), 1 to T each, or empty: all T
  Tensor prefill(const Tensor& ids, LmCache& cache,
                 const std::vector<std::int64_t>& lengths = {}) const;
  /// One token for each row.    ids: i64 (B)   ->   (B, V)
  Tensor step(const Tensor& ids, LmCache& cache) const;

  void visit(Visitor& v) override;
  const TransformerLMOptions& options() const { return options_; }

  Embedding embedding;
  PositionalEncoding positions;  ///< learned or sinusoidal ones
  TransformerEncoder transformer;
  std::optional<Linear> output;  ///< absent if tied
  Dropout drop;

 private:
  Tensor embed(const Tensor& ids, const Tensor& places) const;
  Tensor hidden(const Tensor& ids) const;
  Tensor hidden(const Tensor& ids, LmCache& cache, const std::vector<std::int64_t>& counts) const;
  Tensor read_out(const Tensor& h) const;
};

struct GenerateOptions {
  SamplingOptions sampling = {};
  std::int64_t max_tokens = 256;        ///< new ones
  std::vector<std::int64_t> stop = {};  ///< ends with one of these, which is not given
};

/// Goes on from a prompt of one token or more: `on_token` is told each new one as it comes, and
/// ends it by false. Stops early where the model's max_len is reached, unless it has a window and
/// positions without end (none, sinusoidal, rope).
/// Gives all new tokens. ValueError for an empty prompt and for max_tokens < 0.
std::vector<std::int64_t> generate(const TransformerLM& model, std::span<const std::int64_t> prompt,
                                   const GenerateOptions& options, Rng& rng,
                                   const std::function<bool(std::int64_t)>& on_token = {});

}  // namespace fovea::nn
