// What the recurrent kernels share: blocks of sequences that one thread takes through time.
#pragma once

#include <fovea/core/kernels/blas.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/recurrent.h>

#include <algorithm>
#include <numeric>

namespace fovea::kernels {

// Sequences that one thread takes through time together: enough rows to feed the matrix product,
// few enough that a batch of 32 still keeps two threads busy.
inline constexpr int64_t kSequencesPerBlock = 16;

inline std::vector<int64_t> longest_first(const RaggedRows& rows) {
  std::vector<int64_t> order(static_cast<std::size_t>(rows.B));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rows.length(a) > rows.length(b); });
  return order;
}

// Sequences [begin, end) of the order, longest first.
struct SequenceBlock {
  const RaggedRows& rows;
  const int64_t* order;
  int64_t size;

  int64_t steps() const { return rows.length(order[0]); }
  int64_t running(int64_t step) const {
    int64_t n = size;
    while (n > 0 && rows.length(order[n - 1]) <= step) --n;
    return n;
  }
};

// The packed weights of the current call: memory that is kept between calls, since fresh pages
// would cost more than the packing.
template <class T>
PackedB<T>& packed_weights() {
  static thread_local PackedB<T> weights;
  return weights;
}

template <class F>
void for_blocks(const RaggedRows& rows, const F& f) {
  const std::vector<int64_t> order = longest_first(rows);
  parallel_for(rows.B, kSequencesPerBlock, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += kSequencesPerBlock)
      f(SequenceBlock{rows, order.data() + at, std::min(kSequencesPerBlock, end - at)});
  });
}

template <class T>
void load_states(const SequenceBlock& block, int64_t H, const T* states, T* h) {
  for (int64_t j = 0; j < block.size; ++j) {
    if (states)
      std::copy_n(states + block.order[j] * H, H, h + j * H);
    else
      std::fill_n(h + j * H, H, T(0));
  }
}

template <class T>
void store_states(const SequenceBlock& block, int64_t H, const T* h, T* states) {
  for (int64_t j = 0; j < block.size; ++j) std::copy_n(h + j * H, H, states + block.order[j] * H);
}

}  // namespace fovea::kernels
