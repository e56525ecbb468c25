#pragma once

#include <fovea/core/error.h>
#include <fovea/core/tensor.h>

#include <cmath>
#include <limits>
#include <string>

namespace fovea::test {

// The largest |a - b|; infinite if the shapes differ or where exactly one is NaN, so that
// `max_difference(a, b) <= bound` fails then. Equal infinities, and NaN against NaN, differ by 0.
inline double max_difference(const Tensor& a, const Tensor& b) {
  constexpr double infinity = std::numeric_limits<double>::infinity();
  if (!(a.shape() == b.shape())) return infinity;
  const auto left = a.to_vector<double>(), right = b.to_vector<double>();
  double largest = 0;
  for (std::size_t i = 0; i < left.size(); ++i) {
    if (left[i] == right[i] || (std::isnan(left[i]) && std::isnan(right[i]))) continue;
    const double difference = std::abs(left[i] - right[i]);
    if (!(difference <= largest)) largest = std::isnan(difference) ? infinity : difference;
  }
  return largest;
}

// The message of the E that f() throws; "no error" or "another error: ..." otherwise.
template <class E, class F>
std::string message_of(const F& f) {
  try {
    f();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    return std::string("another error: ") + error.what();
  }
  return "no error";
}

}  // namespace fovea::test
