#include <fovea/core/kernels/attention_rows.h>
#include <fovea/core/kernels/attention_tiles.h>

namespace fovea::kernels {
namespace {

using namespace tiles;

// Several queries of one key head, whose scores are computed together.
template <class T>
class RowGroup {
 public:
  RowGroup(const AttentionProblem<T>& problem, Arena<T>& arena)
      : p_(problem),
        t_(problem.n),
        drop_(t_.loops, problem.dropout, problem.n),
        q_(arena.take(kRows * problem.n.D)),
        scores_(arena.take(kRows * problem.n.S)),
        more_(arena.take(problem.n.E)) {}

  // All (query head of the group, query) pairs, a few at a time.
  void run(int64_t b, int64_t g) {
    b_ = b;
    g_ = g;
    const int64_t group = p_.n.H / p_.n.G, all = group * p_.n.T;
    for (int64_t row = 0; row < all; row += kRows) {
      const int64_t rows = std::min(kRows, all - row);
      Range keys;
      for (int64_t r = 0; r < rows; ++r) {
        const int64_t h = g * group + (row + r) / p_.n.T, t = (row + r) % p_.n.T;
        t_.loops.scale(p_.n.D, p_.scale, p_.q.row(b, h, t), q_ + r * p_.n.D);
        keys = keys.joined(interval(t));
      }
      if (!keys.empty())
        t_.gemm.dots(rows, keys.size(), p_.n.D, T{1}, q_, p_.n.D, p_.k.row(b, g, keys.begin),
                     p_.k.row_stride, T{0}, nullptr, scores_, p_.n.S);
      for (int64_t r = 0; r < rows; ++r)
        finish(g * group + (row + r) / p_.n.T, (row + r) % p_.n.T, keys.begin,
               scores_ + r * p_.n.S);
    }
  }

 private:
  static constexpr int64_t kRows = 8;

  Range interval(int64_t t) const {
    if (!p_.keep.begin) return {0, p_.n.S};
    const int64_t at = b_ * p_.keep.b_stride + t;
    const Range range = Range{p_.keep.begin[at], p_.keep.end[at]}.within({0, p_.n.S});
    return range.empty() ? Range{} : range;
  }

  void finish(int64_t h, int64_t t, int64_t first_key, T* row) {
    const Range keys = interval(t);
    T* scores = keys.empty() ? row : row + (keys.begin - first_key);
    if (!keys.empty()) {
      if (p_.hook.forward)
        p_.hook.forward(p_.hook.self, {b_, h, t, keys.begin, 1, keys.size(), scores, 1});
      apply_tables(t_.loops, p_.keep, b_, h, t, 1, keys, scores, 1);
    }
    T top = p_.sinks ? p_.sinks[h] : -std::numeric_limits<T>::infinity();
    const T total = t_.loops.softmax_row(std::max<int64_t>(0, keys.size()), scores, &top);
    if (drop_.on()) drop(h, t, keys, scores);
    T* y = p_.output.row(b_, h, t);
    add_values(keys, scores, y);
    t_.loops.scale(p_.n.E, total == 0 ? T{0} : 1 / total, y, y);
    t_.loops.logsumexp(1, &top, &total, p_.lse + (b_ * p_.n.H + h) * p_.n.T + t);
  }

  // Values with weight 0 are skipped where a table may mask them: 0 times NaN would be NaN.
  void add_values(const Range& keys, const T* weights, T* y) {
    const bool hides = !p_.keep.tables.empty() || !p_.keep.ids.empty();
    const auto is_zero = [](T w) { return w == 0; };
    const T* const end = weights + std::max<int64_t>(0, keys.size());
    const T* w = weights;
    const auto sum = [&](const T* stop, T* to) {
      t_.loops.weighted_sum(stop - w, p_.n.E, w, p_.v.row(b_, g_, keys.begin + (w - weights)),
                            p_.v.row_stride, to);
      w = stop;
    };
    sum(hides ? std::find_if(w, end, is_zero) : end, y);
    while ((w = std::find_if_not(w, end, is_zero)) != end) {
      sum(std::find_if(w, end, is_zero), more_);
      t_.loops.add(p_.n.E, more_, y);
    }
  }

  void drop(int64_t h, int64_t t, const Range& keys, T* weights) const {
    const int64_t per_key = ceil_div(p_.n.T, 4);
    for (int64_t i = 0; i < keys.size(); ++i) {
      const int64_t block = ((b_ * p_.n.H + h) * p_.n.S + keys.begin + i) * per_key + t / 4;
      const PhiloxBlock words = philox_block(p_.dropout.origin, static_cast<uint64_t>(block));
      weights[i] *= drop_.factor(words.word[t % 4]);
    }
  }

  const AttentionProblem<T>& p_;
  const Tiling<T> t_;
  const DropoutFactors<T> drop_;
  T *q_, *scores_, *more_;
  int64_t b_ = 0, g_ = 0;
};

}  // namespace

template <class T>
void attention_rows(const AttentionProblem<T>& problem, int64_t task) {
  Arena<T> counted;
  const RowGroup<T> measure(problem, counted);
  Arena<T> arena(thread_arena<T>(counted.used()));
  RowGroup<T>(problem, arena).run(task / problem.n.G, task % problem.n.G);
}

template void attention_rows(const AttentionProblem<float>&, int64_t);
template void attention_rows(const AttentionProblem<double>&, int64_t);

}  // namespace fovea::kernels
