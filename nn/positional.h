// Positions added to token embeddings: sinusoidal or learned.
//
// Positions inside attention are elsewhere: the score biases ALiBi and T5 in core/ops/score_mod.h,
// rotary embeddings of queries and keys (RoPE) in core/ops/rope.h.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/module.h>

namespace fovea::nn {

/// p(m, 2 i) = sin(m base^(-2 i / C)),  p(m, 2 i + 1) = cos(m base^(-2 i / C))
///   positions: i64 (...)   ->   (..., C), without graph
/// Vaswani et al. 2017, Attention Is All You Need, section 3.5. DTypeError, ValueError for C < 1.
Tensor sinusoidal_positions(const Tensor& positions, std::int64_t C, DType dtype = DType::f32,
                            double base = 10000);

/// The kind of positions added to the embeddings.
enum class Positions { none, sinusoidal, learned };

struct PositionalOptions {
  std::int64_t dim;  ///< C
  Positions kind = Positions::sinusoidal;
  std::int64_t max_len = 1024;  ///< rows of the learned table; the other kinds have no limit
};

/// y = x + p(positions).   Learned: a table (max_len, C), initialized N(0, 0.02^2) (Radford et al.
/// 2018, Improving Language Understanding by Generative Pre-Training, section 4.1).
class PositionalEncoding : public Module {
 public:
  PositionalEncoding(PositionalOptions options, Rng& rng);

  /// x: (B, T, C)  positions: i64, (T) or (B, T)  ->  (B, T, C).   IndexError for a position
  /// outside the learned table, ShapeError.
  Tensor operator()(const Tensor& x, const Tensor& positions) const;
  /// With positions 0 .. T - 1.
  Tensor operator()(const Tensor& x) const;
  void visit(Visitor& v) override;
  const PositionalOptions& options() const { return options_; }

  Tensor weight;  ///< (max_len, C), learned positions only

 private:
  PositionalOptions options_;
};

}  // namespace fovea::nn
