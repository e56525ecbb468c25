#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/rows.h>
#include <fovea/core/kernels/score_mod.h>

namespace fovea::kernels {
namespace {

template <class T>
const ScoreModLoops<T>& loops() {
  return loops_of<T>(pick(baseline::score_mod_table, v3::score_mod_table, v4::score_mod_table));
}

// The part of a tile that begins at key i and query j.
template <class T>
ScoreTile<T> part_of(const ScoreTile<T>& tile, int64_t i, int64_t j, int64_t keys,
                     int64_t queries) {
  ScoreTile<T> part = tile;
  part.key += i;
  part.query += j;
  part.keys = std::min(keys, tile.keys - i);
  part.queries = std::min(queries, tile.queries - j);
  part.scores += i * tile.stride + j;
  return part;
}

// f(part, its position in the tile) for parts of at most keys x queries, in a fixed order.
template <class T, class F>
void for_parts(const ScoreTile<T>& tile, int64_t keys, int64_t queries, const F& f) {
  for (int64_t i = 0; i < tile.keys; i += keys)
    for (int64_t j = 0; j < tile.queries; j += queries)
      f(part_of(tile, i, j, keys, queries), i * tile.stride + j);
}

// ---- Bias
// ----------------------------------------------------------------------------------------

template <class T>
void bias_forward(const void* self, const ScoreTile<T>& tile) {
  const auto& m = *static_cast<const BiasMod<T>*>(self);
  const T* x = m.bias + tile.batch * m.b_stride + tile.head * m.h_stride + tile.query * m.t_stride +
               tile.key * m.s_stride;
  loops<T>().add_bias(tile, x, m.t_stride, m.s_stride);
}

template <class T>
void bias_backward(const void* self, const ScoreTile<T>& tile, T* dscores) {
  const auto& m = *static_cast<const BiasMod<T>*>(self);
  T* dx = m.grad + tile.batch * m.grad_b_stride + tile.head * m.grad_h_stride +
          tile.query * m.grad_t_stride + tile.key * m.grad_s_stride;
  loops<T>().sum_bias(tile, dscores, dx, m.grad_t_stride, m.grad_s_stride);
}

// ---- Functions of the distance
// -------------------------------------------------------------------

template <class T>
void distance_forward(const void* self, const ScoreTile<T>& tile) {
  const auto& m = *static_cast<const DistanceMod<T>*>(self);
  const T* line = m.line + tile.batch * m.b_stride + tile.head * m.h_stride;
  loops<T>().add_line(tile, line + tile.query - tile.key + m.S - 1);
}

constexpr int64_t kSide = 256;

// A tile has few distances: gradients are summed per distance first.
template <class T>
void distance_backward(const void* self, const ScoreTile<T>& whole, T* dscores) {
  const auto& m = *static_cast<const DistanceMod<T>*>(self);
  T* grad = m.grad + whole.batch * m.grad_b_stride + whole.head * m.grad_h_stride;
  for_parts(whole, kSide, kSide, [&](const ScoreTile<T>& tile, int64_t at) {
    T sums[2 * kSide] = {};
    loops<T>().sum_line(tile, dscores + at, sums + tile.keys - 1);
    const int64_t x0 = tile.query - (tile.key + tile.keys - 1) + m.S - 1;
    for (int64_t x = 0; x < tile.keys + tile.queries - 1; ++x)
      grad[m.index[x0 + x]] += m.factor[x0 + x] * sums[x];
  });
}

// ---- Clipped distances, one term per query
// -------------------------------------------------------

// If all of the tile's keys are beyond one end of the clipping: the column they read, else -1.
template <class T>
int64_t shared_column(const ClippedMod<T>& m, const ScoreTile<T>& tile) {
  const int64_t nearest = tile.key - tile.query - m.shift;  // of the first key and query
  if (nearest + tile.keys - 1 <= -m.reach) return 0;
  if (nearest - (tile.queries - 1) >= m.reach) return 2 * m.reach;
  return -1;
}

template <class T>
int64_t column_of(const ClippedMod<T>& m, const ScoreTile<T>& tile, int64_t i, int64_t j) {
  const int64_t distance = tile.key + i - (tile.query + j) - m.shift;
  return std::clamp(distance, -m.reach, m.reach) + m.reach;
}

template <class T>
void clipped_forward(const void* self, const ScoreTile<T>& tile) {
  const auto& m = *static_cast<const ClippedMod<T>*>(self);
  const T* x =
      m.values + tile.batch * m.b_stride + tile.head * m.h_stride + tile.query * m.t_stride;
  const int64_t shared = shared_column(m, tile);
  if (shared >= 0) return loops<T>().add_bias(tile, x + shared, m.t_stride, 0);
  for (int64_t i = 0; i < tile.keys; ++i)
    for (int64_t j = 0; j < tile.queries; ++j)
      tile.scores[i * tile.stride + j] += x[j * m.t_stride + column_of(m, tile, i, j)];
}

template <class T>
void clipped_backward(const void* self, const ScoreTile<T>& tile, T* dscores) {
  const auto& m = *static_cast<const ClippedMod<T>*>(self);
  T* dx = m.grad + tile.batch * m.grad_b_stride + tile.head * m.grad_h_stride +
          tile.query * m.grad_t_stride;
  const int64_t shared = shared_column(m, tile);
  if (shared >= 0) return loops<T>().sum_bias(tile, dscores, dx + shared, m.grad_t_stride, 0);
  for (int64_t i = 0; i < tile.keys; ++i)
    for (int64_t j = 0; j < tile.queries; ++j)
      dx[j * m.grad_t_stride + column_of(m, tile, i, j)] += dscores[i * tile.stride + j];
}

// ---- Soft cap ----------------------------------------------------------------------------------

template <class T>
void soft_cap_forward(const void* self, const ScoreTile<T>& tile) {
  loops<T>().soft_cap(tile, static_cast<const SoftCapMod<T>*>(self)->cap);
}

template <class T>
void soft_cap_backward(const void* self, const ScoreTile<T>& tile, T* dscores) {
  loops<T>().soft_cap_backward(tile, static_cast<const SoftCapMod<T>*>(self)->cap, dscores);
}

// ---- Composition
// ---------------------------------------------------------------------------------

template <class T>
void chain_forward(const void* self, const ScoreTile<T>& tile) {
  const auto& m = *static_cast<const ChainMod<T>*>(self);
  if (m.first.forward) m.first.forward(m.first.self, tile);
  if (m.next.forward) m.next.forward(m.next.self, tile);
}

constexpr int64_t kRoom = 4096;

// The backward of the second modification reads the output of the first: it is recomputed in the
// tile, and the tile's scores are restored afterwards.
template <class T>
void chain_backward(const void* self, const ScoreTile<T>& whole, T* dscores) {
  const auto& m = *static_cast<const ChainMod<T>*>(self);
  if (!m.next.backward) {
    if (m.first.backward) m.first.backward(m.first.self, whole, dscores);
    return;
  }
  const int64_t queries = std::min<int64_t>(std::max<int64_t>(1, whole.queries), kRoom);
  for_parts(whole, kRoom / queries, queries, [&](const ScoreTile<T>& tile, int64_t at) {
    T before[kRoom];
    for (int64_t i = 0; i < tile.keys; ++i)
      std::copy_n(tile.scores + i * tile.stride, tile.queries, before + i * tile.queries);
    if (m.first.forward) m.first.forward(m.first.self, tile);
    m.next.backward(m.next.self, tile, dscores + at);
    for (int64_t i = 0; i < tile.keys; ++i)
      std::copy_n(before + i * tile.queries, tile.queries, tile.scores + i * tile.stride);
    if (m.first.backward) m.first.backward(m.first.self, tile, dscores + at);
  });
}

}  // namespace

template <class T>
ScoreHook<T> hook_of(const BiasMod<T>& mod) {
  return {&mod, bias_forward<T>, mod.grad ? bias_backward<T> : nullptr};
}

template <class T>
ScoreHook<T> hook_of(const DistanceMod<T>& mod) {
  return {&mod, distance_forward<T>, mod.grad ? distance_backward<T> : nullptr};
}

template <class T>
ScoreHook<T> hook_of(const ClippedMod<T>& mod) {
  return {&mod, clipped_forward<T>, mod.grad ? clipped_backward<T> : nullptr};
}

template <class T>
ScoreHook<T> hook_of(const SoftCapMod<T>& mod) {
  return {&mod, soft_cap_forward<T>, soft_cap_backward<T>};
}

template <class T>
ScoreHook<T> hook_of(const ChainMod<T>& mod) {
  const bool any = mod.first.backward || mod.next.backward;
  return {&mod, chain_forward<T>, any ? chain_backward<T> : nullptr};
}

template ScoreHook<float> hook_of(const BiasMod<float>&);
template ScoreHook<double> hook_of(const BiasMod<double>&);
template ScoreHook<float> hook_of(const DistanceMod<float>&);
template ScoreHook<double> hook_of(const DistanceMod<double>&);
template ScoreHook<float> hook_of(const ClippedMod<float>&);
template ScoreHook<double> hook_of(const ClippedMod<double>&);
template ScoreHook<float> hook_of(const SoftCapMod<float>&);
template ScoreHook<double> hook_of(const SoftCapMod<double>&);
template ScoreHook<float> hook_of(const ChainMod<float>&);
template ScoreHook<double> hook_of(const ChainMod<double>&);

}  // namespace fovea::kernels
