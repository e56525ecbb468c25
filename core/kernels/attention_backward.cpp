#include <fovea/core/kernels/attention_work.h>

#include <cmath>

namespace fovea::kernels {
namespace {

using namespace tiles;

// True if the loss does not use a query's output: 0 times a NaN there would be NaN.
template <class T>
bool is_unused(const AttentionProblem<T>& p, const AttentionGradients<T>& d, int64_t b, int64_t h,
               int64_t t) {
  const T* dy = d.doutput.row(b, h, t);
  const auto is_zero = [](T x) { return x == 0; };
  return std::all_of(dy, dy + p.n.E, is_zero) &&
         (!d.dlse || d.dlse[(b * p.n.H + h) * p.n.T + t] == 0);
}

// All gradients of one key head, or of a chunk of its keys. Loops: blocks of keys, tiles of
// queries, tiles of the block's keys. With P = exp(scale Q K^T - lse) and P~ = P times dropout's
// factors:
//   dV += P~^T dO    dP = (dO V^T) times the factors    dS = P (dP - delta)
//   dK += scale dS^T Q    dQ += scale dS K
template <class T>
class BackwardHead {
 public:
  BackwardHead(const AttentionProblem<T>& problem, const AttentionGradients<T>& gradients,
               Arena<T>& arena)
      : p_(problem),
        d_(gradients),
        t_(problem.n),
        drop_(t_.loops, problem.dropout, problem.n),
        q_strips_(arena.take(t_.queries * problem.n.D)),
        dy_strips_(arena.take(t_.queries * problem.n.E)),
        scores_(arena.take(t_.keys * t_.stride)),
        dscores_(arena.take(t_.keys * t_.stride)),
        dq_(arena.take(t_.queries * t_.D)),
        dk_(arena.take(t_.block * t_.D)),
        dv_(arena.take(t_.block * t_.E)),
        q_buffer_(arena.take(t_.queries * t_.D)),
        dy_buffer_(arena.take(t_.queries * t_.E)),
        k_buffer_(arena.take(t_.block * t_.D)),
        v_buffer_(arena.take(t_.block * t_.E)),
        hidden_buffer_(arena.take(has_mask(problem.keep) ? t_.keys * t_.D : 0)),
        factors_(arena.take(drop_.on() ? t_.keys * t_.width : 0)),
        unmodified_(arena.take(problem.hook.backward ? t_.keys * t_.stride : 0)),
        lse_(arena.take(t_.queries)),
        delta_(arena.take(t_.queries)) {}

  // dq: (B, H, T, D)
  void run(int64_t b, int64_t g, const Range& keys, const Heads<T>& dq) {
    b_ = b;
    g_ = g;
    dq_all_ = dq;
    const int64_t step = keys.empty() ? 1 : even_part(keys.size(), t_.block);
    int64_t s = keys.begin;
    do {  // once even without keys: dq must be written
      take_block({s, std::min(s + step, keys.end)}, s == keys.begin);
      s += step;
    } while (s < keys.end);
  }

 private:
  void take_block(const Range& block, bool is_first) {
    block_ = block;
    const int64_t n = block.size();
    if (n > 0) {
      k_ = rows_of(t_.gemm, p_.k, b_, g_, block.begin, n, p_.n.D, t_.D, k_buffer_);
      v_ = rows_of(t_.gemm, p_.v, b_, g_, block.begin, n, p_.n.E, t_.E, v_buffer_);
      clear(dk_, n * t_.D);
      clear(dv_, n * t_.E);
    }
    const int64_t group = p_.n.H / p_.n.G;
    for (h_ = g_ * group; h_ < (g_ + 1) * group; ++h_)
      for (first_ = 0; first_ < p_.n.T; first_ += t_.queries) take_queries(is_first);
    for (int64_t i = 0; i < n; ++i) {
      if (d_.dk.data) std::copy_n(dk_ + i * t_.D, p_.n.D, d_.dk.row(b_, g_, block.begin + i));
      if (d_.dv.data) std::copy_n(dv_ + i * t_.E, p_.n.E, d_.dv.row(b_, g_, block.begin + i));
    }
  }

  // The tile's part of dq is written with the first block of keys, and added to with the others.
  void take_queries(bool is_first) {
    count_ = std::min(t_.queries, p_.n.T - first_);
    const KeyIntervals<T> kept(p_.keep, t_, b_, first_, count_, p_.n.S);
    const Range all = kept.all().within(block_);
    if (all.empty() && !is_first) return;
    clear(dq_, count_ * t_.D);
    if (!all.empty()) {
      start();
      const int64_t step = even_part(all.size(), t_.keys);
      for (int64_t k = all.begin; k < all.end; k += step)
        take_keys(kept, {k, std::min(k + step, all.end)});
    }
    if (!dq_all_.data) return;
    for (int64_t j = 0; j < count_; ++j) {
      T* row = dq_all_.row(b_, h_, first_ + j);
      if (is_first) {
        std::copy_n(dq_ + j * t_.D, p_.n.D, row);
      } else {
        t_.loops.add(p_.n.D, dq_ + j * t_.D, row);
      }
    }
  }

  void start() {
    pack_strips(t_.gemm, p_.q, b_, h_, first_, count_, p_.n.D, q_strips_);
    pack_strips(t_.gemm, d_.doutput, b_, h_, first_, count_, p_.n.E, dy_strips_);
    q_ = rows_of(t_.gemm, p_.q, b_, h_, first_, count_, p_.n.D, t_.D, q_buffer_);
    dy_ = rows_of(t_.gemm, d_.doutput, b_, h_, first_, count_, p_.n.E, t_.E, dy_buffer_);
    const int64_t row = (b_ * p_.n.H + h_) * p_.n.T + first_;
    std::copy_n(p_.lse + row, count_, lse_);
    std::copy_n(d_.delta + row, count_, delta_);
    std::fill(lse_ + count_, lse_ + t_.queries, -std::numeric_limits<T>::infinity());
    std::fill(delta_ + count_, delta_ + t_.queries, T{0});
    queries_finite_ = !has_mask(p_.keep) || queries_are_finite();
    for (int64_t j = 0; !queries_finite_ && j < count_; ++j)
      if (is_unused(p_, d_, b_, h_, first_ + j)) lse_[j] = -std::numeric_limits<T>::infinity();
  }

  // NaN or infinity in q makes lse non-finite, unless a sink or a modified score hides it; in v or
  // dO it makes delta non-finite.
  bool queries_are_finite() const {
    const T infinite = std::numeric_limits<T>::infinity();
    for (int64_t j = 0; j < count_; ++j) {
      if (!(lse_[j] < infinite) || !std::isfinite(delta_[j])) return false;
      if ((p_.sinks || p_.hook.forward || lse_[j] == -infinite) &&
          !t_.loops.all_finite(p_.n.D, p_.q.row(b_, h_, first_ + j)))
        return false;
    }
    return true;
  }

  bool are_finite(const Rows<T>& rows, const Range& keys) const {
    return t_.loops.all_finite(keys.size() * rows.stride, rows.data);
  }

  void take_keys(const KeyIntervals<T>& kept, const Range& keys) {
    const Rows<T> k = k_.from(keys.begin - block_.begin), v = v_.from(keys.begin - block_.begin);
    by_pairs_ = !queries_finite_ || (has_mask(p_.keep) && p_.hook.backward && !are_finite(k, keys));
    bool any = false;
    for (int64_t j = 0; j < count_; j += t_.width) any |= derive_strip(kept, keys, k, v, j);
    if (!any) return;
    add_to_keys(kept, keys);
    if (!dq_all_.data) return;
    add_to_queries(kept, keys,
                   hides_keys(p_.keep, kept) ? without_hidden(k, keys.size(), t_.D, dscores_,
                                                              count_, t_.stride, hidden_buffer_)
                                             : k);
  }

  // Weights and score derivatives for queries j, j + 1, ...; false if no key is attended.
  bool derive_strip(const KeyIntervals<T>& kept, const Range& keys, const Rows<T>& k,
                    const Rows<T>& v, int64_t j) {
    const int64_t queries = std::min(t_.width, count_ - j);
    Range mine = kept.strip(j).within(keys);
    const TileMask by_tables =
        mine.empty() ? TileMask::none : tile_mask(p_.keep, b_, h_, first_ + j, queries, mine);
    if (by_tables == TileMask::none) mine = {keys.begin, keys.begin};
    const int64_t row = mine.begin - keys.begin;
    for (T* tile : {scores_, dscores_})
      clear_outside({row, mine.end - keys.begin}, keys.size(), t_.width, tile + j, t_.stride);
    if (mine.empty()) return false;
    T* scores = scores_ + row * t_.stride + j;
    T* dscores = dscores_ + row * t_.stride + j;
    multiply_strip(t_.gemm, mine.size(), p_.n.D, p_.scale, k, row, q_strips_ + j * p_.n.D, scores,
                   t_.stride);
    multiply_strip(t_.gemm, mine.size(), p_.n.E, T{1}, v, row, dy_strips_ + j * p_.n.E, dscores,
                   t_.stride);
    T* unmodified = unmodified_ + row * t_.stride + j;
    if (p_.hook.backward)
      for (int64_t i = 0; i < mine.size(); ++i)
        std::copy_n(scores + i * t_.stride, t_.width, unmodified + i * t_.stride);
    if (p_.hook.forward)
      p_.hook.forward(p_.hook.self,
                      {b_, h_, first_ + j, mine.begin, queries, mine.size(), scores, t_.stride});
    if (!kept.strip_keeps(j, mine)) kept.apply(t_.loops, j, mine, scores, t_.stride);
    if (by_tables == TileMask::some)
      apply_tables(t_.loops, p_.keep, b_, h_, first_ + j, queries, mine, scores, t_.stride);
    if (drop_.on()) drop_.strip(b_, h_, first_ + j, mine, factors_);
    if (by_pairs_)
      derive_unmasked(mine.size(), j, scores, dscores, p_.hook.backward ? unmodified : nullptr);
    else
      t_.loops.gradients(mine.size(), drop_.on() ? factors_ : nullptr, lse_ + j, delta_ + j, scores,
                         dscores, t_.stride);
    if (p_.hook.backward)
      p_.hook.backward(
          p_.hook.self,
          {b_, h_, first_ + j, mine.begin, queries, mine.size(), unmodified, t_.stride}, dscores);
    return true;
  }

  // Like loops.gradients, for tiles with NaN or infinity: masked pairs, whose scores are -inf, get
  // 0, and a finite score for the hook.
  void derive_unmasked(int64_t n, int64_t j, T* scores, T* dscores, T* unmodified) {
    const T infinite = std::numeric_limits<T>::infinity();
    for (int64_t i = 0; i < n; ++i)
      for (int64_t l = 0; l < t_.width; ++l) {
        T &s = scores[i * t_.stride + l], &d = dscores[i * t_.stride + l];
        const T factor = drop_.on() ? factors_[i * t_.width + l] : T{1}, lse = lse_[j + l];
        const bool kept = s != -infinite && lse != -infinite;
        const T p = kept ? std::exp(s - lse) : T{0}, dp = factor == 0 ? T{0} : d * factor;
        d = p == 0 ? T{0} : p * (dp - delta_[j + l]);
        s = p * factor;
        if (unmodified && !kept && !std::isfinite(unmodified[i * t_.stride + l]))
          unmodified[i * t_.stride + l] = 0;
      }
  }

  // dV += P~^T dO, dK += scale dS^T Q
  void add_to_keys(const KeyIntervals<T>& kept, const Range& keys) {
    if (by_pairs_) {
      const int64_t n = keys.size(), row = keys.begin - block_.begin;
      if (d_.dv.data)
        add_weighted(count_, n, p_.n.E, T{1}, scores_, 1, t_.stride, dy_, dv_ + row * t_.E, t_.E);
      if (d_.dk.data)
        add_weighted(count_, n, p_.n.D, p_.scale, dscores_, 1, t_.stride, q_, dk_ + row * t_.D,
                     t_.D);
      return;
    }
    for_tile_rows(keys.size(), t_.gemm.tile_rows, [&](int64_t i, int64_t rows) {
      const int64_t key = keys.begin + i, row = key - block_.begin;
      const Range queries = kept.queries_of({key, key + rows});
      if (queries.empty()) return;
      const int64_t at = i * t_.stride + queries.begin;
      if (d_.dv.data)
        multiply(t_.gemm, rows, p_.n.E, queries.size(), T{1},
                 Left<T>{scores_ + at, t_.stride, false}, dy_.right(queries.begin, t_.width), T{1},
                 dv_ + row * t_.E, t_.E);
      if (d_.dk.data)
        multiply(t_.gemm, rows, p_.n.D, queries.size(), p_.scale,
                 Left<T>{dscores_ + at, t_.stride, false}, q_.right(queries.begin, t_.width), T{1},
                 dk_ + row * t_.D, t_.D);
    });
  }

  // dQ += scale dS K
  void add_to_queries(const KeyIntervals<T>& kept, const Range& keys, const Rows<T>& k) {
    if (by_pairs_ || (has_mask(p_.keep) && !are_finite(k, keys))) {
      add_weighted(keys.size(), count_, p_.n.D, p_.scale, dscores_, t_.stride, 1, k, dq_, t_.D);
      return;
    }
    for_tile_rows(count_, t_.gemm.tile_rows, [&](int64_t i, int64_t rows) {
      const Range mine = kept.rows(i).within(keys);
      if (mine.empty()) return;
      const int64_t row = mine.begin - keys.begin;
      multiply(t_.gemm, rows, p_.n.D, mine.size(), p_.scale,
               Left<T>{dscores_ + row * t_.stride + i, t_.stride, true}, k.right(row, t_.width),
               T{1}, dq_ + i * t_.D, t_.D);
    });
  }

  const AttentionProblem<T>& p_;
  const AttentionGradients<T>& d_;
  const Tiling<T> t_;
  const DropoutFactors<T> drop_;
  T *q_strips_, *dy_strips_, *scores_, *dscores_, *dq_, *dk_, *dv_, *q_buffer_, *dy_buffer_,
      *k_buffer_, *v_buffer_, *hidden_buffer_, *factors_, *unmodified_, *lse_, *delta_;
  Rows<T> q_{}, dy_{}, k_{}, v_{};
  Heads<T> dq_all_{};
  Range block_;
  int64_t b_ = 0, g_ = 0, h_ = 0, first_ = 0, count_ = 0;
  bool queries_finite_ = true, by_pairs_ = false;
};

// delta_t = dO_t . O_t - dlse_t, and the sink's gradient: the sink is a key with value 0.
template <class T>
void prepare(const AttentionProblem<T>& p, const AttentionGradients<T>& d, int64_t b, int64_t h) {
  const Tiling<T> tiling(p.n);
  const int64_t row = (b * p.n.H + h) * p.n.T;
  T dsink = 0;
  for (int64_t t = 0; t < p.n.T; ++t) {
    T& delta = d.delta[row + t];
    delta = tiling.loops.dot(p.n.E, d.doutput.row(b, h, t), p.output.row(b, h, t));
    if (d.dlse) delta -= d.dlse[row + t];
    if (!d.dsinks || !(p.sinks[h] > -std::numeric_limits<T>::infinity())) continue;
    if (std::isfinite(delta) || !is_unused(p, d, b, h, t))
      dsink -= std::exp(p.sinks[h] - p.lse[row + t]) * delta;
  }
  if (d.dsinks) d.dsinks[b * p.n.H + h] = dsink;
}

// For the query heads that use key head g.
template <class T>
void prepare_group(const AttentionProblem<T>& p, const AttentionGradients<T>& d, int64_t b,
                   int64_t g) {
  const int64_t group = p.n.H / p.n.G;
  for (int64_t h = g * group; h < (g + 1) * group; ++h) prepare(p, d, b, h);
}

// Computed first, since several tasks read the result.
template <class T>
void prepare_all(const AttentionProblem<T>& p, const AttentionGradients<T>& d) {
  parallel_for(p.n.B * p.n.G, row_grain(p.n.H / p.n.G * p.n.T * p.n.E),
               [&](int64_t head, int64_t end) {
                 for (; head < end; ++head) prepare_group(p, d, head / p.n.G, head % p.n.G);
               });
}

// Where the c-th chunk of keys accumulates its part of dq.
template <class T>
Heads<T> dq_part(const AttentionProblem<T>& p, const AttentionGradients<T>& d, int64_t c) {
  if (c == 0 || !d.dq.data) return d.dq;
  const int64_t row = p.n.D, head = row * p.n.T, batch = head * p.n.H;
  return {d.dq_parts + (c - 1) * batch * p.n.B, batch, head, row};
}

// dq += the parts of the other chunks, in order.
template <class T>
void add_parts(const AttentionProblem<T>& p, const AttentionGradients<T>& d, int64_t chunks) {
  const Tiling<T> tiling(p.n);
  parallel_for(p.n.B * p.n.H * p.n.T, row_grain(p.n.D), [&](int64_t row, int64_t end) {
    for (; row < end; ++row) {
      const int64_t t = row % p.n.T, h = row / p.n.T % p.n.H, b = row / p.n.T / p.n.H;
      for (int64_t c = 1; c < chunks; ++c)
        tiling.loops.add(p.n.D, dq_part(p, d, c).row(b, h, t), d.dq.row(b, h, t));
    }
  });
}

// The c-th chunk of keys.
inline Range chunk_of(int64_t S, int64_t c, int64_t chunks) {
  const int64_t length = ceil_div(S, chunks);
  return {std::min(S, c * length), std::min(S, (c + 1) * length)};
}

template <class T>
void run_head(const AttentionProblem<T>& p, const AttentionGradients<T>& d, int64_t task,
              int64_t chunks) {
  Arena<T> counted;
  const BackwardHead<T> measure(p, d, counted);
  Arena<T> arena(thread_arena<T>(counted.used()));
  const int64_t head = task / chunks, c = task % chunks, b = head / p.n.G, g = head % p.n.G;
  if (chunks == 1) prepare_group(p, d, b, g);
  BackwardHead<T>(p, d, arena).run(b, g, chunk_of(p.n.S, c, chunks), dq_part(p, d, c));
}

// One task per key head of a batch row, or per chunk of its keys.
template <class T>
void add_tasks(const AttentionProblem<T>& p, int64_t chunks, Tasks& tasks) {
  const AttentionSizes& n = p.n;
  const int64_t width = n.H / std::max<int64_t>(1, n.G) * (3 * n.D + 2 * n.E);
  std::vector<int64_t> costs;  // of the chunks of a head
  for (int64_t b = 0; b < n.B; ++b) {
    costs.clear();
    for (int64_t c = 0; c < chunks; ++c)
      costs.push_back(width * (interval_pairs(p.keep, b, {0, n.T}, chunk_of(n.S, c, chunks)) +
                               kQueryKeys * n.T));
    for (int64_t g = 0; g < n.G; ++g)
      for (const int64_t cost : costs) tasks.add(cost);
  }
  tasks.next();
}

}  // namespace

template <class T>
int64_t attention_key_chunks(const AttentionProblem<T>& problem) {
  constexpr int64_t enough_tasks = 4, shortest = 256;
  const int64_t heads = problem.n.B * problem.n.G;
  if (problem.hook.backward || heads == 0) return 1;
  return std::clamp<int64_t>(enough_tasks / heads, 1, std::max<int64_t>(1, problem.n.S / shortest));
}

template <class T>
void attention_backward(std::span<const AttentionProblem<T>> problems,
                        std::span<const AttentionGradients<T>> gradients) {
  const int64_t chunks = problems.size() == 1 ? attention_key_chunks(problems[0]) : 1;
  if (chunks > 1) prepare_all(problems[0], gradients[0]);
  Tasks tasks;
  for (const AttentionProblem<T>& p : problems) add_tasks(p, chunks, tasks);
  tasks.run(
      [&](std::size_t i, int64_t task) { run_head(problems[i], gradients[i], task, chunks); });
  if (chunks > 1 && gradients[0].dq.data) add_parts(problems[0], gradients[0], chunks);
}

template <class T>
int64_t attention_scratch_bytes(const AttentionProblem<T>& problem) {
  Arena<T> counted;
  const BackwardHead<T> measure(problem, AttentionGradients<T>{}, counted);
  return counted.used() * static_cast<int64_t>(sizeof(T));
}

#define FOVEA_INSTANTIATE(T)                                             \
  template int64_t attention_key_chunks(const AttentionProblem<T>&);     \
  template int64_t attention_scratch_bytes(const AttentionProblem<T>&);  \
  template void attention_backward(std::span<const AttentionProblem<T>>, \
                                   std::span<const AttentionGradients<T>>);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
