// Attention: what every mechanism has in common, and how others look inside.
//
// B batch, H heads (1 for mechanisms without), T queries, S keys, C width.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/nn/module.h>

#include <functional>

namespace fovea::nn {

/// One call of a mechanism, as an observer sees it.
struct AttentionCall {
  std::int64_t B, H, T, S;
  /// The weights of queries [begin, end), before dropout, without history:
  /// (B, H, end - begin, S). Computed when asked for; O((end - begin) S) memory.
  std::function<Tensor(std::int64_t begin, std::int64_t end)> rows;
  /// Their mean over the heads, (B, T, S), where a mechanism has a faster way to it than by rows.
  std::function<Tensor()> head_mean = {};
};

class Attention;

/// Is notified of the calls of the mechanisms that it watches, on the thread that called watch():
/// other threads may use the same model meanwhile, and their calls are not reported. It sees
/// values, and changes none.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  virtual void see(const Attention& layer, const AttentionCall& call) = 0;
};

/// A mechanism: queries look at keys and get a mixture of values.
class Attention : public Module {
 public:
  Attention() = default;
  Attention(Attention&& other) noexcept : Module(std::move(other)) {}  // observers are not moved
  Attention& operator=(Attention&& other) noexcept {
    Module::operator=(std::move(other));
    return *this;
  }
  ~Attention() override;

  /// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, Cv)  ->  (B, T, C).   A query that keeps no
  /// key gets 0 from the mechanism (a projection behind it adds its bias).
  virtual Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                            const Mask& mask) const = 0;

  /// While watched, each call of this thread is reported; the outputs stay the same to the bit.
  void watch(AttentionObserver& observer);
  void unwatch(AttentionObserver& observer);
  static void unwatch_all(AttentionObserver& observer);  ///< ends all that it watches

 protected:
  /// By an observer of this thread.
  bool watched() const;
  void report(const AttentionCall& call) const;
};

}  // namespace fovea::nn
