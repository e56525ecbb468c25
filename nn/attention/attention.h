// Attention: the common interface of the mechanisms, and observers of their weights.
//
// B batch, H heads (1 for single-head mechanisms), T queries, S keys, C width.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/nn/module.h>

#include <functional>

namespace fovea::nn {

/// One call of a mechanism, as reported to an observer.
struct AttentionCall {
  std::int64_t B, H, T, S;
  /// The weights of queries [begin, end), before dropout, without graph: (B, H, end - begin, S).
  /// Computed on demand; O((end - begin) S) memory per batch row and head.
  std::function<Tensor(std::int64_t begin, std::int64_t end)> rows;
  /// Their mean over the heads, (B, T, S), if the mechanism computes it faster than from `rows`.
  std::function<Tensor()> head_mean = {};
};

class Attention;

/// Receives the calls of the mechanisms that it watches, made on the thread that called watch().
/// Other threads may use the same model at the same time; their calls are not reported. An observer
/// does not change any value.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  virtual void on_attention(const Attention& layer, const AttentionCall& call) = 0;
};

/// An attention mechanism: each query attends to the keys and receives a weighted sum of the
/// values.
class Attention : public Module {
 public:
  Attention() = default;
  Attention(Attention&& other) noexcept : Module(std::move(other)) {}  // observers are not moved
  Attention& operator=(Attention&& other) noexcept {
    Module::operator=(std::move(other));
    return *this;
  }
  ~Attention() override;

  /// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, Cv)  ->  (B, T, C).   A query with all keys
  /// masked gets 0 from the mechanism (an output projection then adds its bias).
  virtual Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                            const Mask& mask) const = 0;

  /// While watched, each call on this thread is reported; the outputs are bitwise the same.
  void watch(AttentionObserver& observer);
  void unwatch(AttentionObserver& observer);
  static void unwatch_all(AttentionObserver& observer);  ///< unwatch() for every mechanism

 protected:
  /// Whether an observer of this thread watches it.
  bool watched() const;
  void report(const AttentionCall& call) const;
};

}  // namespace fovea::nn
