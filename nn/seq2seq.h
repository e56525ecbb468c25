// Recurrent encoder-decoder, with attention (Bahdanau et al. 2015; any DecoderAttention) or
// without.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/nn/attention/decoder_attention.h>
#include <fovea/nn/dropout.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/recurrent.h>

#include <memory>
#include <string>

namespace fovea::nn {

struct Seq2SeqOptions {
  std::int64_t source_vocab;           ///< V of the source
  std::int64_t target_vocab;           ///< V of the target
  std::int64_t embed_dim = 256;        ///< E
  std::int64_t hidden_size = 256;      ///< H; the encoder has H in each direction
  std::string attention = "additive";  ///< one of attention_names()
  std::string weights = "softmax";     ///< one of normalizer_names(): from scores to weights
  std::int64_t window = 10;            ///< D of local-m and local-p
  std::int64_t heads = 4;              ///< of multihead; hidden_size is a multiple of it
  bool coverage = false;               ///< of additive: the score uses the past weights of each key
  bool input_feeding = false;          ///< each step's input includes the previous output vector
  double dropout = 0.0;                ///< on embeddings and before the output projection
  std::int64_t padding_idx = 0;
  bool recompute = false;  ///< the encoder saves only its states and computes the gates again in
                           ///< the backward: less memory, bitwise the same results
};

/// The values of Seq2SeqOptions::attention: "none" (the decoder depends on the source only by its
/// first state) and decoder_attention_names() of nn/attention/make.h.
const std::vector<std::string>& attention_names();

/// The encoder's output, computed once per sentence: its states (B, S, 2H), projected for the
/// mechanism, and the mask of the source lengths; undefined without attention.
struct Seq2SeqMemory : AttentionMemory {
  Tensor initial;  ///< (B, H): the first state of the decoder
};

/// p(y | x) = prod_t softmax(W_o r_t),  r_t = tanh(W_r [s_t; c_t; e_t])
///   encoder   h = biGRU(embed(x))                    s_0 = tanh(W_i h_1 of the backward direction)
///   decoder   c_t = attend(s_{t-1}, h),  s_t = GRUCell([e_t; c_t], s_{t-1}),  e_t = embed(y_{t-1})
/// With input feeding (Luong et al. 2015, section 3.3) the input of the cell also includes r of the
/// previous step, the attentional vector: GRUCell([e_t; c_t; r_{t-1}], s_{t-1}), r_0 = 0; dropout
/// is applied only between r_t and W_o. Differs from the paper, as most later systems do, in W_r
/// being a tanh layer instead of maxout. Without attention there is no c_t, and s_0 is computed
/// from the last states of both directions, the only source information of the decoder (Sutskever
/// et al. 2014, Sequence to Sequence Learning). Mechanisms without projections ("dot",
/// "scaled-dot") use as keys the sum of both directions, whose width is that of the query; the
/// values are the same for all mechanisms. Every step is reported to attention observers as a
/// separate call, T = 1, in decode() too.
class Seq2Seq : public Module {
  Seq2SeqOptions options_;  // first: the members below take their sizes from it

 public:
  /// `rng` must outlive the module: dropout draws from it. ValueError for an unknown attention or
  /// weights.
  Seq2Seq(Seq2SeqOptions options, Rng& rng);

  /// ids: i64 (B, S), padded; lengths: of the sources, each >= 1.
  Seq2SeqMemory encode(const Tensor& ids, const std::vector<std::int64_t>& lengths) const;

  /// Teacher forcing: the logits of every target position that is not padding.
  /// inputs: i64 (B, T), <bos> first; lengths: of the targets  ->  (sum of lengths, V), packed
  /// weights: if given, set to (B, T, S), with gradients, for the losses of attention/alignment.h;
  /// rows after the end of a target are meaningless. Not set without attention.
  Tensor decode(const Seq2SeqMemory& memory, const Tensor& inputs,
                const std::vector<std::int64_t>& lengths, Tensor* weights = nullptr) const;

  /// The state before the first step, first axis B: the decoder's s (B, H), with input feeding r
  /// (B, H), then the state of the attention.
  std::vector<Tensor> initial_state(const Seq2SeqMemory& memory) const;

  /// One step for K hypotheses of each sentence.
  /// ids: i64 (B K)  state: as initial_state(), first axis B K, updated  ->  logits (B K, V).
  /// weights: if given, set to (B, K, S); not set without attention. ShapeError, StateError.
  Tensor step(const Seq2SeqMemory& memory, const Tensor& ids, std::vector<Tensor>& state,
              Tensor* weights = nullptr) const;

  void visit(Visitor& v) override;
  const Seq2SeqOptions& options() const { return options_; }

  Embedding source_embedding, target_embedding;
  GRU encoder;
  Linear initial;
  std::unique_ptr<DecoderAttention> attention;  ///< null if options.attention is "none"
  GRUCell cell;
  Linear readout, output;
  Dropout drop;

 private:
  struct Context {
    Tensor context;  ///< (B K, 2H); undefined without attention
    Tensor weights;  ///< (B, K, S); undefined without attention
  };
  Context attend(const Seq2SeqMemory& memory, std::vector<Tensor>& state) const;
  bool attends() const { return options_.attention != "none"; }
  bool feeds() const { return options_.input_feeding; }
  std::int64_t context_size() const { return attends() ? 2 * options_.hidden_size : 0; }
  std::int64_t fed_size() const { return feeds() ? options_.hidden_size : 0; }
  Tensor read(const Tensor& state, const Tensor& context, const Tensor& embedded) const;
  Tensor no_steps(const Seq2SeqMemory& memory, Tensor* weights) const;
};

}  // namespace fovea::nn
