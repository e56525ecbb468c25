#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ops/sparse_softmax.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <numeric>

#include "special_values.h"

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;
using Rows = std::vector<std::vector<Reals>>;

// ---- The rows ----------------------------------------------------------------------------------

// A wave of amplitude `size` around `middle`, without equal neighbors.
Reals wave(std::size_t n, Real size, Real middle = 0) {
  Reals x;
  for (std::size_t i = 0; i < n; ++i)
    x.push_back(middle + size * (static_cast<Real>(i * 7 % 11) / 11 - 0.5L));
  return x;
}
Reals with(Reals x, std::size_t position, Real number) {
  x[position % x.size()] = number;
  return x;
}

// Rows for which every op here must give finite results.
std::vector<Reals> finite_rows(std::size_t n) {
  std::vector<Reals> rows;
  for (const Real c : {0.0L, 0.1L, -3.3L, 33333.3L, 1e-30L, 1e20L, -1e20L, 1e37L})
    rows.emplace_back(n, c);
  for (const Real size : {1.0L, 1e-30L, 1e-40L, 30.0L, 1e4L, 1e20L, 1e37L})
    rows.push_back(wave(n, size));
  rows.push_back(wave(n, 1, 5));
  rows.push_back(with(wave(n, 1), 3, 1e20L));
  rows.push_back(with(wave(n, 1e-30L), 3, 1));
  return rows;
}

std::vector<Reals> all_rows(std::size_t n) {
  std::vector<Reals> rows = finite_rows(n);
  rows.push_back(with(wave(n, 1), 2, -kInf));
  rows.push_back(with(with(wave(n, 1e20L), 2, -kInf), 4, -kInf));
  rows.push_back(with(Reals(n, -kInf), 1, -1e37L));
  rows.push_back(Reals(n, -kInf));
  rows.push_back(with(wave(n, 1), 1, kNaN));
  return rows;
}

Rows one_input(const std::vector<Reals>& xs) {
  Rows rows;
  for (const Reals& x : xs) rows.push_back({x});
  return rows;
}

Real sum_of(const Reals& x) { return std::accumulate(x.begin(), x.end(), Real{0}); }
Real size_of(const Reals& x) {
  Real sum = 0;
  for (const Real v : x) sum += std::abs(v);
  return sum;
}
Real mean_of(const Reals& x) {
  const Real first = sum_of(x) / static_cast<Real>(x.size());
  Real rest = 0;
  for (const Real v : x) rest += v - first;
  return first + rest / static_cast<Real>(x.size());
}
Reals times(Real s, Reals x) {
  for (Real& v : x) v *= s;
  return x;
}
Real largest(const Reals& x) { return *std::max_element(x.begin(), x.end()); }

// One input of any length: cases of two lengths, one of them shorter than a vector.
using Formula = std::function<Expected(const Reals& x, const Reals& dy, Real eps)>;
using Op = std::function<Tensor(const Tensor&)>;
std::vector<SpecialCase> row_cases(const std::string& op, const Op& f, const Op& reference,
                                   const Formula& formula,
                                   const std::function<std::vector<Reals>(std::size_t)>& rows) {
  std::vector<SpecialCase> cases;
  for (const std::size_t n : {std::size_t{64}, std::size_t{5}}) {
    SpecialCase c{op, [f](const Inputs& in) { return f(in[0]); }, nullptr,
                  [formula](const std::vector<Reals>& in, const Reals& dy, Real eps) {
                    return formula(in[0], dy, eps);
                  },
                  one_input(rows(n))};
    if (reference) c.reference = [reference](const Inputs& in) { return reference(in[0]); };
    cases.push_back(std::move(c));
  }
  return cases;
}

// ---- Reductions --------------------------------------------------------------------------------

const bool sums_added =
    add_special_cases(row_cases(
        "sum", [](const Tensor& x) { return sum(x, -1, true); }, nullptr,
        [](const Reals& x, const Reals& dy, Real eps) {
          const Reals dx(x.size(), dy[0]);
          return Expected{{sum_of(x)}, {8 * eps * size_of(x)}, {dx}, {Reals(x.size(), 0)}};
        },
        all_rows)) &&
    add_special_cases(row_cases(
        "mean", [](const Tensor& x) { return mean(x, -1, true); }, nullptr,
        [](const Reals& x, const Reals& dy, Real eps) {
          const Real n = static_cast<Real>(x.size());
          const Reals dx(x.size(), dy[0] / n);
          return Expected{{sum_of(x) / n}, {8 * eps * size_of(x) / n}, {dx}, {times(eps, dx)}};
        },
        [](std::size_t n) {
          std::vector<Reals> rows = all_rows(n);
          rows.push_back(Reals(n, 3e38L));  // the sum overflows, the mean does not
          return rows;
        })) &&
    add_special_cases(row_cases(
        "var", [](const Tensor& x) { return var(x, -1, 0, true); }, nullptr,
        [](const Reals& x, const Reals& dy, Real eps) {
          const Real n = static_cast<Real>(x.size()), mean = mean_of(x);
          Real squares = 0;
          Expected e;
          Reals dx, error;
          for (const Real v : x) {
            squares += (v - mean) * (v - mean);
            dx.push_back(dy[0] * 2 / n * (v - mean));
          }
          for (const Real d : dx)
            error.push_back(16 * eps * (std::abs(d) + size_of(dx) / n) +
                            4 * eps * eps * std::abs(mean));
          return Expected{{squares / n}, {16 * eps * squares / n}, {dx}, {error}};
        },
        [](std::size_t n) {
          std::vector<Reals> rows = finite_rows(n);
          rows.push_back(with(wave(n, 1), 1, kNaN));
          return rows;
        })) &&
    add_special_cases(row_cases(
        "logsumexp", [](const Tensor& x) { return logsumexp(x, -1, true); }, nullptr,
        [](const Reals& x, const Reals& dy, Real eps) {
          const Real top = largest(x), shift = std::isinf(top) ? 0 : top;
          Real total = 0;
          for (const Real v : x) total += std::exp(v - shift);
          const Real y = shift + std::log(total);
          Reals dx, error;
          for (const Real v : x) {
            dx.push_back(std::isinf(y) ? 0 : dy[0] * std::exp(v - shift) / total);
            error.push_back(64 * eps);
          }
          return Expected{{y}, {8 * eps * (1 + std::abs(y))}, {dx}, {error}};
        },
        all_rows)) &&
    add_special_cases(row_cases(
        "cumsum", [](const Tensor& x) { return cumsum(x, -1); }, nullptr,
        [](const Reals& x, const Reals& dy, Real eps) {
          Expected e{{}, {}, {Reals(x.size())}, {Reals(x.size())}};
          Real sum = 0, size = 0;
          for (const Real v : x) {
            e.value.push_back(sum += v);
            e.value_error.push_back(8 * eps * (size += std::abs(v)));
          }
          Real later = 0;
          for (std::size_t i = x.size(); i-- > 0;) {
            e.gradients[0][i] = later += dy[i];
            e.gradient_errors[0][i] = 8 * eps * later;
          }
          return e;
        },
        all_rows));

template <bool kLargest>
Expected extreme(const Reals& x, const Reals& dy, Real) {
  const Real best = kLargest ? largest(x) : *std::min_element(x.begin(), x.end());
  const auto count = static_cast<Real>(std::count(x.begin(), x.end(), best));
  Reals dx, error;
  for (const Real v : x) {
    dx.push_back(v == best ? dy[0] / count : 0);
    error.push_back(1e-6L);
  }
  return {{best}, {0}, {dx}, {error}};
}
std::vector<Reals> rows_without_nan(std::size_t n) {
  std::vector<Reals> rows = all_rows(n);
  rows.pop_back();
  return rows;
}
const bool extremes_added = add_special_cases(row_cases(
                                "max", [](const Tensor& x) { return max(x, -1, true); }, nullptr,
                                extreme<true>, rows_without_nan)) &&
                            add_special_cases(row_cases(
                                "min", [](const Tensor& x) { return min(x, -1, true); }, nullptr,
                                extreme<false>, rows_without_nan));

// ---- Softmax and its relatives -----------------------------------------------------------------

bool has_nan(const Reals& x) {
  return std::any_of(x.begin(), x.end(), [](Real v) { return std::isnan(v); });
}

// Probabilities of the kept elements. None kept: NaN, or 0 if `zeros` is set.
Reals softmax_of(const Reals& x, bool zeros) {
  const Real top = largest(x);
  if (has_nan(x) || top == -kInf) return Reals(x.size(), has_nan(x) || !zeros ? kNaN : 0);
  Reals p;
  for (const Real v : x) p.push_back(std::exp(v - top));
  return times(1 / sum_of(p), p);
}

// dx = w (dy - sum(w dy) / sum w), the derivative of all of these; w = p for softmax.
Expected mapped(const Reals& y, const Reals& w, const Reals& dy, Real eps) {
  Expected e{y, Reals(y.size(), 8 * eps), {{}}, {Reals(y.size(), 32 * eps)}};
  Real product = 0;
  for (std::size_t i = 0; i < y.size(); ++i) product += w[i] * dy[i];
  const Real total = sum_of(w);
  for (std::size_t i = 0; i < y.size(); ++i)
    e.gradients[0].push_back(total == 0 ? 0 : w[i] * (dy[i] - product / total));
  return e;
}

Expected softmax_row(const Reals& x, const Reals& dy, Real eps) {
  const Reals p = softmax_of(x, false);
  return mapped(p, p, dy, eps);
}

Expected log_softmax_row(const Reals& x, const Reals& dy, Real eps) {
  const Reals p = softmax_of(x, false);
  Expected e{{}, {}, {{}}, {Reals(x.size(), 64 * eps * sum_of(dy))}};
  const Real top = largest(x);
  Real total = 0;
  for (const Real v : x) total += std::exp(v - top);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const Real y = has_nan(x) || top == -kInf ? kNaN : (x[i] - top) - std::log(total);
    e.value.push_back(y);
    e.value_error.push_back(8 * eps * (1 + std::abs(std::isinf(y) ? 0 : y)));
    e.gradients[0].push_back(dy[i] - p[i] * sum_of(dy));
  }
  return e;
}

// y_i = max(scale x_i - tau, 0)^power, found by bisection over tau.
Reals sparse_of(const Reals& x, Real scale, int power) {
  const Real top = largest(x);
  if (has_nan(x) || top == -kInf) return Reals(x.size(), kNaN);
  Real low = -1, high = 0;
  const auto row = [&](Real tau) {
    Reals y;
    for (const Real v : x) {
      const Real above = std::max<Real>(0, scale * (v - top) - tau);
      y.push_back(power == 2 ? above * above : above);
    }
    return y;
  };
  for (int i = 0; i < 200; ++i) {
    const Real middle = (low + high) / 2;
    (sum_of(row(middle)) > 1 ? low : high) = middle;
  }
  return row(low);
}
// The gradient of a row that is NaN is unspecified.
Expected without_nan_gradient(Expected e) {
  if (has_nan(e.value)) e.gradients.clear();
  return e;
}
Expected sparsemax_row(const Reals& x, const Reals& dy, Real eps) {
  const Reals y = sparse_of(x, 1, 1);
  Reals w;
  for (const Real v : y) w.push_back(v > 1e-15L ? 1 : 0);
  return without_nan_gradient(mapped(y, w, dy, eps));
}
Expected entmax_row(const Reals& x, const Reals& dy, Real eps) {
  const Reals y = sparse_of(x, 0.5L, 2);
  Reals w;
  for (const Real v : y) w.push_back(std::sqrt(v));
  Expected e = mapped(y, w, dy, eps);
  for (Real& error : e.gradient_errors[0])
    error = 64 * std::sqrt(eps);  // sqrt(y) near the edge of the support
  return without_nan_gradient(e);
}

// Every third element is masked.
Tensor keep_of(const Tensor& x) {
  std::vector<bool> kept;
  for (std::int64_t i = 0; i < x.dim(-1); ++i) kept.push_back(i % 3 != 2);
  return from_data(kept, {x.dim(-1)});
}
Expected masked_row(const Reals& all, const Reals& dy, Real eps) {
  Reals x, given;
  for (std::size_t i = 0; i < all.size(); ++i)
    if (i % 3 != 2) x.push_back(all[i]), given.push_back(dy[i]);
  const Reals p = softmax_of(x, true);
  const Expected kept = mapped(p, p, given, eps);
  Expected e{{}, Reals(all.size(), 8 * eps), {{}}, {Reals(all.size(), 32 * eps)}};
  std::size_t at = 0;
  for (std::size_t i = 0; i < all.size(); ++i) {
    e.value.push_back(i % 3 == 2 ? 0 : kept.value[at]);
    e.gradients[0].push_back(i % 3 == 2 ? 0 : kept.gradients[0][at]);
    if (i % 3 != 2) ++at;
  }
  return e;
}
std::vector<Reals> rows_for_mask(std::size_t n) {
  std::vector<Reals> rows = all_rows(n);
  rows.push_back(with(wave(n, 1), 2, kNaN));      // dropped
  rows.push_back(with(wave(n, 1), 2, kInf));      // dropped
  rows.push_back(with(wave(n, 1, -1e4L), 2, 0));  // masked, and far above the others
  return rows;
}

const bool softmax_added =
    add_special_cases(row_cases(
        "softmax", [](const Tensor& x) { return softmax(x); },
        [](const Tensor& x) { return softmax_reference(x); }, softmax_row, all_rows)) &&
    add_special_cases(row_cases(
        "log_softmax", [](const Tensor& x) { return log_softmax(x); },
        [](const Tensor& x) { return log_softmax_reference(x); }, log_softmax_row,
        [](std::size_t n) {
          std::vector<Reals> rows = finite_rows(n);
          rows.push_back(with(wave(n, 1), 2, -kInf));
          return rows;
        })) &&
    add_special_cases(row_cases(
        "masked_softmax", [](const Tensor& x) { return masked_softmax(x, keep_of(x)); },
        [](const Tensor& x) { return masked_softmax_reference(x, keep_of(x)); }, masked_row,
        rows_for_mask)) &&
    add_special_cases(
        row_cases("sparsemax", sparsemax, sparsemax_reference, sparsemax_row, all_rows)) &&
    add_special_cases(row_cases("entmax15", entmax15, entmax15_reference, entmax_row, all_rows));

// ---- Norms -------------------------------------------------------------------------------------

// y = (x - mean) r, dx = r (dy - mean(dy) - y mean(dy y)); without centering the mean is 0.
Expected normalized(const Reals& x, const Reals& dy, Real eps, bool centered, Real epsilon) {
  const Real n = static_cast<Real>(x.size()), mean = centered ? mean_of(x) : 0;
  Real squares = 0;
  for (const Real v : x) squares += (v - mean) * (v - mean);
  const Real r = 1 / std::sqrt(squares / n + epsilon);
  Expected e{{}, {}, {{}}, {}};
  Real product = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    e.value.push_back((x[i] - mean) * r);
    product += dy[i] * e.value[i];
  }
  // The rounding of the mean matters up to the size from which rows are computed in a wider type.
  const Real spread = std::min<Real>(std::abs(mean) * r, 1024);
  for (std::size_t i = 0; i < x.size(); ++i) {
    const bool constant = squares == 0;
    e.value_error.push_back(constant ? eps * eps * 64 * std::abs(mean) * r
                                     : 16 * eps * (1 + spread + std::abs(e.value[i])));
    const Real dx = r * (dy[i] - (centered ? sum_of(dy) / n : 0) - e.value[i] * product / n);
    e.gradients[0].push_back(dx);
  }
  e.gradient_errors.push_back(Reals(x.size(), 32 * eps * r * (1 + spread) * 8));
  return e;
}

std::vector<Reals> norm_rows(std::size_t n) {
  std::vector<Reals> rows = finite_rows(n);
  rows.push_back(with(wave(n, 1), 1, kNaN));
  rows.push_back(wave(n, 1, 1e4L));
  return rows;
}

const bool norms_added = add_special_cases(row_cases(
                             "layer_norm", [](const Tensor& x) { return layer_norm(x); },
                             [](const Tensor& x) { return layer_norm_reference(x); },
                             [](const Reals& x, const Reals& dy, Real eps) {
                               return normalized(x, dy, eps, true, 1e-5L);
                             },
                             norm_rows)) &&
                         add_special_cases(row_cases(
                             "rms_norm", [](const Tensor& x) { return rms_norm(x); },
                             [](const Tensor& x) { return rms_norm_reference(x); },
                             [](const Reals& x, const Reals& dy, Real eps) {
                               return normalized(x, dy, eps, false, 1e-6L);
                             },
                             norm_rows));

}  // namespace
}  // namespace fovea::test
