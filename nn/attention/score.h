// The scores of Luong et al. 2015 between a query and a key, shared by several mechanisms.
#pragma once

#include <fovea/core/random.h>
#include <fovea/nn/module.h>

#include <string>
#include <string_view>
#include <vector>

namespace fovea::nn {

/// Luong et al. 2015, Effective Approaches to Attention-based Neural Machine Translation, section
/// 3.1; scaled_dot: Vaswani et al. 2017, section 3.2.1.
enum class Score { dot, scaled_dot, general, concat };

/// "dot", "scaled-dot", "general", "concat".
const std::vector<std::string>& score_names();
/// ValueError that lists the names for an unknown one.
Score score_from_name(std::string_view name);

struct AttentionScoreOptions {
  Score score = Score::general;
  std::int64_t query_dim = 0;      ///< Cq
  std::int64_t key_dim = 0;        ///< Ck; with dot and scaled_dot equal to Cq
  std::int64_t attention_dim = 0;  ///< A, the width of concat's hidden layer; the others have none
};

/// The score e_ts of a query q and a key k:
///   dot         q . k
///   scaled_dot  q . k / sqrt(Cq)
///   general     q . (W k)               weight (Cq, Ck)
///   concat      v . tanh(W [q; k])      weight (A, Cq + Ck), score (A): v
/// The projection of the keys is computed once: project(). ShapeError if the widths of dot or
/// scaled_dot differ, ValueError for a width below 1.
class AttentionScore : public Module {
  AttentionScoreOptions options_;

 public:
  AttentionScore(AttentionScoreOptions options, Rng& rng);

  Tensor project(const Tensor& key) const;  ///< (..., Ck) -> (..., Cq), or (..., A) for concat
  /// query: (B, T, Cq)  keys: (B, S, .), projected  ->  (B, T, S)
  Tensor operator()(const Tensor& query, const Tensor& keys) const;
  /// The query part of concat: (..., Cq) -> (..., A).
  Tensor project_query(const Tensor& query) const;
  void visit(Visitor& v) override;

  const AttentionScoreOptions& options() const { return options_; }

  Tensor weight, score;  ///< undefined if the score has none
};

}  // namespace fovea::nn
