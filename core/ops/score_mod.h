// ScoreMod: a change of attention's scores before the softmax, trainable, applied inside the tiles.
//
// B batch, H query heads, T queries, S keys.
#pragma once

#include <fovea/core/tensor.h>

#include <memory>
#include <vector>

namespace fovea {

namespace kernels {
template <class T>
struct ScoreHook;
}

class ScoreMod {
 public:
  ScoreMod() = default;  ///< no change
  explicit operator bool() const { return impl_ != nullptr; }

  /// What an implementation provides. Built-in ones and the user's lambda are made of it.
  struct Impl;
  explicit ScoreMod(std::shared_ptr<const Impl> impl) : impl_(std::move(impl)) {}
  const Impl& impl() const { return *impl_; }

  /// First this change, then `next`.
  ScoreMod then(const ScoreMod& next) const;

 private:
  std::shared_ptr<const Impl> impl_;
};

struct ScoreMod::Impl {
  virtual ~Impl() = default;

  /// The tensors that need gradients: inputs of the attention op beside q, k and v. Each is
  /// (B or 1, H or 1, ...): a tile of (batch, head) reads its own slice alone.
  std::vector<Tensor> captured;

  /// The definition, in recorded ops.   scores: (B, H, T, S) -> (B, H, T, S)
  /// `captured` are the tensors to use, in the order of the member: under create_graph others than
  /// the member's. query_offset: the first row of `scores` is query number query_offset.
  virtual Tensor reference(const Tensor& scores, const std::vector<Tensor>& captured,
                           std::int64_t query_offset) const = 0;

  /// For one forward, or one backward, of the fused kernel. `grads`: for each captured tensor a
  /// zeroed (B, H, ...) to add to, one slice a (batch, head); undefined where no gradient is
  /// wanted, and empty in a forward. The op sums them to the captured shape. ShapeError if a
  /// captured tensor does not fit.
  struct Run {
    virtual ~Run() = default;
    virtual kernels::ScoreHook<float> hook_f32() const = 0;
    virtual kernels::ScoreHook<double> hook_f64() const = 0;
  };
  virtual std::unique_ptr<Run> run(std::int64_t B, std::int64_t H, std::int64_t T, std::int64_t S,
                                   DType dtype, std::vector<Tensor> grads) const = 0;
};

}  // namespace fovea
