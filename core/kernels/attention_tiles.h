// What the forward and the backward of attention by tiles share: how large tiles are, which keys a
// tile of queries keeps, packing, and products of tiles.
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
constexpr int64_t kMaxBlock = 384;  // keys whose gradients the backward collects at a time

constexpr int64_t round_up(int64_t n, int64_t to) { return ceil_div(n, to) * to; }

template <class T>
struct Tiling {
  const GemmKernels<T>& gemm;
  const AttentionLoops<T>& loops;
  int64_t width;    // of a strip
  int64_t queries;  // of a tile, a multiple of `width`
  int64_t keys;     // of a tile, at most
  int64_t block;    // keys of a block, at most
  int64_t stride;   // between the keys of a tile of scores
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

// Pieces of a thread's room, each beginning with a cache line. First counted, then handed out.
template <class T>
class Room {
 public:
  explicit Room(T* base = nullptr) : base_(base) {}
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
T* thread_room(int64_t n) {
  thread_local GemmMemory<T> memory;
  return memory.reserve(n);
}

// ---- Which keys --------------------------------------------------------------------------------

struct Range {
  int64_t begin = 0, end = 0;

  bool empty() const { return begin >= end; }
  int64_t size() const { return end - begin; }
  Range within(const Range& other) const {
    return {std::max(begin, other.begin), std::min(end, other.end)};
  }
  // Whether there is nothing between the two.
  bool meets(const Range& other) const {
    return empty() || other.empty() || (begin <= other.end && other.begin <= end);
  }
  Range joined(const Range& other) const {
    if (empty()) return other;
    if (other.empty()) return *this;
    return {std::min(begin, other.begin), std::max(end, other.end)};
  }
};

// The intervals of the queries [first, first + count) of a tile. What concerns a strip, or a row of
// tiles (`height` queries), is found once.
template <class T>
class Intervals {
 public:
  Intervals(const KeepRule& rule, const Tiling<T>& tiling, int64_t b, int64_t first, int64_t count,
            int64_t S)
      : count_(count), width_(tiling.width), height_(even_part(count, tiling.gemm.tile_rows)) {
    // Queries that fill up the last strip count for nothing.
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
        gaps_ = gaps_ || !of(i).meets(all_.joined(any));
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
  // From the first to the last key that one of the queries keeps: of all, of a strip, of a row of
  // tiles.
  Range all() const { return all_; }
  // Whether, in between, there may be keys that none of the queries keeps.
  bool gaps() const { return gaps_; }
  Range strip(int64_t j) const { return bounded_ ? strip_any_[j / width_] : all_; }
  Range rows(int64_t i) const { return bounded_ ? rows_any_[i / height_] : all_; }
  // Whether each query of the strip keeps all of these keys.
  bool strip_keeps(int64_t j, const Range& keys) const {
    if (!bounded_) return true;
    const Range& every = strip_every_[j / width_];
    return every.begin <= keys.begin && keys.end <= every.end;
  }
  // From the first to the last query that keeps one of these keys.
  Range queries_of(const Range& keys) const {
    int64_t first = 0, last = count_;
    while (first < last && of(first).within(keys).empty()) ++first;
    while (last > first && of(last - 1).within(keys).empty()) --last;
    return {first, last};
  }

  // -inf where a strip's query does not keep one of the keys, whose scores these are.
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

enum class Kept { none, some, all };

// What a table says of queries [t, t + queries) and of the keys.
inline Kept kept_by(const KeepRule::Table& table, int64_t b, int64_t h, int64_t t, int64_t queries,
                    const Range& keys) {
  const bool* first = table.data + b * table.b_stride + h * table.h_stride + t * table.t_stride +
                      keys.begin * table.s_stride;
  const int64_t rows = table.t_stride == 0 ? 1 : queries;
  if (table.s_stride != 1 && table.s_stride != 0) return Kept::some;  // slow to ask
  const auto n = static_cast<std::size_t>(table.s_stride == 0 ? 1 : keys.size());
  bool some = false, all = true;
  for (int64_t j = 0; j < rows && (all || !some); ++j) {
    const bool* row = first + j * table.t_stride;
    some = some || std::memchr(row, 1, n);
    all = all && !std::memchr(row, 0, n);
  }
  return all ? Kept::all : some ? Kept::some : Kept::none;
}

inline Kept kept_by_tables(const KeepRule& rule, int64_t b, int64_t h, int64_t t, int64_t queries,
                           const Range& keys) {
  Kept kept = rule.ids.empty() ? Kept::all : Kept::some;
  for (const KeepRule::Table& table : rule.tables)
    kept = std::min(kept, kept_by(table, b, h, t, queries, keys));
  return kept;
}

template <class T>
void apply_tables(const AttentionLoops<T>& loops, const KeepRule& rule, int64_t b, int64_t h,
                  int64_t t, int64_t queries, const Range& keys, T* scores, int64_t stride) {
  for (const KeepRule::Table& table : rule.tables)
    loops.keep_table(keys.size(), queries,
                     table.data + b * table.b_stride + h * table.h_stride + t * table.t_stride +
                         keys.begin * table.s_stride,
                     table.t_stride, table.s_stride, scores, stride);
  for (const KeepRule::Ids& ids : rule.ids)
    loops.keep_ids(keys.size(), queries, ids.query + b * ids.query_b_stride + t,
                   ids.key + b * ids.key_b_stride + keys.begin, scores, stride);
}

// ---- Dropout -----------------------------------------------------------------------------------

template <class T>
class Drop {
 public:
  Drop(const AttentionLoops<T>& loops, const AttentionDropout& dropout, const AttentionSizes& n)
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

  // The factors of the weights of a strip of queries from t on, a multiple of 4.
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

// The right factor of a product: strip i at data + i * step, its rows `stride` apart. All strips
// may be read whole.
template <class T>
struct Right {
  const T* data;
  int64_t step, stride;
};

// A left factor of at most tile_rows rows: A(i, k) = data[i * stride + k], or, if it is stored by
// columns, data[k * stride + i].
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

// Calls f(first, rows) for even parts of [0, n) that tiles are high enough for.
template <class F>
void for_tile_rows(int64_t n, int64_t tile_rows, const F& f) {
  if (n <= 0) return;
  const int64_t height = even_part(n, tile_rows);
  for (int64_t i = 0; i < n; i += height) f(i, std::min(height, n - i));
}

// Rows of numbers, dense, each filled up with zeros to whole strips.
template <class T>
struct Rows {
  const T* data;
  int64_t stride;

  Rows from(int64_t row) const { return {data + row * stride, stride}; }
  Left<T> left(int64_t row) const { return {data + row * stride, stride, false}; }
  Right<T> right(int64_t row, int64_t width) const { return {data + row * stride, width, stride}; }
};

// Rows [first, first + n) of one head: where they lie, if they lie well, else copied to `room`:
// rows that are far apart compete for the same few lines of L1.
template <class T>
Rows<T> rows_of(const GemmKernels<T>& gemm, const Heads<const T>& x, int64_t b, int64_t h,
                int64_t first, int64_t n, int64_t width, int64_t padded, T* room) {
  if (width == padded && x.row_stride == width) return {x.row(b, h, first), width};
  gemm.copy(n, width, x.row(b, h, first), x.row_stride, room, padded);
  return {room, padded};
}

// The transposed rows [first, first + n), in strips: (width, n) -> strips of (width, strip width)
template <class T>
void pack_strips(const GemmKernels<T>& gemm, const Heads<const T>& x, int64_t b, int64_t h,
                 int64_t first, int64_t n, int64_t width, T* strips) {
  for (int64_t j = 0; j < n; j += gemm.tile_cols, strips += gemm.tile_cols * width)
    gemm.pack_transposed(width, std::min(gemm.tile_cols, n - j), x.row(b, h, first + j),
                         x.row_stride, strips);
}

// A strip of scores: St = alpha A B, one row of tiles after the other.   A: (keys, K)  B: (K, W)
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

// Zeros for the keys of a tile of n outside of `kept`.
template <class T>
void clear_outside(const Range& kept, int64_t n, int64_t width, T* scores, int64_t stride) {
  const bool none = kept.empty();
  for (int64_t i = 0; i < (none ? n : kept.begin); ++i) clear(scores + i * stride, width);
  for (int64_t i = none ? n : kept.end; i < n; ++i) clear(scores + i * stride, width);
}

inline bool has_mask(const KeepRule& rule) {
  return rule.begin || !rule.tables.empty() || !rule.ids.empty();
}

// y_j += factor sum_i w(i, j) x_i for the pairs whose weight is not 0: what a query does not keep
// may be NaN. The slow form of the products below, for tiles that hold such numbers.
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

// Whether the mask may hide keys from all queries of a tile that stand between keys they keep.
template <class T>
bool hides_keys(const KeepRule& rule, const Intervals<T>& kept) {
  return !rule.tables.empty() || !rule.ids.empty() || kept.gaps();
}

// Rows of keys or values without those that are hidden from all queries of a tile: whatever stands
// there must not come in, and 0 times NaN would. weights: (n, queries), 0 where hidden.
template <class T>
Rows<T> without_hidden(const Rows<T>& rows, int64_t n, int64_t padded, const T* weights,
                       int64_t queries, int64_t stride, T* room) {
  const auto is_zero = [](T w) { return w == 0; };
  for (int64_t i = 0; i < n; ++i) {
    const T* row = weights + i * stride;
    if (std::all_of(row, row + queries, is_zero)) {
      clear(room + i * padded, padded);
    } else if (rows.data != room) {
      std::copy_n(rows.data + i * rows.stride, padded, room + i * padded);
    }
  }
  return {room, padded};
}

}  // namespace fovea::kernels::tiles
