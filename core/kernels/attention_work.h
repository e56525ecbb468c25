// Estimated work of attention, by which tasks are distributed among threads. Lengths and windows
// are counted; tables and ids, which would have to be read, are not.
#pragma once

#include <fovea/core/kernels/attention_tiles.h>
#include <fovea/core/kernels/parallel.h>

#include <vector>

namespace fovea::kernels::tiles {

// Multiply-adds that justify starting a thread.
constexpr int64_t kMinTaskWork = 128 * 1024;

// Cost of a query for packing and writing, in units of keys attended.
constexpr int64_t kQueryKeys = 8;

// Number of pairs of a query of batch row b and one of these keys inside the intervals.
inline int64_t interval_pairs(const MaskView& rule, int64_t b, const Range& queries,
                              const Range& keys) {
  if (!rule.begin) return queries.size() * keys.size();
  int64_t pairs = 0;
  for (int64_t t = queries.begin; t < queries.end; ++t) {
    const int64_t at = b * rule.b_stride + t;
    pairs += std::max<int64_t>(0, Range{rule.begin[at], rule.end[at]}.within(keys).size());
  }
  return pairs;
}

// The tasks of several problems as one list.
class Tasks {
 public:
  // Adds a task of the current problem; next() begins the next problem.
  void add(int64_t cost) { costs_.push_back(cost); }
  void next() { first_.push_back(static_cast<int64_t>(costs_.size())); }

  // f(problem, task of it)
  template <class F>
  void run(const F& f) const {
    parallel_tasks(costs_, kMinTaskWork, [&](int64_t task) {
      const auto after = std::upper_bound(first_.begin(), first_.end(), task);
      const auto i = static_cast<std::size_t>(after - first_.begin() - 1);
      f(i, task - first_[i]);
    });
  }

 private:
  std::vector<int64_t> costs_, first_{0};
};

}  // namespace fovea::kernels::tiles
