// Recurrent encoder-decoder, with additive attention (Bahdanau et al. 2015) or without.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/nn/attention/additive.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/recurrent.h>

#include <optional>

namespace fovea::nn {

struct Seq2SeqOptions {
  std::int64_t source_vocab;       ///< V of the source
  std::int64_t target_vocab;       ///< V of the target
  std::int64_t embed_dim = 256;    ///< E
  std::int64_t hidden_size = 256;  ///< H; the encoder has H in each direction
  bool attention = true;           ///< false: the decoder sees its first state alone
  double dropout = 0.0;            ///< on embeddings and before the read-out
  std::int64_t padding_idx = 0;
};

/// What the decoder looks at, computed once for each sentence.
struct Seq2SeqMemory {
  Tensor values;   ///< (B, S, 2H): the encoder's states; undefined without attention
  Tensor keys;     ///< (B, S, A): their projection; undefined without attention
  Mask mask;       ///< over the source lengths
  Tensor initial;  ///< (B, H): the decoder's first state
};

/// p(y | x) = prod_t softmax(W_o tanh(W_r [s_t; c_t; e_t]))
///   encoder   h = biGRU(embed(x))                    s_0 = tanh(W_i h_1 of the backward direction)
///   decoder   c_t = attend(s_{t-1}, h),  s_t = GRUCell([e_t; c_t], s_{t-1}),  e_t = embed(y_{t-1})
/// Differs from the paper, as most later systems do, in W_r being a tanh layer and not maxout.
/// Without attention there is no c_t, and s_0 is made from the last states of both directions: all
/// that the decoder knows of the sentence (Sutskever et al. 2014, Sequence to Sequence Learning).
class Seq2Seq : public Module {
  Seq2SeqOptions options_;  // first: the members below are sized by it

 public:
  Seq2Seq(Seq2SeqOptions options, Rng& rng);

  /// ids: i64 (B, S), padded; lengths: of the sources, each >= 1.
  Seq2SeqMemory encode(const Tensor& ids, const std::vector<std::int64_t>& lengths) const;

  /// Teacher forcing: the logits of every real target position.
  /// inputs: i64 (B, T), <bos> first; lengths: of the targets  ->  (sum of lengths, V), packed
  Tensor decode(const Seq2SeqMemory& memory, const Tensor& inputs,
                const std::vector<std::int64_t>& lengths) const;

  /// One step for K hypotheses of each sentence.
  /// ids: i64 (B K)  state: (B K, H), replaced  ->  logits (B K, V).  weights: if given, (B, K, S)
  Tensor step(const Seq2SeqMemory& memory, const Tensor& ids, Tensor& state,
              Tensor* weights = nullptr) const;

  void visit(Visitor& v) override;
  const Seq2SeqOptions& options() const { return options_; }

  Embedding source_embedding, target_embedding;
  GRU encoder;
  Linear initial;
  std::optional<AdditiveAttention> attention;
  GRUCell cell;
  Linear readout, output;
  Dropout drop;

 private:
  struct Context {
    Tensor context;  ///< (B K, 2H)
    Tensor weights;  ///< (B, K, S)
  };
  Context look(const Seq2SeqMemory& memory, const Tensor& state) const;
  std::int64_t context_size() const { return options_.attention ? 2 * options_.hidden_size : 0; }
  Tensor logits(const std::vector<Tensor>& seen) const;
};

}  // namespace fovea::nn
