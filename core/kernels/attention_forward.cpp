#include <fovea/core/kernels/attention_rows.h>
#include <fovea/core/kernels/attention_work.h>

namespace fovea::kernels {
namespace {

using namespace tiles;

// One tile of queries against all keys that it attends.
template <class T>
class ForwardTile {
 public:
  ForwardTile(const AttentionProblem<T>& problem, Arena<T>& arena)
      : p_(problem),
        t_(problem.n),
        drop_(t_.loops, problem.dropout, problem.n),
        q_(arena.take(t_.queries * problem.n.D)),
        scores_(arena.take(t_.keys * t_.stride)),
        sum_(arena.take(t_.queries * t_.E)),
        k_buffer_(arena.take(t_.keys * t_.D)),
        v_buffer_(arena.take(t_.keys * t_.E)),
        factors_(arena.take(drop_.on() ? t_.keys * t_.width : 0)),
        top_(arena.take(t_.queries)),
        total_(arena.take(t_.queries)),
        shrink_(arena.take(t_.queries)) {}

  void run(int64_t b, int64_t h, int64_t tile) {
    b_ = b;
    h_ = h;
    g_ = h / (p_.n.H / p_.n.G);
    first_ = tile * t_.queries;
    count_ = std::min(t_.queries, p_.n.T - first_);
    const KeyIntervals<T> kept(p_.keep, t_, b, first_, count_, p_.n.S);
    by_pairs_ = false;
    attend(kept);
    if (!has_mask(p_.keep) || output_is_finite()) return;
    by_pairs_ = true;  // a value masked for some of the queries may be NaN
    attend(kept);
  }

 private:
  void attend(const KeyIntervals<T>& kept) {
    start();
    const Range all = kept.all();
    const int64_t step = all.empty() ? 1 : even_part(all.size(), t_.keys);
    for (int64_t k = all.begin; k < all.end; k += step)
      take_keys(kept, {k, std::min(k + step, all.end)}, k == all.begin);
    finish();
  }

  bool output_is_finite() const {
    for (int64_t j = 0; j < count_; ++j)
      if (!t_.loops.all_finite(p_.n.E, p_.output.row(b_, h_, first_ + j))) return false;
    return true;
  }

  void start() {
    pack_strips(t_.gemm, p_.q, b_, h_, first_, count_, p_.n.D, q_);
    const T nothing = -std::numeric_limits<T>::infinity();
    const T sink = p_.sinks ? p_.sinks[h_] : nothing;
    std::fill_n(top_, t_.queries, sink);
    std::fill_n(total_, t_.queries, sink == nothing ? T{0} : T{1});
    clear(sum_, count_ * t_.E);
  }

  void take_keys(const KeyIntervals<T>& kept, const Range& keys, bool is_first) {
    const Rows<T> k =
        rows_of(t_.gemm, p_.k, b_, g_, keys.begin, keys.size(), p_.n.D, t_.D, k_buffer_);
    bool shrinks = false;
    for (int64_t j = 0; j < count_; j += t_.width) shrinks |= score_strip(kept, keys, k, j);
    if (shrinks && !is_first) shrink_sums();
    add_values(kept, keys);
  }

  // The weights of queries j, j + 1, ... of the tile; true if earlier sums must be rescaled.
  bool score_strip(const KeyIntervals<T>& kept, const Range& keys, const Rows<T>& k, int64_t j) {
    const int64_t queries = std::min(t_.width, count_ - j);
    Range mine = kept.strip(j).within(keys);
    const TileMask by_tables =
        mine.empty() ? TileMask::none : tile_mask(p_.keep, b_, h_, first_ + j, queries, mine);
    if (by_tables == TileMask::none) mine = {keys.begin, keys.begin};
    clear_outside(Range{mine.begin - keys.begin, mine.end - keys.begin}, keys.size(), t_.width,
                  scores_ + j, t_.stride);
    if (mine.empty()) {
      std::fill_n(shrink_ + j, t_.width, T{1});
      return false;
    }
    T* scores = scores_ + (mine.begin - keys.begin) * t_.stride + j;
    multiply_strip(t_.gemm, mine.size(), p_.n.D, p_.scale, k, mine.begin - keys.begin,
                   q_ + j * p_.n.D, scores, t_.stride);
    if (p_.hook.forward)
      p_.hook.forward(p_.hook.self,
                      {b_, h_, first_ + j, mine.begin, queries, mine.size(), scores, t_.stride});
    if (!kept.strip_keeps(j, mine)) kept.apply(t_.loops, j, mine, scores, t_.stride);
    if (by_tables == TileMask::some)
      apply_tables(t_.loops, p_.keep, b_, h_, first_ + j, queries, mine, scores, t_.stride);
    if (drop_.on()) drop_.strip(b_, h_, first_ + j, mine, factors_);
    return t_.loops.softmax(mine.size(), drop_.on() ? factors_ : nullptr, scores, t_.stride,
                            top_ + j, total_ + j, shrink_ + j);
  }

  void shrink_sums() {
    for (int64_t j = 0; j < count_; ++j)
      if (shrink_[j] != 1) t_.loops.scale(p_.n.E, shrink_[j], sum_ + j * t_.E, sum_ + j * t_.E);
  }

  // sum += weights V
  void add_values(const KeyIntervals<T>& kept, const Range& keys) {
    Rows<T> v = rows_of(t_.gemm, p_.v, b_, g_, keys.begin, keys.size(), p_.n.E, t_.E, v_buffer_);
    if (by_pairs_) {
      add_weighted(keys.size(), count_, p_.n.E, T{1}, scores_, t_.stride, 1, v, sum_, t_.E);
      return;
    }
    if (hides_keys(p_.keep, kept))
      v = without_hidden(v, keys.size(), t_.E, scores_, count_, t_.stride, v_buffer_);
    for_tile_rows(count_, t_.gemm.tile_rows, [&](int64_t i, int64_t rows) {
      const Range mine = kept.rows(i).within(keys);
      if (mine.empty()) return;
      const int64_t row = mine.begin - keys.begin;
      multiply(t_.gemm, rows, p_.n.E, mine.size(), T{1},
               Left<T>{scores_ + row * t_.stride + i, t_.stride, true}, v.right(row, t_.width),
               T{1}, sum_ + i * t_.E, t_.E);
    });
  }

  void finish() {
    for (int64_t j = 0; j < count_; ++j)
      t_.loops.scale(p_.n.E, total_[j] == 0 ? T{0} : 1 / total_[j], sum_ + j * t_.E,
                     p_.output.row(b_, h_, first_ + j));
    t_.loops.logsumexp(count_, top_, total_, p_.lse + (b_ * p_.n.H + h_) * p_.n.T + first_);
  }

  const AttentionProblem<T>& p_;
  const Tiling<T> t_;
  const DropoutFactors<T> drop_;
  T *q_, *scores_, *sum_, *k_buffer_, *v_buffer_, *factors_, *top_, *total_, *shrink_;
  int64_t b_ = 0, h_ = 0, g_ = 0, first_ = 0, count_ = 0;
  bool by_pairs_ = false;
};

template <class T>
void run_tile(const AttentionProblem<T>& problem, int64_t task) {
  Arena<T> counted;
  const ForwardTile<T> measure(problem, counted);
  Arena<T> arena(thread_arena<T>(counted.used()));
  ForwardTile<T> tile(problem, arena);
  const int64_t tiles = ceil_div(problem.n.T, Tiling<T>(problem.n).queries);
  const int64_t head = task / tiles;
  tile.run(head / problem.n.H, head % problem.n.H, task % tiles);
}

// One task per key head of a batch row, or per tile of queries of each head.
template <class T>
void add_tasks(const AttentionProblem<T>& p, Tasks& tasks) {
  const AttentionSizes& n = p.n;
  const int64_t step = in_rows(p) ? std::max<int64_t>(1, n.T) : Tiling<T>(n).queries;
  const int64_t heads = in_rows(p) ? n.G : n.H, width = n.H / heads * (n.D + n.E);
  std::vector<int64_t> costs;  // of the tiles of a head
  for (int64_t b = 0; b < n.B; ++b) {
    costs.clear();
    for (int64_t t = 0; t < n.T; t += step) {
      const Range queries{t, std::min(t + step, n.T)};
      costs.push_back(width *
                      (interval_pairs(p.keep, b, queries, {0, n.S}) + kQueryKeys * queries.size()));
    }
    for (int64_t h = 0; h < heads; ++h)
      for (const int64_t cost : costs) tasks.add(cost);
  }
  tasks.next();
}

}  // namespace

template <class T>
void attention_forward(std::span<const AttentionProblem<T>> problems) {
  Tasks tasks;
  for (const AttentionProblem<T>& p : problems) add_tasks(p, tasks);
  tasks.run([&](std::size_t i, int64_t task) {
    if (in_rows(problems[i])) {
      attention_rows(problems[i], task);
    } else {
      run_tile(problems[i], task);
    }
  });
}

template void attention_forward(std::span<const AttentionProblem<float>>);
template void attention_forward(std::span<const AttentionProblem<double>>);

}  // namespace fovea::kernels
