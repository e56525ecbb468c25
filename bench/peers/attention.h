// scaled_dot_product_attention for the peers, also for old versions of libtorch without it.
#pragma once

#include <cmath>
#include <limits>

#include <torch/torch.h>
#include <torch/version.h>

namespace peers {

/// q: (B, H, T, D)  k, v: (B, H, S, D)  mask: true for attended keys  ->  (B, H, T, D)
/// libtorch's function from version 2.0, with any of its kernels; before, the definition.
inline torch::Tensor attention(const torch::Tensor& q, const torch::Tensor& k,
                               const torch::Tensor& v, c10::optional<torch::Tensor> mask = {},
                               double dropout = 0, bool causal = false) {
#if TORCH_VERSION_MAJOR >= 2
  return torch::scaled_dot_product_attention(q, k, v, mask, dropout, causal);
#else
  const double scale = 1 / std::sqrt(static_cast<double>(q.size(-1)));
  torch::Tensor scores = torch::matmul(q * scale, k.transpose(-2, -1));  // (B, H, T, S)
  if (causal) mask = torch::ones({q.size(-2), k.size(-2)}, torch::kBool).tril();
  if (mask)
    scores = scores.masked_fill(mask->logical_not(), -std::numeric_limits<float>::infinity());
  return torch::matmul(torch::dropout(torch::softmax(scores, -1), dropout, dropout > 0), v);
#endif
}

}  // namespace peers
