// Shared by the forward and the backward of attention by tiles: tile sizes, masks of a tile of
// queries, packing, and products of tiles.
#pragma once

#include <fovea/core/kernels/attention.h>
#include <fovea/core/kernels/gemm_block.h>
#include <fovea/core/kernels/gemm_memory.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/rows.h>

#include <algorithm>
#include <cstring>
#include <limits>

namespace fovea::kernels::tiles {

// ---- Sizes -------------------------------------------------------------------------------------

// Measured on AVX-512 processors with 48 KiB of L1 and 1 MiB of L2.
template <class T>
constexpr int64_t kMaxQueries = 512 / static_cast<int64_t>(sizeof(T));
constexpr int64_t kMaxKeys = 192;
constexpr int64_t kMaxBlock = 384;  // keys per block of gradients in the backward

constexpr int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

template <class T>
struct Tiling {
  const GemmKernels<T>& gemm;
  const AttentionLoops<T>& loops;
  int64_t width;    // of a strip
  int64_t queries;  // of a tile, a multiple of `width`
  int64_t keys;     // of a tile, at most
  int64_t block;    // keys of a block, at most
  int64_t stride;   // between the keys in a tile of scores
  int64_t D, E;     // rounded up to whole strips

  explicit Tiling(const AttentionSizes& n)
      : gemm(loops_of<T>(pick(baseline::gemm_table, v3::gemm_table, v4::gemm_table))),
        loops(
            loops_of<T>(pick(baseline::attention_table, v3::attention_table, v4::attention_table))),
        width(loops.width),
        queries(round_up(even_part(std::max<int64_t>(1, n.T), kMaxQueries<T>), width)),
        keys(std::clamp<int64_t>(n.S, 1, kMaxKeys)),
        block(std::clamp<int64_t>(n.S, 1, kMaxBlock)),
        // An odd number of cache lines, so that a column of scores uses all of L1.
        stride(round_up(queries, 2 * kLine) + kLine),
        D(round_up(n.D, width)),
        E(round_up(n.E, width)) {}

  int64_t strips() const { return queries / width; }

 private:
  static constexpr int64_t kLine = 64 / static_cast<int64_t>(sizeof(T));
};

// Splits a thread's arena into cache-line-aligned parts. First counted, then allocated.
template <class T>
class Arena {
 public:
  explicit Arena(T* base = nullptr) : base_(base) {}
  T* take(int64_t n) {
    T* piece = base_ ? base_ + used_ : nullptr;
    used_ += round_up(n, 64 / static_cast<int64_t>(sizeof(T)));
    return piece;
  }
  int64_t used() const { return used_; }

 private:
  T* base_;
  int64_t used_ = 0;
};

template <class T>
T* thread_arena(int64_t n) {
  thread_local GemmMemory<T> memory;
  return memory.reserve(n);
}

// ---- Masks ------------------------------------------------------------------------------------

struct Range {
  int64_t begin = 0, end = 0;

  bool empty() const { return begin >= end; }
  int64_t size() const { return end - begin; }
  Range within(const Range& other) const {
    return {std::max(begin, other.begin), std::min(end, other.end)};
  }
  // True if the union of the two ranges has no gap.
  bool touches(const Range& other) const {
    return empty() || other.empty() || (begin <= other.end && other.begin <= end);
  }
  Range joined(const Range& other) const {
    if (empty()) return other;
    if (other.empty()) return *this;
    return {std::min(begin, other.begin), std::max(end, other.end)};
  }
};

// The key intervals of queries [first, first + count) of a tile. Those of a strip, or of a row of
// tiles (`height` queries), are computed once.
template <class T>
class KeyIntervals {
 public:
  KeyIntervals(const MaskView& rule, const Tiling<T>& tiling, int64_t b, int64_t first,
               int64_t count, int64_t S)
      : count_(count), width_(tiling.width), height_(even_part(count, tiling.gemm.tile_rows)) {
    // Padding queries of the last strip have empty intervals.
    std::fill_n(begin_, kMaxQueries<T>, int64_t{0});
    std::fill_n(end_, kMaxQueries<T>, S);
    all_ = {0, S};
    bounded_ = rule.begin != nullptr;
    if (!bounded_) return;
    for (int64_t j = 0; j < count; ++j) {
      const int64_t at = b * rule.b_stride + first + j;
      Range range = Range{rule.begin[at], rule.end[at]}.within({0, S});
      if (range.empty()) range = {0, 0};
      begin_[j] = range.begin;
      end_[j] = range.end;
    }
    all_ = {0, 0};
    for (int64_t j = 0; j < count; j += width_) {
      Range any{0, 0}, every{0, S};
      for (int64_t i = j; i < std::min(j + width_, count); ++i) {
        gaps_ = gaps_ || !of(i).touches(all_.joined(any));
        any = any.joined(of(i));
        every = every.within(of(i));
      }
      strip_any_[j / width_] = any;
      strip_every_[j / width_] = every;
      all_ = all_.joined(any);
    }
    for (int64_t i = 0; i < count; i += height_) {
      Range any{0, 0};
      for (int64_t j = i; j < std::min(i + height_, count); ++j) any = any.joined(of(j));
      rows_any_[i / height_] = any;
    }
  }

  Range of(int64_t j) const { return {begin_[j], end_[j]}; }
  // From the first to the last key that any of the queries attends: in the tile, a strip, a row of
  // tiles.
  Range all() const { return all_; }
  // True if there may be keys in between that none of the queries attends.
  bool gaps() const { return gaps_; }
  Range strip(int64_t j) const { return bounded_ ? strip_any_[j / width_] : all_; }
  Range rows(int64_t i) const { return bounded_ ? rows_any_[i / height_] : all_; }
  // True if each query of the strip attends all of these keys.
  bool strip_keeps(int64_t j, const Range& keys) const {
    if (!bounded_) return true;
    const Range& every = strip_every_[j / width_];
    return every.begin <= keys.begin && keys.end <= every.end;
  }
  // From the first to the last query that attends one of these keys.
  Range queries_of(const Range& keys) const {
    int64_t first = 0, last = count_;
    while (first < last && of(first).within(keys).empty()) ++first;
    while (last > first && of(last - 1).within(keys).empty()) --last;
    return {first, last};
  }

  // Sets the scores of masked keys of a strip's queries to -inf.
  void apply(const AttentionLoops<T>& loops, int64_t query, const Range& keys, T* scores,
             int64_t stride) const {
    int64_t begin[kMaxQueries<T>], end[kMaxQueries<T>];
    for (int64_t j = 0; j < loops.width; ++j) {
      begin[j] = begin_[query + j] - keys.begin;
      end[j] = end_[query + j] - keys.begin;
    }
    loops.keep_between(keys.size(), begin, end, scores, stride);
  }

 private:
  int64_t count_, width_, height_;
  bool bounded_, gaps_ = false;
  Range all_;
  int64_t begin_[kMaxQueries<T>], end_[kMaxQueries<T>];
  Range strip_any_[kMaxQueries<T>], strip_every_[kMaxQueries<T>], rows_any_[kMaxQueries<T>];
};

enum class TileMask { none, some, all };

// Summarizes a table for queries [t, t + queries) and these keys.
inline TileMask tile_mask(const MaskView::Table& table, int64_t b, int64_t h, int64_t t,
                          int64_t queries, const Range& keys) {
  const bool* first = table.data + b * table.b_stride + h * table.h_stride + t * table.t_stride +
                      keys.begin * table.s_stride;
  const int64_t rows = table.t_stride == 0 ? 1 : queries;
  if (table.s_stride != 1 && table.s_stride != 0) return TileMask::some;  // too slow to check
  const auto n = static_cast<std::size_t>(table.s_stride == 0 ? 1 : keys.size());
  bool some = false, all = true;
  for (int64_t j = 0; j < rows && (all || !some); ++j) {
    const bool* row = first + j * table.t_stride;
    some = some || std::memchr(row, 1, n);
    all = all && !std::memchr(row, 0, n);
  }
  return all ? TileMask::all : some ? TileMask::some : TileMask::none;
}

inline TileMask tile_mask(const MaskView& rule, int64_t b, int64_t h, int64_t t, int64_t queries,
                          const Range& keys) {
  TileMask kept = rule.ids.empty() ? TileMask::all : TileMask::some;
  for (const MaskView::Table& table : rule.tables)
    kept = std::min(kept, tile_mask(table, b, h, t, queries, keys));
  return kept;
}

template <class T>
void apply_tables(const AttentionLoops<T>& loops, const MaskView& rule, int64_t b, int64_t h,
                  int64_t t, int64_t queries, const Range& keys, T* scores, int64_t stride) {
  for (const MaskView::Table& table : rule.tables)
    loops.keep_table(keys.size(), queries,
                     table.data + b * table.b_stride + h * table.h_stride + t * table.t_stride +
                         keys.begin * table.s_stride,
                     table.t_stride, table.s_stride, scores, stride);
  for (const MaskView::Ids& ids : rule.ids)
    loops.keep_ids(keys.size(), queries, ids.query + b * ids.query_b_stride + t,
                   ids.key + b * ids.key_b_stride + keys.begin, scores, stride);
}

// ---- Dropout -----------------------------------------------------------------------------------

template <class T>
class DropoutFactors {
 public:
  DropoutFactors(const AttentionLoops<T>& loops, const AttentionDropout& dropout,
                 const AttentionSizes& n)
      : loops_(loops),
        origin_(dropout.origin),
        threshold_(threshold_of(dropout.p)),
        kept_(static_cast<T>(1 / (1 - dropout.p))),
        per_key_(ceil_div(n.T, 4)),
        H_(n.H),
        S_(n.S) {}

  static int32_t threshold_of(double p) { return static_cast<int32_t>(p * 0x1p24 + 0.5); }

  bool on() const { return threshold_ > 0; }
  T factor(uint32_t word) const {
    return static_cast<int32_t>(word >> 8) < threshold_ ? T{0} : kept_;
  }

  // The factors for the weights of a strip of queries from t on, a multiple of 4.
  void strip(int64_t b, int64_t h, int64_t t, const Range& keys, T* factors) const {
    const int64_t block = ((b * H_ + h) * S_ + keys.begin) * per_key_ + t / 4;
    loops_.dropout(keys.size(), origin_, static_cast<uint64_t>(block),
                   static_cast<uint64_t>(per_key_), threshold_, kept_, factors);
  }

 private:
  const AttentionLoops<T>& loops_;
  PhiloxOrigin origin_;
  int32_t threshold_;
  T kept_;
  int64_t per_key_, H_, S_;
};

// ---- Products ----------------------------------------------------------------------------------

// The right factor of a product: strip i at data + i * step, with rows `stride` apart. All strips
// may be read in full.
template <class T>
struct Right {
  const T* data;
  int64_t step, stride;
};

// A left factor of at most tile_rows rows: A(i, k) = data[i * stride + k], or data[k * stride + i]
// if it is stored by columns.
template <class T>
struct Left {
  const T* data;
  int64_t stride;
  bool by_columns;
};

// C = alpha A B + beta C for one row of tiles.   A: (rows, K)  B: (K, N)
// C's rows are written up to whole strips.
template <class T>
void multiply(const GemmKernels<T>& gemm, int64_t rows, int64_t N, int64_t K, T alpha,
              const Left<T>& a, const Right<T>& b, T beta, T* c, int64_t c_stride) {
  const auto compute = (a.by_columns ? gemm.columns_of_a : gemm.rows_of_a)[rows - 1];
  const T* strip = b.data;
  for (int64_t j = 0; j < N; j += gemm.tile_cols, strip += b.step)
    compute({K, a.data, a.stride, strip, b.stride, c + j, c_stride, alpha, beta, nullptr});
}

// Calls f(first, rows) for nearly equal parts of [0, n) that fit the tile height.
template <class F>
void for_tile_rows(int64_t n, int64_t tile_rows, const F& f) {
  if (n <= 0) return;
  const int64_t height = even_part(n, tile_rows);
  for (int64_t i = 0; i < n; i += height) f(i, std::min(height, n - i));
}

// Dense rows, each padded with zeros to whole strips.
template <class T>
struct Rows {
  const T* data;
  int64_t stride;

  Rows from(int64_t row) const { return {data + row * stride, stride}; }
  Left<T> left(int64_t row) const { return {data + row * stride, stride, false}; }
  Right<T> right(int64_t row, int64_t width) const { return {data + row * stride, width, stride}; }
};

// Rows [first, first + n) of one head: in place if they are close together, else copied to `arena`:
// rows that are far apart map to the same few sets of L1.
template <class T>
Rows<T> rows_of(const GemmKernels<T>& gemm, const Heads<const T>& x, int64_t b, int64_t h,
                int64_t first, int64_t n, int64_t width, int64_t padded, T* arena) {
  if (width == padded && x.row_stride == width) return {x.row(b, h, first), width};
  gemm.copy(n, width, x.row(b, h, first), x.row_stride, arena, padded);
  return {arena, padded};
}

// The transposed rows [first, first + n), in strips: (width, n) -> strips of (width, strip width)
template <class T>
void pack_strips(const GemmKernels<T>& gemm, const Heads<const T>& x, int64_t b, int64_t h,
                 int64_t first, int64_t n, int64_t width, T* strips) {
  for (int64_t j = 0; j < n; j += gemm.tile_cols, strips += gemm.tile_cols * width)
    gemm.pack_transposed(width, std::min(gemm.tile_cols, n - j), x.row(b, h, first + j),
                         x.row_stride, strips);
}

// A strip of scores: St = alpha A B, one row of tiles after another.   A: (keys, K)  B: (K, W)
template <class T>
void multiply_strip(const GemmKernels<T>& gemm, int64_t keys, int64_t K, T alpha, const Rows<T>& a,
                    int64_t first, const T* b, T* c, int64_t c_stride) {
  const Right<T> right{b, 0, gemm.tile_cols};
  for_tile_rows(keys, gemm.tile_rows, [&](int64_t i, int64_t rows) {
    multiply(gemm, rows, gemm.tile_cols, K, alpha, a.left(first + i), right, T{0}, c + i * c_stride,
             c_stride);
  });
}

template <class T>
void clear(T* x, int64_t n) {
  std::memset(x, 0, static_cast<std::size_t>(n) * sizeof(T));
}

// Zeros for the keys outside of `kept` in a tile of n.
template <class T>
void clear_outside(const Range& kept, int64_t n, int64_t width, T* scores, int64_t stride) {
  const bool none = kept.empty();
  for (int64_t i = 0; i < (none ? n : kept.begin); ++i) clear(scores + i * stride, width);
  for (int64_t i = none ? n : kept.end; i < n; ++i) clear(scores + i * stride, width);
}

inline bool has_mask(const MaskView& rule) {
  return rule.begin || !rule.tables.empty() || !rule.ids.empty();
}

// y_j += factor sum_i w(i, j) x_i for the pairs with nonzero weight, since masked keys may be NaN.
// The slow form of the products below, for tiles with non-finite elements.
//   w(i, j) = weights[i * i_stride + j * j_stride]
template <class T>
void add_weighted(int64_t rows, int64_t outputs, int64_t width, T factor, const T* weights,
                  int64_t i_stride, int64_t j_stride, const Rows<T>& x, T* y, int64_t y_stride) {
  for (int64_t i = 0; i < rows; ++i)
    for (int64_t j = 0; j < outputs; ++j) {
      const T w = factor * weights[i * i_stride + j * j_stride];
      if (w == 0) continue;
      for (int64_t c = 0; c < width; ++c) y[j * y_stride + c] += w * x.data[i * x.stride + c];
    }
}

// True if the mask may hide, from all queries of a tile, keys between keys that they attend.
template <class T>
bool hides_keys(const MaskView& rule, const KeyIntervals<T>& kept) {
  return !rule.tables.empty() || !rule.ids.empty() || kept.gaps();
}

// Rows of keys or values without those masked for all queries of a tile: 0 times NaN would be NaN.
// weights: (n, queries), 0 where masked.
template <class T>
Rows<T> without_hidden(const Rows<T>& rows, int64_t n, int64_t padded, const T* weights,
                       int64_t queries, int64_t stride, T* arena) {
  const auto is_zero = [](T w) { return w == 0; };
  for (int64_t i = 0; i < n; ++i) {
    const T* row = weights + i * stride;
    if (std::all_of(row, row + queries, is_zero)) {
      clear(arena + i * padded, padded);
    } else if (rows.data != arena) {
      std::copy_n(rows.data + i * rows.stride, padded, arena + i * padded);
    }
  }
  return {arena, padded};
}

}  // namespace fovea::kernels::tiles
