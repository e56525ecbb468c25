// Shared by the tests of the row-wise kernels: data, padded outputs, every instruction set, and one
// thread against many.
#pragma once

#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>

#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include <doctest/doctest.h>

namespace fovea::test {

// Row lengths around the vector widths, and around the block of a long row's sum.
inline const std::vector<int64_t> row_lengths = {1,  2,  3,  7,  8,   15,   16,   17,
                                                 31, 33, 64, 65, 257, 1023, 1025, 3000};

template <class T>
std::vector<T> normals(int64_t n, unsigned seed, double scale = 1.0) {
  std::mt19937 engine(seed);
  std::normal_distribution<double> normal(0.0, scale);
  std::vector<T> values(static_cast<std::size_t>(n));
  for (T& value : values) value = static_cast<T>(normal(engine));
  return values;
}

// An output of n elements, all NaN, followed by NaNs that a kernel must not modify.
template <class T>
class Output {
 public:
  explicit Output(int64_t n)
      : n_(static_cast<std::size_t>(n)), values_(n_ + 32, std::numeric_limits<T>::quiet_NaN()) {}
  T* data() { return values_.data(); }
  T operator[](int64_t i) const { return values_[static_cast<std::size_t>(i)]; }
  std::vector<T> values() const {
    return {values_.begin(), values_.begin() + static_cast<std::ptrdiff_t>(n_)};
  }
  bool padding_untouched() const {
    for (std::size_t i = n_; i < values_.size(); ++i)
      if (!std::isnan(values_[i])) return false;
    return true;
  }

 private:
  std::size_t n_;
  std::vector<T> values_;
};

// True if |got - want| <= bound for every element; NaN fails. Reports the first element that fails.
template <class Got, class Want, class Bound>
bool close(int64_t n, const Got& got, const Want& want, const Bound& bound) {
  for (int64_t i = 0; i < n; ++i) {
    const double difference = std::abs(static_cast<double>(got(i)) - want(i));
    if (!(difference <= bound(i))) {
      MESSAGE("element ", i, " of ", n, ": got ", got(i), ", want ", want(i), " within ", bound(i));
      return false;
    }
  }
  return true;
}

template <class T>
bool same_bits(const std::vector<T>& a, const std::vector<T>& b) {
  return a.size() == b.size() && std::memcmp(a.data(), b.data(), a.size() * sizeof(T)) == 0;
}

// Runs f() on every instruction set that this processor supports.
template <class F>
void on_every_isa(const F& f) {
  using kernels::Isa;
  for (const Isa isa : {Isa::baseline, Isa::v3, Isa::v4}) {
    if (kernels::set_isa(isa) != isa) continue;
    CAPTURE(kernels::name_of(isa));
    f();
  }
  kernels::set_isa(kernels::detected_isa());
}

// True if f() -> std::vector<T> is bitwise equal on 1, 2, 3, 4 and 8 threads.
template <class F>
bool same_on_any_number_of_threads(const F& f) {
  const int before = kernels::num_threads();
  kernels::set_num_threads(1);
  const auto alone = f();
  bool same = true;
  for (const int threads : {2, 3, 4, 8}) {
    kernels::set_num_threads(threads);
    same = same && same_bits(alone, f());
  }
  kernels::set_num_threads(before);
  return same;
}

}  // namespace fovea::test
