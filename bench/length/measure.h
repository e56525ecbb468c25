// Time and memory of one layer at one length.
#pragma once

#include "layers.h"

enum class Mode : std::uint8_t { forward, training, decoding };
const char* name_of(Mode mode);

struct Timing {
  double median_s = 0;  ///< of one run
  double spread = 0;    ///< the median of |t - median| / median
  int runs = 0;
};

struct Point {
  std::string kind;
  Mode mode;
  std::int64_t length;  ///< T
  Timing timing;
  double tokens_per_s = 0;  ///< B T in a pass, B in a step of decoding
  std::int64_t bytes = 0;   ///< peak memory beyond inputs and weights
  double turn_s = 0;        ///< of a run, including its preparation
};

/// The inputs of all layers at one length.
struct Batch {
  Batch(std::int64_t B, std::int64_t T, std::int64_t C, fovea::Rng& rng);
  fovea::Tensor x;       ///< (B, T, C), requires a gradient, as in a deep net
  fovea::Tensor dy;      ///< (B, T, C), gradient of the loss by the outputs
  fovea::Tensor prefix;  ///< (B, T - 1, C): x without the last token
  fovea::Tensor last;    ///< (B, 1, C): the last token
};

constexpr int least_runs = 3;

/// One warm-up run, then at least `least_runs` runs, and more until `seconds` have passed.
///   forward   y = layer(x), without a graph
///   training  forward and backward, gradients of x and every weight; no optimizer
///   decoding  one token after T - 1 tokens, with the layer's state or cache
/// Memory is counted by the pool (core/storage.h). It includes the state or cache in decoding, and
/// the gradients in training, but not the kernels' scratch memory.
Point measure(const Kind& kind, Layer& layer, Mode mode, Batch& batch, double seconds);

/// The largest difference between a decoding step and the last row of the forward pass.
double decoding_error(const Layer& layer, const Batch& batch);
