#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/linear_attention.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/rows.h>

#include <algorithm>
#include <vector>

namespace fovea::kernels {
namespace {

constexpr int64_t block = 64;  // columns of c per task

template <class T>
const LinearLoops<T>& loops() {
  return loops_of<T>(pick(baseline::linear_table, v3::linear_table, v4::linear_table));
}

// One batch row and some columns of c: running M = sum b c^T, and y = a M on request.
template <class T>
class Running {
 public:
  Running(int64_t D, int64_t E, int64_t from, int64_t width, const T* a, const T* b, const T* c,
          T* y)
      : D_(D),
        E_(E),
        from_(from),
        width_(width),
        a_(a),
        b_(b),
        c_(c),
        y_(y),
        sums_(static_cast<std::size_t>(D * width)) {}

  void add(int64_t i) {
    loops<T>().add_outer(D_, width_, b_ + i * D_, c_ + i * E_ + from_, sums_.data());
  }
  void write(int64_t i) const {
    loops<T>().row_times(D_, width_, a_ + i * D_, sums_.data(), y_ + i * E_ + from_);
  }
  void write_zero(int64_t i) const { std::fill_n(y_ + i * E_ + from_, width_, T(0)); }

 private:
  int64_t D_, E_, from_, width_;
  const T *a_, *b_, *c_;
  T* y_;
  std::vector<T> sums_;  // M (D, width)
};

// Calls f(b, running) for every batch row and block of columns. A: rows of a and y, R: of b and c.
template <class T, class F>
void for_blocks(const LinearSizes& n, int64_t A, int64_t R, const T* a, const T* b, const T* c,
                T* y, const F& f) {
  const int64_t blocks = chunk_count(n.E, block);
  const int64_t work = (A + R) * n.D * std::min(block, std::max<int64_t>(1, n.E));
  const int64_t grain = std::max<int64_t>(1, 32 * 1024 / std::max<int64_t>(1, work));
  parallel_for(n.B * blocks, grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t row = i / blocks, from = i % blocks * block;
      Running<T> running(n.D, n.E, from, std::min(block, n.E - from), a + row * A * n.D,
                         b + row * R * n.D, c + row * R * n.E, y + row * A * n.E);
      f(row, running);
    }
  });
}

}  // namespace

template <class T>
void prefix_product(const LinearSizes& n, const Reach& reach, const T* a, const T* b, const T* c,
                    T* y) {
  for_blocks(n, n.T, n.S, a, b, c, y, [&](int64_t row, Running<T>& running) {
    const int64_t* ends = reach.row(row);
    int64_t s = 0;
    for (int64_t t = 0; t < n.T; ++t) {
      for (; s < ends[t]; ++s) running.add(s);
      if (ends[t] > 0)
        running.write(t);
      else
        running.write_zero(t);
    }
  });
}

template <class T>
void suffix_product(const LinearSizes& n, const Reach& reach, const T* a, const T* b, const T* c,
                    T* y) {
  for_blocks(n, n.S, n.T, a, b, c, y, [&](int64_t row, Running<T>& running) {
    const int64_t* ends = reach.row(row);
    int64_t t = n.T - 1;
    bool reached = false;  // a key that no query attends gets 0, even if a is NaN there
    for (int64_t s = n.S - 1; s >= 0; --s) {
      for (; t >= 0 && (ends[t] > s || ends[t] == 0); --t) {
        if (ends[t] == 0) continue;
        running.add(t);
        reached = true;
      }
      if (reached)
        running.write(s);
      else
        running.write_zero(s);
    }
  });
}

#define FOVEA_INSTANTIATE(T)                                                                   \
  template void prefix_product(const LinearSizes&, const Reach&, const T*, const T*, const T*, \
                               T*);                                                            \
  template void suffix_product(const LinearSizes&, const Reach&, const T*, const T*, const T*, T*);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
