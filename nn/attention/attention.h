// Attention: what every mechanism has in common, and how others look inside.
//
// B batch, H heads (1 for mechanisms without), T queries, S keys, C width.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/nn/module.h>

#include <functional>
#include <vector>

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

/// Is told of every call of the mechanisms that it watches. It sees numbers, and changes none.
class AttentionObserver {
 public:
  virtual ~AttentionObserver() = default;
  virtual void see(const Attention& layer, const AttentionCall& call) = 0;
};

/// A mechanism: queries look at keys and get a mixture of values.
class Attention : public Module {
 public:
  Attention() = default;
  Attention(const Attention& other) : Module(other) {}  // observers watch the object, not copies
  Attention(Attention&& other) noexcept : Module(std::move(other)) {}
  Attention& operator=(const Attention& other) {
    Module::operator=(other);
    return *this;
  }

  /// query: (B, T, Cq)  key: (B, S, Ck)  value: (B, S, Cv)  ->  (B, T, C).   A query that keeps no
  /// key gets 0 from the mechanism (a projection behind it adds its bias).
  virtual Tensor operator()(const Tensor& query, const Tensor& key, const Tensor& value,
                            const Mask& mask) const = 0;

  /// While watched, each call is reported; the outputs stay the same to the bit.
  void watch(AttentionObserver& observer) { observers_.push_back(&observer); }
  void unwatch(AttentionObserver& observer) { std::erase(observers_, &observer); }

 protected:
  bool watched() const { return !observers_.empty(); }
  void report(const AttentionCall& call) const {
    for (AttentionObserver* observer : observers_) observer->see(*this, call);
  }

 private:
  std::vector<AttentionObserver*> observers_;
};

}  // namespace fovea::nn
