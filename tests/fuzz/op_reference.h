// A graph of layout ops with extreme arguments, decoded from bytes and compared with a reference.
//
// Every element of a layout op's result is an element of a leaf, or a 0 of pad(). The reference
// computes which one, and from that all values and the gradient of a weighted sum of all results.
// It decides in 128-bit arithmetic whether the arguments are valid: invalid ones must throw a
// fovea::Error, valid ones must not throw, and no other exception may be thrown.
#pragma once

#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>

#include <algorithm>
#include <cstdint>
#include <functional>
#include <limits>
#include <optional>
#include <span>
#include <stdexcept>
#include <string>
#include <vector>

namespace fovea::test {

using Sizes = std::vector<std::int64_t>;
__extension__ typedef __int128 Wide;

class Bytes {
 public:
  explicit Bytes(std::span<const std::uint8_t> bytes) : bytes_(bytes) {}
  bool done() const { return at_ >= bytes_.size(); }
  std::int64_t below(std::int64_t n) { return done() ? 0 : bytes_[at_++] % n; }

  std::int64_t extreme() {
    constexpr std::int64_t most = std::numeric_limits<std::int64_t>::max();
    constexpr std::int64_t values[] = {0,
                                       1,
                                       2,
                                       3,
                                       4,
                                       5,
                                       6,
                                       -1,
                                       -2,
                                       -3,
                                       12,
                                       std::int64_t{1} << 31,
                                       std::int64_t{1} << 32,
                                       std::int64_t{1} << 62,
                                       most,
                                       most - 1,
                                       -(std::int64_t{1} << 31),
                                       -most - 1};
    return values[below(std::size(values))];
  }
  // Mostly valid, sometimes invalid.
  std::int64_t axis(std::int64_t rank) {
    return below(8) == 0 ? extreme() : below(2 * rank + 1) - rank;
  }
  std::int64_t size(std::int64_t usual) { return below(3) == 0 ? extreme() : below(usual + 2); }

 private:
  std::span<const std::uint8_t> bytes_;
  std::size_t at_ = 0;
};

// The expected result: its sizes, and the leaf element of each of its elements (-1: a zero).
struct Expected {
  Sizes shape;
  std::vector<std::int64_t> source;
};
struct Known {
  Tensor tensor;
  Expected expected;
};

// The number of elements; empty for a negative size and above a tensor's maximum.
inline std::optional<std::int64_t> count_of(const Sizes& shape) {
  if (shape.size() > kMaxRank) return {};
  Wide n = 1, all = 1;
  for (const std::int64_t size : shape) {
    if (size < 0) return {};
    n *= size;
    all *= std::max<std::int64_t>(1, size);
    if (all > kMaxNumel) return {};
  }
  return static_cast<std::int64_t>(n);
}

constexpr std::int64_t kMostElements = 4096;  // limit for compared results

// The result of `shape` whose element at index i is x's element at index from(i); -1: a zero.
inline Expected gathered(const Expected& x, const Sizes& shape,
                         const std::function<bool(const Sizes& i, Sizes& from)>& from) {
  Expected y{shape, {}};
  const std::int64_t n = *count_of(shape);
  Sizes i(shape.size(), 0), place(x.shape.size(), 0);
  for (std::int64_t k = 0; k < n; ++k) {
    if (from(i, place)) {
      std::int64_t at = 0;
      for (std::size_t d = 0; d < place.size(); ++d) at = at * x.shape[d] + place[d];
      y.source.push_back(x.source[static_cast<std::size_t>(at)]);
    } else {
      y.source.push_back(-1);
    }
    for (std::size_t d = shape.size(); d-- > 0;) {
      if (++i[d] < shape[d]) break;
      i[d] = 0;
    }
  }
  return y;
}

inline std::optional<std::size_t> axis_of(std::int64_t axis, std::size_t rank) {
  const auto n = static_cast<std::int64_t>(rank);
  if (axis < -n || axis >= n) return {};
  return static_cast<std::size_t>(axis < 0 ? axis + n : axis);
}

// x[start + step * i] for i < length on an axis
inline Expected part_of(const Expected& x, std::size_t axis, std::int64_t start,
                        std::int64_t length, std::int64_t step) {
  Sizes shape = x.shape;
  shape[axis] = length;
  return gathered(x, shape, [&](const Sizes& i, Sizes& from) {
    from = i;
    from[axis] = start + step * i[axis];
    return true;
  });
}

struct OpGraphCounts {
  std::int64_t results = 0, errors = 0, gradients = 0;
};

// Leaves, the results of ops on them, and the comparison of both with the expected values.
class OpGraphBase {
 public:
  explicit OpGraphBase(std::span<const std::uint8_t> bytes) : bytes_(bytes) {
    add_leaf();
    add_leaf();
  }

 protected:
  using Results = std::optional<std::vector<Expected>>;  // empty: must throw

  void add_leaf() {
    Sizes shape;
    for (std::int64_t d = bytes_.below(4); d > 0; --d) shape.push_back(bytes_.below(5));
    Expected expected{shape, {}};
    std::vector<double> values;
    for (std::int64_t i = *count_of(shape); i > 0; --i) {
      expected.source.push_back(static_cast<std::int64_t>(leaf_values_.size()));
      values.push_back(static_cast<double>(leaf_values_.size()) + 1);
      leaf_values_.push_back(values.back());
    }
    leaves_.push_back(from_data(values, Shape(shape.begin(), shape.end())).set_requires_grad());
    known_.push_back({leaves_.back(), expected});
  }

  Known pick() { return known_[static_cast<std::size_t>(bytes_.below(std::ssize(known_)))]; }

  // Runs `op` and compares its results with `expected`. may_throw: valid arguments may throw, too.
  void check(const std::string& name, const Results& expected, bool may_throw,
             const std::function<std::vector<Tensor>()>& op) {
    std::vector<Tensor> results;
    try {
      results = op();
    } catch (const Error& error) {
      if (expected && !may_throw) throw std::logic_error(name + " threw: " + error.what());
      ++counts_.errors;
      return;
    }
    if (!expected) throw std::logic_error(name + " took invalid arguments");
    if (results.size() != expected->size()) throw std::logic_error(name + ": number of results");
    for (std::size_t i = 0; i < results.size(); ++i) {
      compare(name, results[i], (*expected)[i]);
      if (known_.size() < 12) known_.push_back({results[i], (*expected)[i]});
    }
    ++counts_.results;
  }
  void check(const std::string& name, const std::optional<Expected>& expected,
             const std::function<Tensor()>& op, bool may_throw = false) {
    const Results all = expected ? Results(std::vector<Expected>{*expected}) : Results();
    check(name, all, may_throw, [&] { return std::vector<Tensor>{op()}; });
  }

  void compare(const std::string& name, const Tensor& tensor, const Expected& expected) const {
    if (!(tensor.shape() == Shape(expected.shape.begin(), expected.shape.end())))
      throw std::logic_error(name + ": shape " + tensor.shape().str());
    const std::vector<double> values = tensor.to_vector<double>();
    for (std::size_t i = 0; i < values.size(); ++i) {
      const std::int64_t source = expected.source[i];
      if (values[i] != (source < 0 ? 0 : leaf_values_[static_cast<std::size_t>(source)]))
        throw std::logic_error(name + ": element " + std::to_string(i) + " of " +
                               tensor.shape().str());
    }
  }

  // The gradient of the sum of all results, each element weighted by its index.
  void check_gradients() {
    std::vector<double> wanted(leaf_values_.size(), 0.0);
    Tensor loss = scalar(0, DType::f64);
    for (const Known& known : known_) {
      std::vector<double> weights;
      for (const std::int64_t source : known.expected.source) {
        weights.push_back(static_cast<double>(weights.size() % 7 + 1));
        if (source >= 0) wanted[static_cast<std::size_t>(source)] += weights.back();
      }
      loss = loss + sum(known.tensor * from_data(weights, known.tensor.shape()));
    }
    loss.backward();
    std::size_t at = 0;
    for (const Tensor& leaf : leaves_)
      for (const double gradient : leaf.grad().to_vector<double>()) {
        if (gradient != wanted[at]) throw std::logic_error("gradient " + std::to_string(at));
        ++at;
        ++counts_.gradients;
      }
  }

  Bytes bytes_;
  std::vector<double> leaf_values_;
  std::vector<Tensor> leaves_;
  std::vector<Known> known_;
  OpGraphCounts counts_;
};

}  // namespace fovea::test
