// The Transformer: an encoder-decoder for translation, with embeddings and output projection.
//
// B sentences, S source length, T target length, K hypotheses of a sentence, C width, V vocabulary.
#pragma once

#include <fovea/nn/embedding.h>
#include <fovea/nn/positional.h>
#include <fovea/nn/transformer_layers.h>

#include <vector>

namespace fovea::nn {

/// Which (V, C) matrices are shared (Press and Wolf 2017, Using the Output Embedding to Improve
/// Language Models; Vaswani et al. 2017, section 3.4).
enum class TiedEmbeddings {
  none,
  target,  ///< target embedding and output projection
  all,     ///< source embedding too: one vocabulary
};

struct TransformerOptions {
  std::int64_t source_vocab;
  std::int64_t target_vocab;
  std::int64_t d_model = 512;           ///< C
  std::int64_t nhead = 8;               ///< H
  std::int64_t dim_feedforward = 2048;  ///< F
  std::int64_t num_encoder_layers = 6;
  std::int64_t num_decoder_layers = 6;
  double dropout = 0.1;                          ///< wherever PyTorch has it, and on embeddings
  std::optional<double> attention_dropout = {};  ///< as `dropout` if not given
  Activation activation = Activation::relu;
  bool norm_first = false;
  NormKind norm = NormKind::layer;
  double layer_norm_eps = 1e-5;
  bool bias = true;
  std::optional<bool> final_norm = {};  ///< after each stack; as norm_first if not given
  TiedEmbeddings tied = TiedEmbeddings::none;
  Positions positions = Positions::sinusoidal;  ///< added to the embeddings
  std::int64_t max_length = 1024;               ///< of learned positions
  std::optional<RopeOptions> rope = {};         ///< in self-attention
  bool alibi = false;                           ///< in self-attention
  std::int64_t num_kv_heads = 0;                ///< in self-attention; 0: H
  std::int64_t padding_idx = 0;
};

/// Keys and values of the encoder's output for the decoder, computed once per sentence.
struct TransformerMemory {
  std::vector<RaggedKeyValue> layers;  ///< for each decoder layer, without source padding
};

/// p(y | x) = prod_t softmax(W_o decoder(embed(y_<t), encoder(embed(x))))
///   embed(x) = dropout(sqrt(C) table[x] + position)
/// Vaswani et al. 2017, Attention Is All You Need, section 3. It has the interface of Seq2Seq.
///
/// Initialization: the matrices of the layers xavier-uniform, as in torch.nn.Transformer; embedding
/// tables N(0, 1/C), so that a tied output projection gives logits of variance 1, and the factor
/// sqrt(C) embeddings of variance 1. A tied output projection has no bias. ValueError for tied
/// tables with different vocabulary sizes.
class Transformer : public Module {
  TransformerOptions options_;  // first: the members below take their sizes from it

 public:
  /// `rng` must outlive the module: dropout draws from it.
  Transformer(const TransformerOptions& options, Rng& rng);

  /// ids: i64 (B, S), padded; lengths: of the sources.
  TransformerMemory encode(const Tensor& ids, const std::vector<std::int64_t>& lengths) const;

  /// Teacher forcing: the logits of every target position that is not padding.
  /// inputs: i64 (B, T), <bos> first; lengths: of the targets  ->  (sum of lengths, V), packed
  Tensor decode(const TransformerMemory& memory, const Tensor& inputs,
                const std::vector<std::int64_t>& lengths) const;

  /// The state before the first step: for each layer, keys and values of 0 positions,
  /// (B, G, 0, D).
  std::vector<Tensor> initial_state(const TransformerMemory& memory) const;

  /// One step for K hypotheses of each sentence, which share its memory.
  ///   ids: i64 (B K)
  ///   state: two tensors per layer, (B K, G, t, D), replaced by (B K, G, t + 1, D)
  ///   ->  logits (B K, V)
  /// weights: if given, set to (B, K, S), the mean over the heads of the second to last layer,
  /// which aligns best (Garg et al. 2019, Jointly Learning to Align and Translate with Transformer
  /// Models).
  Tensor step(const TransformerMemory& memory, const Tensor& ids, std::vector<Tensor>& state,
              Tensor* weights = nullptr) const;

  void visit(Visitor& v) override;
  const TransformerOptions& options() const { return options_; }

  Embedding source_embedding, target_embedding;
  PositionalEncoding source_positions, target_positions;
  TransformerEncoder encoder;
  TransformerDecoder decoder;
  Linear output;
  Dropout drop;

 private:
  void check_memory(const TransformerMemory& memory) const;
  Tensor embed(const Embedding& table, const PositionalEncoding& add, const Tensor& ids,
               const Tensor& positions) const;
};

}  // namespace fovea::nn
