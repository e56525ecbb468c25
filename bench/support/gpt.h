// The language model of gpt_step_bench and decode_bench.
#pragma once

#include <fovea/bench/workloads.h>
#include <fovea/nn/transformer_lm.h>

namespace fovea::bench {

/// max_len: maximum text length, the number of learned positions.
inline nn::TransformerLMOptions gpt_options(std::int64_t max_len) {
  using namespace workloads::gpt;
  return {.vocab = V,
          .d_model = C,
          .nhead = H,
          .num_layers = layers,
          .dim_feedforward = F,
          .max_len = max_len,
          .norm_eps = eps,
          .dropout = 0};
}

}  // namespace fovea::bench
