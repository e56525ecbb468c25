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
  std::int64_t bytes = 0;   ///< the most alive at once beyond inputs and weights
  double turn_s = 0;        ///< of a run with what has to be done before it
};

/// The inputs of all layers at one length, made once.
struct Batch {
  Batch(std::int64_t B, std::int64_t T, std::int64_t C, fovea::Rng& rng);
  fovea::Tensor x;       ///< (B, T, C), wants a gradient, as it does within a deep net
  fovea::Tensor dy;      ///< (B, T, C), the loss's derivative by the outputs
  fovea::Tensor prefix;  ///< (B, T - 1, C): x without its last tokens
  fovea::Tensor last;    ///< (B, 1, C): these
};

constexpr int least_runs = 3;

/// Runs once for nothing, then `least_runs` times, and on until `seconds` have gone by.
///   forward   y = layer(x), nothing recorded
///   training  that recorded, and the gradients by x and every weight; no optimiser
///   decoding  one more token behind T - 1 of them, with the layer's state or its cache
/// Memory is what the pool has counted (core/storage.h): in decoding the state or the cache is part
/// of it, in training the gradients are. The kernels' scratch is not counted.
Point measure(const Kind& kind, Layer& layer, Mode mode, Batch& batch, double seconds);

/// The largest difference between a step of decoding and the last row of the whole forward.
double decoding_error(const Layer& layer, const Batch& batch);
