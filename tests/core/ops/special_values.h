// Ops at 0, infinities, NaN, huge, tiny and denormal values and on rows of equal ones, against
// formulas in long double. Each family adds its cases; special_values_test.cpp runs them on every
// instruction set and checks that every registered op has one.
#pragma once

#include <fovea/core/tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

namespace fovea::test {

using Real = long double;
using Reals = std::vector<Real>;

/// The expected result of an op for one row of each input, and the allowed errors.
struct Expected {
  Reals value, value_error;
  std::vector<Reals> gradients, gradient_errors;  ///< by each input, for the given dy
};

struct SpecialCase {
  std::string op;  ///< as registered
  std::function<Tensor(const std::vector<Tensor>&)> f;
  std::function<Tensor(const std::vector<Tensor>&)> reference;  ///< may be empty
  /// x: a row of each input, rounded to the type; dy: of the result's row; eps: the type's
  std::function<Expected(const std::vector<Reals>& x, const Reals& dy, Real eps)> expected;
  /// rows[r][i]: row r of input i. All rows of an input have one length.
  std::vector<std::vector<Reals>> rows;
  bool of_elements = false;  ///< rows of one element, with different values for f32 and f64
};

bool add_special_cases(std::vector<SpecialCase> cases);
const std::vector<SpecialCase>& special_cases();

inline constexpr Real kInf = std::numeric_limits<Real>::infinity();
inline constexpr Real kNaN = std::numeric_limits<Real>::quiet_NaN();

/// 0, +-: denormal (f32), tiny, common, huge, infinite; NaN.
Reals special_numbers();

}  // namespace fovea::test
