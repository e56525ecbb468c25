// Matrix-product speed of the peer's OpenBLAS, for the percentages of bench/compare.
#pragma once

#include <fovea/bench/peers/stopwatch.h>
#include <fovea/bench/workloads.h>

#include <torch/torch.h>

namespace peers {

inline void time_sgemm(Stopwatch& stopwatch) {
  using workloads::sgemm::size;
  const torch::NoGradGuard no_grad;
  const torch::Tensor a = torch::full({size, size}, 0.01f), b = a.clone();
  torch::Tensor c = a.clone();
  stopwatch.time("sgemm/OpenBLAS", {{"GFLOP", workloads::sgemm::gflop}},
                 [&] { torch::mm_out(c, a, b); });
}

}  // namespace peers
