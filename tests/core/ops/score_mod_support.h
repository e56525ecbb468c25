// The score_mods under test, each with a function that gives the expected score.
#pragma once

#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/score_mod_lambda.h>
#include <fovea/core/random.h>

#include <algorithm>
#include <functional>
#include <string>
#include <vector>

namespace fovea::test {

inline constexpr double kMinusInfinity = -std::numeric_limits<double>::infinity();
using Corner = Mask::Corner;

struct Sizes {
  std::int64_t B, H, T, S;
};

// A score_mod under test: how to create it from leaves, and its expected score. `x` are the
// elements of the leaves, in row-major order; distance is s - t with the corner at the bottom
// right.
struct Place {
  std::int64_t b, h, t, s, distance;
};
struct Case {
  std::string name;
  std::function<std::vector<Shape>(const Sizes&)> shapes;
  std::function<ScoreMod(const std::vector<Tensor>&)> make;
  std::function<double(double, const Place&, const Sizes&, const std::vector<std::vector<double>>&)>
      naive;
};

inline std::int64_t clip(std::int64_t x, std::int64_t k) { return std::clamp(x, -k, k); }

inline constexpr std::int64_t kD = 3;

// tanh of one value per head and distance up to 4; keys further away are dropped.
inline ScoreMod near_only(const Tensor& table) {  // (1, H, 9)
  return score_mod(
      []<class N>(N score, const ScorePlace& at, auto read) -> N {
        const auto distance = at.key - at.query;
        if (distance < -4 || distance > 4) return kMinusInfinity;
        return score * sigmoid(read(0, distance + 4)) + 0.25 * distance;
      },
      {table}, Corner::bottom_right);
}

// A gate per query and head times one per key of a batch row.
inline ScoreMod gated(const Tensor& gates, const Tensor& keys) {  // (B, H, T, 2), (B, 1, S)
  return score_mod<3>(
      [](auto score, const ScorePlace& at, auto read) {
        return tanh(read(0, at.query, 0)) * score * read(1, at.key) + read(0, at.query, 1);
      },
      {gates, keys}, Corner::top_left);
}

inline std::vector<Case> cases() {
  using Numbers = std::vector<std::vector<double>>;
  const auto at = [](const std::vector<double>& x, std::int64_t i) {
    return x[static_cast<std::size_t>(i)];
  };
  const auto none = [](const Sizes&) { return std::vector<Shape>{}; };
  std::vector<Case> all;
  all.push_back({"bias (B, H, T, S)",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{n.B, n.H, n.T, n.S}};
                 },
                 [](const auto& x) { return ScoreMod::bias(x[0]); },
                 [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                   return y + at(x[0], ((p.b * n.H + p.h) * n.T + p.t) * n.S + p.s);
                 }});
  all.push_back({"bias (1, H, 1, S)",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{1, n.H, 1, n.S}};
                 },
                 [](const auto& x) { return ScoreMod::bias(x[0]); },
                 [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                   return y + at(x[0], p.h * n.S + p.s);
                 }});
  all.push_back({"bias (T, 1)",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{n.T, 1}};
                 },
                 [](const auto& x) { return ScoreMod::bias(x[0]); },
                 [=](double y, const Place& p, const Sizes&, const Numbers& x) {
                   return y + at(x[0], p.t);
                 }});
  all.push_back({"bias turned over",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{n.B, 1, n.S, n.T}};
                 },
                 [](const auto& x) { return ScoreMod::bias(transpose(x[0], 2, 3)); },
                 [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                   return y + at(x[0], (p.b * n.S + p.s) * n.T + p.t);
                 }});
  all.push_back({"alibi", none, [](const auto&) { return ScoreMod::alibi(Corner::bottom_right); },
                 [](double y, const Place& p, const Sizes& n, const Numbers&) {
                   const double slope = alibi_slopes(n.H, DType::f64).to_vector<double>()[p.h];
                   return y - slope * static_cast<double>(std::abs(p.distance));
                 }});
  all.push_back({"alibi with slopes", [](const Sizes& n) { return std::vector<Shape>{{n.H}}; },
                 [](const auto& x) { return ScoreMod::alibi(x[0], Corner::bottom_right); },
                 [=](double y, const Place& p, const Sizes&, const Numbers& x) {
                   return y - at(x[0], p.h) * static_cast<double>(std::abs(p.distance));
                 }});
  for (const bool both : {true, false})
    all.push_back({both ? "T5, both ways" : "T5, one way",
                   [](const Sizes& n) {
                     return std::vector<Shape>{{8, n.H}};
                   },
                   [both](const auto& x) {
                     return ScoreMod::t5_bias(x[0], {both, 20}, Corner::bottom_right);
                   },
                   [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                     return y + at(x[0], t5_bucket(p.distance, 8, {both, 20}) * n.H + p.h);
                   }});
  const auto clipped = [at](double y, const Place& p, const Sizes& n, const Numbers& x,
                            std::int64_t row) {
    double sum = 0;
    for (std::int64_t d = 0; d < kD; ++d)
      sum += at(x[0], ((p.b * n.H + p.h) * n.T + p.t) * kD + d) * at(x[1], row * kD + d);
    return y + 0.3 * sum;
  };
  all.push_back({"clipped relative",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{n.B, n.H, n.T, kD}, {7, kD}};
                 },
                 [](const auto& x) {
                   return ScoreMod::clipped_relative(x[0], x[1], 0.3, Corner::bottom_right);
                 },
                 [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                   return clipped(y, p, n, x, clip(p.distance, 3) + 3);
                 }});
  all.push_back({"clipped relative, for each head",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{n.B, n.H, n.T, kD}, {n.H, 3, kD}};
                 },
                 [](const auto& x) {
                   return ScoreMod::clipped_relative(x[0], x[1], 0.3, Corner::bottom_right);
                 },
                 [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                   return clipped(y, p, n, x, p.h * 3 + clip(p.distance, 1) + 1);
                 }});
  all.push_back({"soft cap", none, [](const auto&) { return ScoreMod::soft_cap(0.7); },
                 [](double y, const Place&, const Sizes&, const Numbers&) {
                   return 0.7 * std::tanh(y / 0.7);
                 }});
  all.push_back({"alibi, then soft cap, then bias",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{n.H}, {n.T, n.S}};
                 },
                 [](const auto& x) {
                   return ScoreMod::alibi(x[0], Corner::bottom_right)
                       .then(ScoreMod::soft_cap(0.9))
                       .then(ScoreMod::bias(x[1]));
                 },
                 [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                   y -= at(x[0], p.h) * static_cast<double>(std::abs(p.distance));
                   return 0.9 * std::tanh(y / 0.9) + at(x[1], p.t * n.S + p.s);
                 }});
  all.push_back({"lambda that drops",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{1, n.H, 9}};
                 },
                 [](const auto& x) { return near_only(x[0]); },
                 [=](double y, const Place& p, const Sizes&, const Numbers& x) {
                   if (std::abs(p.distance) > 4) return kMinusInfinity;
                   const double gate = at(x[0], p.h * 9 + p.distance + 4);
                   return y / (1 + std::exp(-gate)) + 0.25 * static_cast<double>(p.distance);
                 }});
  all.push_back({"lambda with two tensors, then soft cap",
                 [](const Sizes& n) {
                   return std::vector<Shape>{{n.B, n.H, n.T, 2}, {n.B, 1, n.S}};
                 },
                 [](const auto& x) { return gated(x[0], x[1]).then(ScoreMod::soft_cap(2)); },
                 [=](double y, const Place& p, const Sizes& n, const Numbers& x) {
                   const std::int64_t row = ((p.b * n.H + p.h) * n.T + p.t) * 2;
                   y = std::tanh(at(x[0], row)) * y * at(x[1], p.b * n.S + p.s) + at(x[0], row + 1);
                   return 2 * std::tanh(y / 2);
                 }});
  all.push_back(
      {"lambda without tensors", none,
       [](const auto&) {
         return score_mod([](auto score, const ScorePlace& p,
                             auto) { return score / (1 + exp(-score)) + p.head - 0.5 * p.batch; },
                          {}, Corner::top_left);
       },
       [](double y, const Place& p, const Sizes&, const Numbers&) {
         return y / (1 + std::exp(-y)) + static_cast<double>(p.h) - 0.5 * static_cast<double>(p.b);
       }});
  return all;
}

inline Tensor random(const Shape& shape, std::uint64_t seed, DType dtype = DType::f64) {
  Rng rng(seed);
  return randn(shape, rng, DType::f64).to(dtype);
}

inline std::vector<Tensor> leaves_for(const Case& c, const Sizes& n, DType dtype = DType::f64) {
  std::vector<Tensor> leaves;
  for (const Shape& shape : c.shapes(n))
    leaves.push_back(random(shape, 50 + leaves.size(), dtype).set_requires_grad());
  return leaves;
}

inline Tensor reference(const ScoreMod& mod, const Tensor& scores) {
  return mod.impl().reference(scores, mod.impl().captured, 0);
}

}  // namespace fovea::test
