#include "pooling.h"

#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/nn/init.h>

#include <algorithm>
#include <limits>

namespace nn = fovea::nn;
using fovea::Ragged;
using fovea::RaggedIndex;
using fovea::Tensor;

namespace {

enum class End { first, last };

// The row of each sentence's first or last word; empty sentences: zeros.    (N, C) -> (B, C)
Tensor row_at(End end, const Tensor& values, const RaggedIndex& index) {
  std::vector<std::int64_t> rows;
  for (std::int64_t b = 0; b < index.batch_size(); ++b) {
    const std::int64_t row = end == End::first ? index.offset(b) : index.offset(b + 1) - 1;
    rows.push_back(index.length(b) > 0 ? row : index.total());
  }
  const Tensor and_zeros = fovea::pad(values, {0, 0, 0, 1});  // (N + 1, C)
  return fovea::index_select(and_zeros, 0, fovea::from_data(rows, {std::ssize(rows)}));
}

Tensor mean_of(const Ragged& x) {
  std::vector<float> shares;
  for (const std::int64_t length : x.index.lengths())
    shares.push_back(1.0f / static_cast<float>(std::max<std::int64_t>(1, length)));
  return sum(fovea::pad(x), 1) * fovea::from_data(shares, {std::ssize(shares), 1});  // (B, C)
}

// True at padding, whose values the max must ignore. False in empty sentences, so that their max is
// 0.    bool (B, T, 1)
Tensor padding_mask(const RaggedIndex& index) {
  const Tensor positions = fovea::arange(index.max_length());  // (T)
  std::vector<std::int64_t> ends;
  for (const std::int64_t length : index.lengths())
    ends.push_back(length > 0 ? length : index.max_length());
  const Tensor padding = ge(positions, fovea::from_data(ends, {std::ssize(ends), 1}));  // (B, T)
  return fovea::unsqueeze(padding, 2);
}

Tensor max_of(const Ragged& x) {
  constexpr double lowest = -std::numeric_limits<double>::infinity();
  return max(fovea::masked_fill(fovea::pad(x), padding_mask(x.index), lowest), 1);  // (B, C)
}

}  // namespace

Pooling::Pooling(std::int64_t width, PoolBy by, bool bidirectional, fovea::Rng& rng)
    : by_(by), bidirectional_(bidirectional) {
  if (by == PoolBy::additive) {
    key_proj.emplace(nn::LinearOptions{.in_features = width, .out_features = width}, rng);
    score = nn::init::uniform_parameter({width}, width, rng);
  }
  if (by == PoolBy::dot) query = nn::init::uniform_parameter({width}, width, rng);
}

Tensor Pooling::last(const Ragged& x) const {
  const Tensor at_end = row_at(End::last, x.values, x.index);  // (B, C)
  if (!bidirectional_) return at_end;
  const std::int64_t H = x.values.dim(1) / 2;
  const Tensor backward = fovea::narrow(x.values, 1, H, H);  // (N, H)
  return fovea::concat({fovea::narrow(at_end, 1, 0, H), row_at(End::first, backward, x.index)}, 1);
}

fovea::AttentionOutput Pooling::attend(const Ragged& x) const {
  const std::int64_t B = x.index.batch_size(), C = x.values.dim(1);
  const fovea::Mask words = fovea::Mask::lengths(x.index.lengths());
  const Tensor values = fovea::pad(x);  // (B, S, C)
  if (by_ == PoolBy::additive) {
    const Tensor keys = fovea::pad({(*key_proj)(x.values), x.index});  // (B, S, C)
    return fovea::additive_attention(fovea::zeros({B, 1, C}), keys, score, values, words);
  }
  const Tensor scores = matmul(x.values, fovea::unsqueeze(query, 1));         // (N, 1)
  const Tensor rows = fovea::transpose(fovea::pad({scores, x.index}), 1, 2);  // (B, 1, S)
  const Tensor weights = fovea::masked_softmax(rows, words);                  // (B, 1, S)
  return {matmul(weights, values), weights};                                  // (B, 1, C)
}

Tensor Pooling::operator()(const Ragged& x, Tensor* weights) const {
  const Scope in(*this);
  if (x.index.total() == 0) return fovea::zeros({x.index.batch_size(), x.values.dim(1)});
  if (by_ == PoolBy::last) return last(x);
  if (by_ == PoolBy::mean) return mean_of(x);
  if (by_ == PoolBy::max) return max_of(x);
  const fovea::AttentionOutput output = attend(x);
  if (weights) *weights = fovea::squeeze(output.weights, 1);
  return fovea::squeeze(output.context, 1);  // (B, C)
}

void Pooling::visit(nn::Visitor& v) {
  v("key_proj", key_proj);
  v("score", score);
  v("query", query);
}
