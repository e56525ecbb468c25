// The layers whose growth is measured: one of each kind, equally wide, behind one interface.
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
  std::int64_t heads = 4;     ///< H, attention's
  std::int64_t window = 256;  ///< keys that a query of windowed attention sees, its own the last
};

/// A layer that stands behind the first T - 1 tokens of B sequences and takes the next one, again
/// and again the same.
class Decoder {
 public:
  virtual ~Decoder() = default;
  /// Goes to where the prefix ends. A step needs this before it; its time is not the step's.
  virtual void rewind() = 0;
  /// x: (B, 1, C)  ->  (B, 1, C)
  virtual fovea::Tensor step(const fovea::Tensor& x) = 0;
};

class Layer {
 public:
  virtual ~Layer() = default;
  /// x: (B, T, C)  ->  (B, T, C)
  virtual fovea::Tensor operator()(const fovea::Tensor& x) const = 0;
  /// Not where earlier outputs depend on later tokens: such a layer has no state to go on from.
  virtual bool decodes() const { return true; }
  /// prefix: (B, T - 1, C).   Use under NoGrad; the layer must outlive it.
  virtual std::unique_ptr<Decoder> decoder(const fovea::Tensor& prefix) const = 0;
  virtual fovea::nn::Module& module() = 0;
};

struct Kind {
  std::string name;
  bool attends;  ///< a mechanism of attention and not a recurrent net
  std::unique_ptr<Layer> (*make)(const Sizes& sizes, fovea::Rng& rng);
};

/// Each is C wide inside and out:
///   rnn, gru, lstm  nn/recurrent.h, C -> C                                2 C^2, 6 C^2, 8 C^2
///   weights mingru, lru     nn/min_rnn.h, and nn/lru.h of C / 2 complex numbers   2 C^2 linear
///   causal, phi = elu + 1, over H heads                   4 C^2, as the next ones window, causal,
///   full   nn/attention/multihead.h, projections included
/// linear is Katharopoulos et al. 2020, Transformers are RNNs, sections 3.2 to 3.4, between the
/// projections of MultiheadAttention.
const std::vector<Kind>& kinds();
