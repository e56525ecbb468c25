#include <fovea/core/kernels/attention_work.h>

namespace fovea::kernels {
namespace {

using namespace tiles;

// One tile of queries: tiles of keys in the outer loop, heads in the inner, so that only the sum
// over heads is stored.
//   mean_ts = 1/H sum_h exp(scale q_th . k_sh - lse_th)
template <class T>
class MeanTile {
 public:
  MeanTile(const AttentionProblem<T>& problem, Arena<T>& arena)
      : p_(problem),
        t_(problem.n),
        q_(arena.take(problem.n.H * head_size())),
        lse_(arena.take(problem.n.H * t_.queries)),
        scores_(arena.take(t_.keys * t_.width)),
        sum_(arena.take(t_.keys * t_.stride)),
        turned_(arena.take(t_.queries * t_.width)),
        k_buffer_(arena.take(t_.keys * t_.D)) {}

  // mean: (B, T, S)
  void run(int64_t b, int64_t first, T* mean) {
    b_ = b;
    first_ = first;
    count_ = std::min(t_.queries, p_.n.T - first);
    const KeyIntervals<T> kept(p_.keep, t_, b, first, count_, p_.n.S);
    const T nothing = -std::numeric_limits<T>::infinity();
    std::fill_n(lse_, p_.n.H * t_.queries, nothing);
    for (int64_t h = 0; h < p_.n.H; ++h) {
      pack_strips(t_.gemm, p_.q, b, h, first, count_, p_.n.D, q_ + h * head_size());
      std::copy_n(p_.lse + (b * p_.n.H + h) * p_.n.T + first, count_, lse_ + h * t_.queries);
    }
    const int64_t step = even_part(p_.n.S, t_.keys);
    for (int64_t k = 0; k < p_.n.S; k += step) {
      const Range keys{k, std::min(k + step, p_.n.S)};
      clear(sum_, keys.size() * t_.stride);
      if (!kept.all().within(keys).empty()) add_heads(kept, keys);
      write(keys, mean + (b * p_.n.T + first) * p_.n.S + k);
    }
  }

 private:
  int64_t head_size() const { return t_.queries * p_.n.D; }

  void add_heads(const KeyIntervals<T>& kept, const Range& keys) {
    const int64_t group = p_.n.H / p_.n.G;
    Rows<T> k{};
    for (int64_t h = 0; h < p_.n.H; ++h) {
      if (h % group == 0)
        k = rows_of(t_.gemm, p_.k, b_, h / group, keys.begin, keys.size(), p_.n.D, t_.D, k_buffer_);
      for (int64_t j = 0; j < count_; j += t_.width) add_strip(kept, keys, k, h, j);
    }
  }

  void add_strip(const KeyIntervals<T>& kept, const Range& keys, const Rows<T>& k, int64_t h,
                 int64_t j) {
    const int64_t queries = std::min(t_.width, count_ - j);
    const Range mine = kept.strip(j).within(keys);
    if (mine.empty()) return;
    const TileMask by_tables = tile_mask(p_.keep, b_, h, first_ + j, queries, mine);
    if (by_tables == TileMask::none) return;
    const int64_t row = mine.begin - keys.begin;
    multiply_strip(t_.gemm, mine.size(), p_.n.D, p_.scale, k, row,
                   q_ + h * head_size() + j * p_.n.D, scores_, t_.width);
    if (p_.hook.forward)
      p_.hook.forward(p_.hook.self,
                      {b_, h, first_ + j, mine.begin, queries, mine.size(), scores_, t_.width});
    if (!kept.strip_keeps(j, mine)) kept.apply(t_.loops, j, mine, scores_, t_.width);
    if (by_tables == TileMask::some)
      apply_tables(t_.loops, p_.keep, b_, h, first_ + j, queries, mine, scores_, t_.width);
    t_.loops.add_weights(mine.size(), lse_ + h * t_.queries + j, scores_, t_.width,
                         sum_ + row * t_.stride + j, t_.stride);
  }

  // Transposes: sums are (keys, queries), means (queries, keys).
  void write(const Range& keys, T* mean) {
    const T share = 1 / static_cast<T>(p_.n.H);
    for (int64_t i = 0; i < keys.size(); i += t_.width) {
      const int64_t n = std::min(t_.width, keys.size() - i);
      t_.gemm.pack_transposed(count_, n, sum_ + i * t_.stride, t_.stride, turned_);
      for (int64_t j = 0; j < count_; ++j)
        t_.loops.scale(n, share, turned_ + j * t_.width, mean + j * p_.n.S + i);
    }
  }

  const AttentionProblem<T>& p_;
  const Tiling<T> t_;
  T *q_, *lse_, *scores_, *sum_, *turned_, *k_buffer_;
  int64_t b_ = 0, first_ = 0, count_ = 0;
};

}  // namespace

template <class T>
void attention_head_mean(const AttentionProblem<T>& problem, T* mean) {
  const AttentionSizes& n = problem.n;
  if (n.S <= 0) return;
  const int64_t step = Tiling<T>(n).queries, tiles = ceil_div(n.T, step);
  std::vector<int64_t> costs;
  for (int64_t b = 0; b < n.B; ++b)
    for (int64_t t = 0; t < n.T; t += step) {
      const Range queries{t, std::min(t + step, n.T)};
      costs.push_back(
          n.H * n.D *
          (interval_pairs(problem.keep, b, queries, {0, n.S}) + kQueryKeys * queries.size()));
    }
  parallel_tasks(costs, kMinTaskWork, [&](int64_t task) {
    Arena<T> counted;
    const MeanTile<T> measure(problem, counted);
    Arena<T> arena(thread_arena<T>(counted.used()));
    MeanTile<T>(problem, arena).run(task / tiles, task % tiles * step, mean);
  });
}

template void attention_head_mean(const AttentionProblem<float>&, float*);
template void attention_head_mean(const AttentionProblem<double>&, double*);

}  // namespace fovea::kernels
