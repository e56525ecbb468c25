// Shared by the forward and backward loops over time: blocks of sequences processed by one thread.
#pragma once

#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/recurrent.h>
#include <fovea/core/kernels/rows.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace fovea::kernels {

template <class T>
const RecurrentLoops<T>& recurrent_loops() {
  return loops_of<T>(pick(baseline::recurrent_table, v3::recurrent_table, v4::recurrent_table));
}

template <class T>
const CellLoops<T>& cell_loops(const RecurrentProblem<T>& w) {
  const RecurrentLoops<T>& loops = recurrent_loops<T>();
  if (w.cell_norm_weight) return loops.normed_cells[w.kind == CellKind::coupled_lstm];
  return loops.cells[static_cast<int>(w.kind)];
}

// Calls f(group, first element, count) for every group of gates that is normalized together.
template <class F>
void for_norm_groups(CellKind kind, int64_t H, const F& f) {
  const int64_t all = layout_of(kind).gates * H;
  if (norm_groups(kind) == 1) return f(int64_t{0}, int64_t{0}, all);
  f(int64_t{0}, int64_t{0}, 2 * H);
  f(int64_t{1}, 2 * H, H);
}

// Sequences that one thread processes together, longest first.
struct SequenceBlock {
  const RaggedRows& rows;
  std::vector<int64_t> sequences;

  int64_t size() const { return static_cast<int64_t>(sequences.size()); }
  int64_t sequence(int64_t j) const { return sequences[static_cast<std::size_t>(j)]; }
  int64_t row(int64_t j, int64_t step) const { return rows.row(sequence(j), step); }
  int64_t length(int64_t j) const { return rows.length(sequence(j)); }
  int64_t steps() const { return sequences.empty() ? 0 : length(0); }
  int64_t running(int64_t step) const {
    int64_t n = size();
    while (n > 0 && length(n - 1) <= step) --n;
    return n;
  }
};

// Up to this number of rows, the values of a step stay in the cache; a thread splits larger blocks.
inline constexpr int64_t kMaxSequencesPerBlock = 32;
inline constexpr int64_t kProductsWorthAThread = 256 * 1024;

// Number of blocks of a direction: enough for the threads. The result of a row does not depend on
// its block.
template <class T>
int64_t block_count(const RecurrentProblem<T>& w, int64_t directions) {
  const int64_t N = w.rows.offsets[w.rows.B], G = layout_of(w.kind).gates;
  const int64_t worth = N * G * w.H * w.P * directions / kProductsWorthAThread;
  const int64_t threads = std::min<int64_t>(num_threads(), std::max<int64_t>(1, worth));
  const int64_t fewest = (w.rows.B + kMaxSequencesPerBlock - 1) / kMaxSequencesPerBlock;
  const int64_t tasks = (fewest * directions + threads - 1) / threads * threads;
  return std::clamp<int64_t>((tasks + directions - 1) / directions, 1,
                             std::max<int64_t>(1, w.rows.B));
}

inline std::vector<int64_t> longest_first(const RaggedRows& rows) {
  std::vector<int64_t> order(static_cast<std::size_t>(rows.B));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rows.length(a) > rows.length(b); });
  return order;
}

// Assigned in the order 0 1 2 2 1 0 0 1 ..., so that every block has the same amount of work.
inline std::vector<int64_t> assigned_rows(const std::vector<int64_t>& order, int64_t block,
                                          int64_t count) {
  std::vector<int64_t> sequences;
  for (int64_t round = 0; round * count < static_cast<int64_t>(order.size()); ++round) {
    const int64_t at = round * count + (round % 2 == 0 ? block : count - 1 - block);
    if (at < static_cast<int64_t>(order.size()))
      sequences.push_back(order[static_cast<std::size_t>(at)]);
  }
  return sequences;
}

// f(direction, block) for every block of every direction, all with the same sequences.
template <class T, class F>
void for_blocks(const RecurrentProblem<T>* walks, int64_t directions, const F& f) {
  const int64_t count = block_count(walks[0], directions);
  const std::vector<int64_t> order = longest_first(walks[0].rows);
  parallel_for(count * directions, 1, [&](int64_t task, int64_t end) {
    for (; task < end; ++task) {
      const int64_t d = task / count;
      f(d, SequenceBlock{walks[d].rows, assigned_rows(order, task % count, count)});
    }
  });
}

// A block's buffers: memory that a thread reuses between calls, since page faults would cost more
// than the computation.
template <class T>
class Scratch {
 public:
  explicit Scratch(int64_t numbers) : next_(memory().reserve(numbers)) {}
  T* take(int64_t numbers) {
    T* taken = next_;
    next_ += numbers;
    return taken;
  }

 private:
  static GemmMemory<T>& memory() {
    static thread_local GemmMemory<T> kept;
    return kept;
  }
  T* next_;
};

// The packed weights of the current call; their memory is reused too.
template <class T>
struct PackedWeights {
  PackedB<T> recurrent, projection;
};
template <class T>
PackedWeights<T>& packed_weights(int64_t direction) {
  static thread_local PackedWeights<T> weights[2];
  return weights[direction];
}

// The states of a block's sequences, or zeros.    states: (B, n) or null  ->  (size, n)
template <class T>
void load_states(const SequenceBlock& block, int64_t n, const T* states, T* to) {
  for (int64_t j = 0; j < block.size(); ++j) {
    if (states)
      std::copy_n(states + block.sequence(j) * n, n, to + j * n);
    else
      std::fill_n(to + j * n, n, T(0));
  }
}

template <class T>
void store_states(const SequenceBlock& block, int64_t n, const T* from, T* states) {
  for (int64_t j = 0; j < block.size(); ++j)
    std::copy_n(from + j * n, n, states + block.sequence(j) * n);
}

}  // namespace fovea::kernels
