// Learning rates as functions of the step. A schedule has no state, so there is nothing to save:
//
//   const optim::Schedule rate = optim::sequential({{400, optim::linear(0, 1e-3, 400)}},
//                                                  optim::cosine(1e-3, 9600));
//   adam.set_lr(rate(t));        t = 0 for the first update
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

namespace fovea::optim {

using Schedule = std::function<double(std::int64_t t)>;

// ValueError for arguments out of range and for t < 0.

/// lr
Schedule constant(double lr);

/// lr factor^floor(t / every)
Schedule step_decay(double lr, std::int64_t every, double factor);

/// lr factor^(number of milestones <= t)
Schedule multi_step(double lr, std::vector<std::int64_t> milestones, double factor);

/// lr factor^t
Schedule exponential(double lr, double factor);

/// Linear from `from` at t = 0 to `to` at t = steps, constant afterwards. Warm-up is
/// linear(0.1 * lr, lr, steps).
Schedule linear(double from, double to, std::int64_t steps);

/// min_lr + (lr - min_lr) (1 + cos(pi t / steps)) / 2, and min_lr for t >= steps.
/// Loshchilov, Hutter: SGDR, ICLR 2017, equation 5, one period.
Schedule cosine(double lr, std::int64_t steps, double min_lr = 0);

/// scale width^-0.5 min(n^-0.5, n warm_up^-1.5) with n = t + 1: increases for `warm_up` steps, then
/// decreases with the square root of the step. Vaswani et al.: Attention Is All You Need, 2017,
/// section 5.3.
Schedule noam(std::int64_t width, std::int64_t warm_up, double scale = 1);

/// One schedule after another; t counts from 0 in each phase. The last schedule has no end.
struct Phase {
  std::int64_t steps;
  Schedule rate;
};
Schedule sequential(std::vector<Phase> phases, Schedule last);

}  // namespace fovea::optim
