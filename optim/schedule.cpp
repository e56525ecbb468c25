#include <fovea/core/error.h>
#include <fovea/optim/schedule.h>

#include <algorithm>
#include <cmath>
#include <numbers>
#include <utility>

namespace fovea::optim {
namespace {

void check_rate(const char* op, const char* what, double value) {
  if (!(value >= 0 && std::isfinite(value)))
    value_error(op, "{} = {}: must be finite and not negative", what, value);
}

void check_count(const char* op, const char* what, std::int64_t value) {
  if (value < 1) value_error(op, "{} = {}: must be at least 1", what, value);
}

// `rate` for the steps 0, 1, ...
template <class Rate>
Schedule schedule(const char* op, Rate rate) {
  return [op, rate = std::move(rate)](std::int64_t t) {
    if (t < 0) value_error(op, "t = {}: must be at least 0", t);
    return rate(t);
  };
}

}  // namespace

Schedule constant(double lr) {
  check_rate("constant", "lr", lr);
  return schedule("constant", [=](std::int64_t) { return lr; });
}

Schedule step_decay(double lr, std::int64_t every, double factor) {
  check_rate("step_decay", "lr", lr);
  check_count("step_decay", "every", every);
  check_rate("step_decay", "factor", factor);
  return schedule("step_decay", [=](std::int64_t t) {
    return lr * std::pow(factor, static_cast<double>(t / every));
  });
}

Schedule multi_step(double lr, std::vector<std::int64_t> milestones, double factor) {
  check_rate("multi_step", "lr", lr);
  check_rate("multi_step", "factor", factor);
  return schedule("multi_step", [=, milestones = std::move(milestones)](std::int64_t t) {
    const auto passed = std::count_if(milestones.begin(), milestones.end(),
                                      [t](std::int64_t milestone) { return milestone <= t; });
    return lr * std::pow(factor, static_cast<double>(passed));
  });
}

Schedule exponential(double lr, double factor) {
  check_rate("exponential", "lr", lr);
  check_rate("exponential", "factor", factor);
  return schedule("exponential",
                  [=](std::int64_t t) { return lr * std::pow(factor, static_cast<double>(t)); });
}

Schedule linear(double from, double to, std::int64_t steps) {
  check_rate("linear", "from", from);
  check_rate("linear", "to", to);
  check_count("linear", "steps", steps);
  return schedule("linear", [=](std::int64_t t) {
    const double done = static_cast<double>(std::min(t, steps)) / static_cast<double>(steps);
    return from + (to - from) * done;
  });
}

Schedule cosine(double lr, std::int64_t steps, double min_lr) {
  check_rate("cosine", "lr", lr);
  check_count("cosine", "steps", steps);
  check_rate("cosine", "min_lr", min_lr);
  return schedule("cosine", [=](std::int64_t t) {
    const double done = static_cast<double>(std::min(t, steps)) / static_cast<double>(steps);
    return min_lr + (lr - min_lr) * (1 + std::cos(std::numbers::pi * done)) / 2;
  });
}

Schedule noam(std::int64_t width, std::int64_t warm_up, double scale) {
  check_count("noam", "width", width);
  check_count("noam", "warm_up", warm_up);
  check_rate("noam", "scale", scale);
  const double peak = scale / std::sqrt(static_cast<double>(width));
  return schedule("noam", [=](std::int64_t t) {
    const double n = static_cast<double>(t) + 1;
    return peak * std::min(1 / std::sqrt(n), n * std::pow(static_cast<double>(warm_up), -1.5));
  });
}

Schedule sequential(std::vector<Phase> phases, Schedule last) {
  for (const Phase& phase : phases) {
    check_count("sequential", "steps", phase.steps);
    if (!phase.rate) value_error("sequential", "rate of a phase is empty: must be a schedule");
  }
  if (!last) value_error("sequential", "last is empty: must be a schedule");
  return schedule("sequential",
                  [phases = std::move(phases), last = std::move(last)](std::int64_t t) {
                    for (const Phase& phase : phases) {
                      if (t < phase.steps) return phase.rate(t);
                      t -= phase.steps;
                    }
                    return last(t);
                  });
}

}  // namespace fovea::optim
