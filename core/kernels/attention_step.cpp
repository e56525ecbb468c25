#include <fovea/core/kernels/attention.h>
#include <fovea/core/kernels/attention_step.h>
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/rope.h>
#include <fovea/core/kernels/rows.h>
#include <fovea/core/kernels/weight_parts.h>

#include <cstring>
#include <limits>

namespace fovea::kernels {
namespace {

template <class T>
WeightParts parts_of(const AttentionStepProblem<T>& p) {
  return {p.G, (2 * (p.H / p.G) + 2) * p.D * p.C};
}

// Scratch buffers of a task, one after another: the same for every token.
template <class T>
struct Layout {
  int64_t q, kv, scores;  // elements of each; the heads' outputs are as large as q
  explicit Layout(const AttentionStepProblem<T>& p)
      : q(p.B * parts_of(p).size * (p.H / p.G) * p.D),
        kv(p.B * parts_of(p).size * p.D),
        scores(p.H / p.G * p.cache.slots + p.D) {}
  int64_t total() const { return 2 * q + kv + scores; }
};

// Key heads [begin, end) and their query heads.
template <class T>
class Part {
 public:
  Part(const AttentionStepProblem<T>& problem, int64_t begin, int64_t end, T* arena)
      : p_(problem),
        loops_(
            loops_of<T>(pick(baseline::attention_table, v3::attention_table, v4::attention_table))),
        begin_(begin),
        heads_(end - begin),
        group_(problem.H / problem.G) {
    const Layout<T> sizes(problem);
    q_ = arena;
    y_ = q_ + sizes.q;
    kv_ = y_ + sizes.q;
    scores_ = kv_ + sizes.kv;
    more_ = scores_ + group_ * problem.cache.slots;
  }

  void run(T* share) {
    project(p_.q_weight, p_.q_bias, begin_ * group_, heads_ * group_, q_);
    turn(heads_ * group_, q_);
    loops_.scale(p_.B * heads_ * group_ * p_.D, p_.scale, q_, q_);
    project(p_.k_weight, p_.k_bias, begin_, heads_, kv_);
    turn(heads_, kv_);
    append(p_.cache.keys);
    project(p_.v_weight, p_.v_bias, begin_, heads_, kv_);
    append(p_.cache.values);
    for (int64_t b = 0; b < p_.B; ++b)
      for (int64_t g = 0; g < heads_; ++g) attend(b, g);
    const int64_t width = heads_ * group_ * p_.D;
    gemm_serial<T>(Trans::no, Trans::yes, p_.B, p_.C, width, 1, y_, width,
                   p_.out_weight + begin_ * group_ * p_.D, p_.H * p_.D, 0, share, p_.C);
  }

 private:
  // to (B, heads, D) = x W^T + b for some heads' rows of W
  void project(const T* weight, const T* bias, int64_t head, int64_t heads, T* to) const {
    gemm_serial<T>(Trans::no, Trans::yes, p_.B, heads * p_.D, p_.C, 1, p_.x, p_.C,
                   weight + head * p_.D * p_.C, p_.C, 0, to, heads * p_.D,
                   bias ? bias + head * p_.D : nullptr);
  }

  void turn(int64_t heads, T* x) const {
    if (!p_.rope.table) return;
    const RopeSizes sizes{.B = p_.B,
                          .H = heads,
                          .T = 1,
                          .D = p_.D,
                          .pairs = p_.rope.pairs,
                          .pair_stride = p_.rope.pair_stride,
                          .other = p_.rope.other,
                          .table_per_row = false};
    const RopeLayout layout{heads * p_.D, p_.D, p_.D};
    rope(sizes, x, layout, p_.rope.table, /*backwards=*/false, x, layout);
  }

  const T* slot(const T* cache, int64_t b, int64_t g, int64_t at) const {
    return cache + b * p_.cache.b_stride + (begin_ + g) * p_.cache.g_stride + at * p_.D;
  }

  void append(T* cache) const {
    const int64_t at = (p_.cache.first + p_.cache.count - 1) % p_.cache.slots;
    for (int64_t b = 0; b < p_.B; ++b)
      for (int64_t g = 0; g < heads_; ++g)
        std::memcpy(const_cast<T*>(slot(cache, b, g, at)), kv_ + (b * heads_ + g) * p_.D,
                    static_cast<std::size_t>(p_.D) * sizeof(T));
  }

  // The queries of one group. Their keys are contiguous, or in two ranges at the wrap of the ring
  // buffer.
  void attend(int64_t b, int64_t g) const {
    const StepCache<T>& cache = p_.cache;
    const int64_t n = cache.count, head = std::min(n, cache.slots - cache.first), tail = n - head;
    const T* const q = q_ + (b * heads_ + g) * group_ * p_.D;
    const auto score = [&](int64_t first, int64_t keys, T* to) {
      gemm_serial<T>(Trans::no, Trans::yes, group_, keys, p_.D, 1, q, p_.D,
                     slot(cache.keys, b, g, first), p_.D, 0, to, n);
    };
    score(cache.first, head, scores_);
    if (tail > 0) score(0, tail, scores_ + head);
    for (int64_t r = 0; r < group_; ++r) {
      T* const weights = scores_ + r * n;
      T top = -std::numeric_limits<T>::infinity();
      const T total = loops_.softmax_row(n, weights, &top);
      T* const y = y_ + ((b * heads_ + g) * group_ + r) * p_.D;
      loops_.weighted_sum(head, p_.D, weights, slot(cache.values, b, g, cache.first), p_.D, y);
      if (tail > 0) {
        loops_.weighted_sum(tail, p_.D, weights + head, slot(cache.values, b, g, 0), p_.D, more_);
        loops_.add(p_.D, more_, y);
      }
      loops_.scale(p_.D, total == 0 ? T{0} : 1 / total, y, y);
    }
  }

  const AttentionStepProblem<T>& p_;
  const AttentionLoops<T>& loops_;
  int64_t begin_, heads_, group_;
  T *q_, *y_, *kv_, *scores_, *more_;
};

}  // namespace

template <class T>
void attention_step(const AttentionStepProblem<T>& p) {
  if (dry_run) return;
  thread_local GemmMemory<T> memory;  // scratch of each task, then the partial sums of y
  const WeightParts parts = parts_of(p);
  const int64_t per_part = Layout<T>(p).total();
  T* const arena = memory.reserve(parts.count * (per_part + p.B * p.C));
  T* const shares = arena + parts.count * per_part;
  parallel_for(parts.count, 1, [&](int64_t part, int64_t last) {
    for (; part < last; ++part)
      Part<T>(p, parts.begin(part), parts.end(part), arena + part * per_part)
          .run(shares + part * p.B * p.C);
  });
  add_shares(parts.count, p.B, p.C, shares, p.out_bias, p.y);
}

template void attention_step(const AttentionStepProblem<float>&);
template void attention_step(const AttentionStepProblem<double>&);

}  // namespace fovea::kernels
