// Luong's scores by naive loops, and the shared parts of the mechanisms with scores.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/sparse_softmax.h>
#include <fovea/nn/attention/luong.h>
#include <fovea/tests/nn/attention/family.h>
#include <fovea/tests/nn/attention/naive.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using namespace fovea::test;

namespace {

LuongAttention make(Score score, std::int64_t query_dim, std::int64_t key_dim, Rng& rng) {
  LuongAttention attention({score, query_dim, key_dim, 5}, rng);
  to_f64(attention);
  return attention;
}

std::string listed(Module& module) {
  std::string all;
  for (const auto& [name, x] : module.parameters()) all += name + " " + x.shape().str() + "; ";
  return all;
}

double score_by_hand(LuongAttention& attention, Score score, const Row& q, const Row& k) {
  switch (score) {
    case Score::dot:
      return dot(q, k);
    case Score::scaled_dot:
      return dot(q, k) / std::sqrt(static_cast<double>(q.size()));
    case Score::general:
      return dot(q, times(rows_of(attention.scores.weight), k));
    case Score::concat:
      break;
  }
  const Row hidden = tanh_of(times(rows_of(attention.scores.weight), joined(q, k)));
  return dot(attention.scores.score.to_vector<double>(), hidden);
}

}  // namespace

TEST_CASE("weights by naive loops") {
  for (const Score score : {Score::dot, Score::scaled_dot, Score::general, Score::concat}) {
    CAPTURE(score_names()[static_cast<std::size_t>(score)]);
    Rng rng(3);
    const std::int64_t Cq = 3, Ck = score == Score::dot || score == Score::scaled_dot ? 3 : 4;
    LuongAttention attention = make(score, Cq, Ck, rng);
    const Tensor query = randn({2, 2, Cq}, rng, DType::f64),
                 key = randn({2, 5, Ck}, rng, DType::f64),
                 value = randn({2, 5, 2}, rng, DType::f64);
    const AttentionOutput seen =
        attention.forward_with_weights(query, key, value, Mask::lengths({5, 3}));
    for (std::int64_t b = 0; b < 2; ++b) {
      const Rows q = rows_of(query, b), k = rows_of(key, b), found = rows_of(seen.weights, b);
      for (std::size_t t = 0; t < 2; ++t) {
        Row e;
        std::vector<bool> kept;
        for (std::size_t s = 0; s < 5; ++s) {
          e.push_back(score_by_hand(attention, score, q[t], k[s]));
          kept.push_back(b == 0 || s < 3);
        }
        const Row want = softmax_over(e, kept);
        for (std::size_t s = 0; s < 5; ++s)
          CHECK(found[t][s] == doctest::Approx(want[s]).epsilon(1e-12));
      }
    }
  }
}

TEST_CASE("names and shapes of parameters") {
  Rng rng(1);
  LuongAttention dots({Score::dot, 3, 3}, rng), general({Score::general, 3, 4}, rng),
      concat({Score::concat, 3, 4, 5}, rng);
  CHECK(listed(dots).empty());
  CHECK(listed(general) == "weight (3, 4); ");
  CHECK(listed(concat) == "weight (5, 7); score (5,); ");
}

TEST_CASE("sparse weights are those of the same scores") {
  Rng rng(5);
  const Tensor query = 3.0 * randn({1, 2, 4}, rng), key = randn({1, 6, 4}, rng);
  const Tensor scores = matmul(query, transpose(key, 1, 2));
  LuongAttention sparse({Score::dot, 4, 4, 0, AttentionNormalizer::sparsemax}, rng);
  LuongAttention between({Score::dot, 4, 4, 0, AttentionNormalizer::entmax15}, rng);
  CHECK(max_difference(sparse.forward_with_weights(query, key, key, Mask::none()).weights,
                       sparsemax(scores)) == 0);
  CHECK(max_difference(between.forward_with_weights(query, key, key, Mask::none()).weights,
                       entmax15(scores)) == 0);
}

TEST_CASE("packed keys are projected as padded ones") {
  Rng rng(6);
  for (const Score score : {Score::general, Score::concat}) {
    const LuongAttention attention = make(score, 3, 4, rng);
    const Tensor key = randn({2, 5, 4}, rng, DType::f64);
    const Tensor packed = attention.project_keys(reshape(key, {10, 4}));
    CHECK(max_difference(reshape(packed, {2, 5, packed.dim(1)}), attention.project_keys(key)) <=
          1e-14);
  }
}

TEST_CASE("errors") {
  Rng rng(1);
  CHECK(message_of<ShapeError>([&] {
          LuongAttention({Score::dot, 3, 4}, rng);
        }) == "AttentionScore: query_dim = 3, key_dim = 4: must be equal for score 'dot'");
  CHECK(message_of<ValueError>([&] {
          LuongAttention({Score::concat, 3, 4}, rng);
        }) == "AttentionScore: attention_dim = 0: must be from 1 to 1073741824");
  CHECK(message_of<ValueError>([] { score_from_name("cosine"); }) ==
        "score: 'cosine': must be one of dot, scaled-dot, general, concat");
  CHECK(score_from_name("scaled-dot") == Score::scaled_dot);
}
