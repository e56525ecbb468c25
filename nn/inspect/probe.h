// AttentionProbe: records the weights of the attention layers of a model, at any depth, while it
// runs.
//
//   AttentionProbe probe(model, "decoder.layers.*.multihead_attn", {.matrix = true});
//   model(source, target);
//   probe.layers()[0].calls[0].matrix;  // (B, H, T, S)
//
// B batch, H heads (1 for single-head mechanisms), T queries, S keys.
#pragma once

#include <fovea/core/mask.h>
#include <fovea/nn/attention/attention.h>

#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn::inspect {

/// A range of keys around each query: s - t from -left to right.
struct ProbeWindow {
  std::int64_t left, right;
};

/// The values to record at each call. Weights are those before dropout. All but `matrix` and
/// `head_mean` use O(T) memory: the weights are processed `block_rows` queries at a time.
struct ProbeOptions {
  bool matrix = false;                     ///< all weights
  bool head_mean = false;                  ///< their mean over the heads
  std::vector<std::int64_t> rows = {};     ///< the weights of these queries; negative: from the end
  bool entropy = false;                    ///< the entropy of each query's weights
  bool distance = false;                   ///< the mean distance of the attended keys
  std::optional<ProbeWindow> window = {};  ///< the sum of the weights within this window
  std::int64_t top_k = 0;                  ///< the keys with the largest weights
  /// The alignment of t and s if T and S differ, for `distance` and `window`, as for
  /// Mask::causal(); if it is unset then, the model's call throws a ShapeError.
  Mask::Corner corner = Mask::Corner::unset;
  std::int64_t block_rows = 16;
};

/// One call of one layer. Values that were not requested are undefined tensors. The others have the
/// dtype of the weights, and are NaN where a weight is NaN. A query with all keys masked has 0
/// everywhere, and as top_k its first keys.
struct ProbedCall {
  std::int64_t B, H, T, S;
  Tensor matrix = {};       ///< (B, H, T, S)
  Tensor head_mean = {};    ///< (B, T, S)
  Tensor rows = {};         ///< (B, H, R, S), in the order of the options
  Tensor entropy = {};      ///< (B, H, T): - sum_s a_ts log a_ts, in nats: 0 .. log S
  Tensor distance = {};     ///< (B, H, T): sum_s a_ts |t - s|
  Tensor window_mass = {};  ///< (B, H, T): sum of a_ts over the window
  Tensor top_keys = {};     ///< (B, H, T, K) i64, the largest weight first, K = min(top_k, S);
                            ///< for equal weights the earlier key; NaN counts as the largest
  Tensor top_weights = {};  ///< (B, H, T, K)
};

/// A watched layer and its calls so far, oldest first.
struct ProbedLayer {
  std::string name;  ///< its path below the model: "decoder.layers.0.self_attn"
  std::vector<ProbedCall> calls = {};
};

/// Records for its lifetime the calls made on the thread that created it; other threads may use the
/// model at the same time. The model's outputs, gradients and random draws are bitwise the same
/// with and without it. The model must not be moved.
class AttentionProbe final : public AttentionObserver {
 public:
  /// Watches every attention layer of `model` whose path matches `pattern`: names joined by dots,
  /// in which * matches any characters of one name and ** any number of names. A layer with several
  /// names is watched once, under the first that matches. ValueError if nothing matches (it lists
  /// the layers of the model) or an option is out of range.
  explicit AttentionProbe(Module& model, std::string_view pattern = "**",
                          ProbeOptions options = {.matrix = true});
  ~AttentionProbe() override;
  AttentionProbe(const AttentionProbe&) = delete;
  AttentionProbe& operator=(const AttentionProbe&) = delete;

  const std::vector<ProbedLayer>& layers() const { return layers_; }  ///< in the model's order
  /// The layer of this name; ValueError lists the names that are watched.
  const ProbedLayer& layer(std::string_view name) const;
  void clear();  ///< removes the recorded calls

  /// While paused, calls are not recorded.
  void pause(bool on = true) { paused_ = on; }

 private:
  void on_attention(const Attention& layer, const AttentionCall& call) override;

  ProbeOptions options_;
  std::vector<ProbedLayer> layers_;
  std::vector<Attention*> watched_;  // as layers_
  bool paused_ = false;
};

/// The paths of all attention layers of `model`, which patterns are matched against.
std::vector<std::string> attention_layers(Module& model);

}  // namespace fovea::nn::inspect
