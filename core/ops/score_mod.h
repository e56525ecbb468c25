// ScoreMod: a trainable modification of attention's scores before the softmax, applied inside the
// tiles.
//
// B batch, H query heads, T queries, S keys. Built-in ones are below; score_mod() in
// score_mod_lambda.h makes one from a C++ lambda. It takes the scaled scores; the mask is applied
// after it. If it depends on the positions of query and key and T != S, the corner must be given,
// as for Mask::causal: with bottom_right, query t has position t + (S - T).
//
// The tensors that a ScoreMod captures are recorded when it is created. Create it where attention
// is called, in every training step, like any other op.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/core/tensor.h>

#include <memory>
#include <optional>
#include <vector>

namespace fovea {

namespace kernels {
template <class T>
struct ScoreHook;
}

/// The buckets of T5's relative positions.
struct T5Buckets {
  bool bidirectional = true;        ///< half of the buckets are for keys after the query
  std::int64_t max_distance = 128;  ///< all larger distances share the last bucket
};

class ScoreMod {
 public:
  ScoreMod() = default;  ///< no change
  explicit operator bool() const { return impl_ != nullptr; }

  /// score + bias.   bias: (B, H, T, S), each of them possibly 1, or (T, S), (S) or a scalar. Three
  /// axes are a ShapeError unless the first is 1: use (n, 1, T, S) for one bias per batch row, as
  /// Mask::keep interprets (n, T, S), and (1, n, T, S) for one per head. Trainable. Its gradient
  /// takes (B, H, ...) memory. ShapeError if it does not match.
  static ScoreMod bias(const Tensor& bias);

  /// score - slope_h |s - t|, with the slopes of alibi_slopes(H) (Press et al. 2022, Train Short,
  /// Test Long, section 3; the distance of keys after the query counts the same).
  static ScoreMod alibi(Mask::Corner corner = Mask::Corner::unset);
  /// The same with given slopes.   slopes: (H), trainable
  static ScoreMod alibi(const Tensor& slopes, Mask::Corner corner = Mask::Corner::unset);

  /// score + table[t5_bucket(s - t)][h] (Raffel et al. 2020, section 2.1, and its published code).
  ///   table: (num_buckets, H), trainable: T5's relative_attention_bias.weight
  /// T5 does not scale q . k: use scale = 1 with its weights.
  static ScoreMod t5_bias(const Tensor& table, const T5Buckets& buckets = {},
                          Mask::Corner corner = Mask::Corner::unset);

  /// score + scale q_t . a_{clip(s - t, -k, k)} (Shaw et al. 2018, Self-Attention with Relative
  /// Position Representations, equations 4 and 5, the keys' term).
  ///   q: (B, H, T, D)  a: (2 k + 1, D), or (H, 2 k + 1, D); the row of distance -k first
  /// scale: the same as the attention's; 1 / sqrt(D) by default. Both q and a are trainable. q . a
  /// is a separate op, with O(T k) memory. The values' term is omitted: section 4.3 finds no loss
  /// without it.
  static ScoreMod clipped_relative(const Tensor& q, const Tensor& a,
                                   std::optional<double> scale = {},
                                   Mask::Corner corner = Mask::Corner::unset);

  /// cap tanh(score / cap) (Gemma 2, 2024, section 2: cap 50 in its attention). ValueError unless
  /// cap > 0. It maps -infinity to -cap: apply a modification that drops keys after it.
  static ScoreMod soft_cap(double cap);

  /// This modification first, then `next`.
  ScoreMod then(const ScoreMod& next) const;

  /// Interface of an implementation, for the built-in ones and for lambdas.
  struct Impl;
  explicit ScoreMod(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

 private:
  std::shared_ptr<const Impl> impl_;
};

/// ALiBi's slopes: 2^(-8 / H) and its powers up to the H-th, for H a power of two; for other H
/// those of the largest power of two P below H, then every second one of 2 P (the paper's published
/// code). (H), ValueError unless H >= 1
Tensor alibi_slopes(std::int64_t H, DType dtype = DType::f32);

/// The bucket of a key at `distance` = s - t: small distances have one bucket each, larger ones
/// share buckets by their logarithm. ValueError if num_buckets or max_distance is too small.
std::int64_t t5_bucket(std::int64_t distance, std::int64_t num_buckets,
                       const T5Buckets& buckets = {});

struct ScoreMod::Impl {
  virtual ~Impl() = default;

  /// The tensors that may need gradients: inputs of the attention op besides q, k and v. Each is (B
  /// or 1, H or 1, ...): a tile of (batch, head) reads only its own slice.
  std::vector<Tensor> captured;

  /// Reference implementation, in recorded ops.   scores: (B, H, rows, S) -> (B, H, rows, S)
  /// `captured` are the tensors to use, in the order of the member: under create_graph they differ
  /// from the member's. The first row of `scores` is query number query_offset of T; T < 0: the
  /// rows end with the last query.
  virtual Tensor reference(const Tensor& scores, const std::vector<Tensor>& captured,
                           std::int64_t query_offset, std::int64_t T = -1) const = 0;

  /// For one forward, or one backward, of the fused kernel. `grads`: for each captured tensor a
  /// zeroed (B, H, ...) accumulator, one slice per (batch, head); undefined if no gradient is
  /// required, and empty in a forward. The op reduces them to the captured shape. ShapeError if a
  /// captured tensor does not match.
  struct Run {
    virtual ~Run() = default;
    virtual kernels::ScoreHook<float> hook_f32() const = 0;
    virtual kernels::ScoreHook<double> hook_f64() const = 0;
  };
  virtual std::unique_ptr<Run> run(std::int64_t B, std::int64_t H, std::int64_t T, std::int64_t S,
                                   DType dtype, std::vector<Tensor> grads) const = 0;
};

}  // namespace fovea
