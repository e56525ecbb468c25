// The measured layers: one of each kind, with equal width and a common interface.
//
// B batch, T length, C width, H heads, D = C / H head width.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/module.h>

#include <memory>
#include <string>
#include <vector>

struct Sizes {
  std::int64_t width = 128;   ///< C
  std::int64_t heads = 4;     ///< H, of attention
  std::int64_t window = 256;  ///< keys visible to a query of windowed attention, itself the last
};

/// Decoding after the first T - 1 tokens of B sequences: repeats the step of the next token.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Restores the state after the prefix. Call before each step; not part of the step's time.
  virtual void rewind() = 0;
  /// x: (B, 1, C)  ->  (B, 1, C)
  virtual fovea::Tensor step(const fovea::Tensor& x) = 0;
};

class Layer {
 public:
  virtual ~Layer() = default;
  /// x: (B, T, C)  ->  (B, T, C)
  virtual fovea::Tensor operator()(const fovea::Tensor& x) const = 0;
  /// False if earlier outputs depend on later tokens: such a layer has no decoding state.
  virtual bool decodes() const { return true; }
  /// prefix: (B, T - 1, C).   Use under NoGrad; the layer must outlive it.
  virtual std::unique_ptr<Decoder> decoder(const fovea::Tensor& prefix) const = 0;
  virtual fovea::nn::Module& module() = 0;
};

struct Kind {
  std::string name;
  bool attends;  ///< attention, not a recurrent net
  std::unique_ptr<Layer> (*make)(const Sizes& sizes, fovea::Rng& rng);
};

/// All kinds, with input and output width C, and their number of weights:
///   rnn, gru, lstm        nn/recurrent.h                                      2 C^2, 6 C^2, 8 C^2
///   mingru, lru           nn/min_rnn.h, and nn/lru.h with C / 2 complex units       2 C^2
///   linear                causal, phi = elu + 1, H heads                            4 C^2
///   window, causal, full  nn/attention/multihead.h, with projections                4 C^2
/// linear is Katharopoulos et al. 2020, Transformers are RNNs, sections 3.2 to 3.4, with the
/// projections of MultiheadAttention.
const std::vector<Kind>& kinds();
