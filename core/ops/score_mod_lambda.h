// score_mod: a C++ lambda as a modification of attention's scores, forward and backward.
//
//   // A learned value per head and distance up to 8; keys further away are dropped.
//   const Tensor table = ...;  // (1, H, 17), requires a gradient
//   options.score_mod = score_mod(
//       []<class N>(N score, const ScorePlace& at, auto read) -> N {
//         const auto distance = at.key - at.query;
//         if (distance < -8 || distance > 8) return -INFINITY;
//         return score + read(0, distance + 8);
//       },
//       {table});
//
// The lambda is written once, for the forward. It is instantiated with numbers that carry their
// derivatives (score_mod_dual.h), which gives the gradients with respect to the score and to all
// elements read: the backward of the fused attention recomputes each score and calls the lambda
// once more. Its loop over a tile is compiled where score_mod() is called, with the lambda inlined.
//
// The lambda must be a pure function of its arguments: it is called from several threads and again
// in the backward, and must give the same result. A result of -infinity drops the key: it gets
// weight 0, and neither the score nor the elements read receive a gradient from it. Where a Mask
// can express the same, use the Mask: it skips whole tiles, while a lambda is called for every
// score. A lambda of + - * / and one or two reads makes the attention take about 1.5 times as long;
// exp and tanh are the C library's, one score at a time, and more expensive: ScoreMod::soft_cap is
// six times as fast as the equivalent lambda. NaN is not dropped; it propagates. The mask is
// applied after the lambda, which may be called for masked keys: it must not read outside of a
// slice for them either. For packed sequences (Ragged), `batch` is 0.
#pragma once

#include <fovea/core/ops/score_mod.h>
#include <fovea/core/ops/score_mod_dual.h>

#include <array>
#include <cmath>
#include <limits>
#include <span>

namespace fovea {

/// Indices of a score. With Corner::bottom_right, query t of T is counted as t + (S - T).
struct ScorePlace {
  std::int64_t batch, head, query, key;
};

namespace detail {

/// The slice of one captured tensor for a (batch, head): (), (X) or (X, Y).
template <class T>
struct ScoreSlice {
  const T* data = nullptr;
  const T* direction = nullptr;  ///< in the second backward; laid out like data
  T* grad = nullptr;             ///< null: not required
  int axes = 0;
  std::int64_t X = 1, Y = 1;
  std::int64_t x_stride = 0, y_stride = 0;
  std::int64_t grad_x_stride = 0, grad_y_stride = 0;
};

/// Scores with keys as the outer axis: key `at.key + i` and query `at.query + j` at [i * stride +
/// j].
template <class T>
struct ScoreBlock {
  ScorePlace at;  ///< of the first score
  std::int64_t queries, keys, stride;
  T* scores;
  T* dscores;          ///< backward: dy in, dx out. Second backward: dy in, its gradient out
  const T* direction;  ///< second backward: the weights of the gradient by x; null: 0
  T* dx;               ///< second backward: the gradient by the scores
  std::span<const ScoreSlice<T>> slices;
};

/// The lambda's loops over a block.
struct ScoreLoops {
  template <class T>
  using Loop = void (*)(const void* f, const ScoreBlock<T>& block);
  template <class T>
  struct Of {
    Loop<T> forward;         ///< scores -> modified scores, in place
    Loop<T> backward;        ///< dscores, and the slices' grads
    Loop<T> score_backward;  ///< dscores only
    Loop<T> second_backward;
  };
  Of<float> f32;
  Of<double> f64;
};

/// The lambda, type-erased.
struct ScoreLambda {
  std::shared_ptr<const void> f;
  ScoreLoops loops;
};

ScoreMod make_score_mod(ScoreLambda lambda, std::vector<Tensor> captured, Mask::Corner corner);

[[noreturn]] void too_many_reads(int max_reads);
[[noreturn]] void bad_read(std::size_t slices, int which, int axes_given, int axes, std::int64_t x,
                           std::int64_t y, std::int64_t X, std::int64_t Y);

/// The elements read in one call of the lambda.
template <int MaxReads>
struct ReadLog {
  struct Entry {
    int slice;
    std::int64_t x, y;
  };
  int count = 0;
  std::array<Entry, MaxReads> entries;
};

/// The lambda's `read`: read(i), read(i, x) or read(i, x, y) is an element of captured tensor i, in
/// the slice of this batch row and head.
template <class N, class T, int MaxReads>
class ScoreReader {
 public:
  ScoreReader(std::span<const ScoreSlice<T>> slices, ReadLog<MaxReads>& log)
      : slices_(slices), log_(&log) {}

  N operator()(int i) const { return get(i, 0, 0, 0); }
  N operator()(int i, std::int64_t x) const { return get(i, 1, x, 0); }
  N operator()(int i, std::int64_t x, std::int64_t y) const { return get(i, 2, x, y); }

 private:
  N get(int i, int axes, std::int64_t x, std::int64_t y) const {
    if (static_cast<std::size_t>(i) >= slices_.size())
      bad_read(slices_.size(), i, axes, 0, x, y, 0, 0);
    const ScoreSlice<T>& s = slices_[static_cast<std::size_t>(i)];
    if (s.axes != axes || x < 0 || x >= s.X || y < 0 || y >= s.Y)
      bad_read(slices_.size(), i, axes, s.axes, x, y, s.X, s.Y);
    const int number = log_->count++;
    if (number >= MaxReads) too_many_reads(MaxReads);
    log_->entries[static_cast<std::size_t>(number)] = {i, x, y};
    const std::int64_t place = x * s.x_stride + y * s.y_stride;
    if constexpr (is_dual<decltype(N::value)>) {
      decltype(N::value) inner(s.data[place]);
      if (s.direction) inner.partial[0] = s.direction[place];
      return N::variable(inner, 1 + number);
    } else if constexpr (sizeof(N::partial) / sizeof(T) > 1) {
      return N::variable(s.data[place], 1 + number);
    } else {
      return N(s.data[place]);
    }
  }

  std::span<const ScoreSlice<T>> slices_;
  ReadLog<MaxReads>* log_;
};

/// Adds the gradients of the elements read. Consecutive reads of the same element are summed first:
/// adding many small terms one by one to an element that a whole tile reads would lose digits.
template <class T, int MaxReads>
class ReadGradients {
 public:
  explicit ReadGradients(std::span<const ScoreSlice<T>> slices) : slices_(slices) {}

  void add(std::size_t number, const typename ReadLog<MaxReads>::Entry& read, T gradient) {
    const ScoreSlice<T>& s = slices_[static_cast<std::size_t>(read.slice)];
    if (!s.grad) return;
    T* place = s.grad + read.x * s.grad_x_stride + read.y * s.grad_y_stride;
    if (place != places_[number]) {
      flush(number);
      places_[number] = place;
    }
    sums_[number] += gradient;
  }
  void flush() {
    for (std::size_t i = 0; i < MaxReads; ++i) flush(i);
  }

 private:
  void flush(std::size_t number) {
    if (places_[number]) *places_[number] += sums_[number];
    sums_[number] = 0;
  }
  std::span<const ScoreSlice<T>> slices_;
  std::array<T*, MaxReads> places_{};
  std::array<T, MaxReads> sums_{};
};

template <class T>
ScorePlace place_in(const ScoreBlock<T>& b, std::int64_t i, std::int64_t j) {
  return {b.at.batch, b.at.head, b.at.query + j, b.at.key + i};
}

template <class F, class T, int MaxReads>
void score_forward(const void* self, const ScoreBlock<T>& b) {
  const F& f = *static_cast<const F*>(self);
  using N = Dual<T, 0>;
  for (std::int64_t i = 0; i < b.keys; ++i) {
    T* row = b.scores + i * b.stride;
    for (std::int64_t j = 0; j < b.queries; ++j) {
      ReadLog<MaxReads> log;
      const N y = f(N(row[j]), place_in(b, i, j), ScoreReader<N, T, MaxReads>(b.slices, log));
      row[j] = y.value;
    }
  }
}

// The derivative with respect to the score only.
template <class F, class T, int MaxReads>
void score_backward(const void* self, const ScoreBlock<T>& b) {
  const F& f = *static_cast<const F*>(self);
  using N = Dual<T, 1>;
  for (std::int64_t i = 0; i < b.keys; ++i) {
    const T* row = b.scores + i * b.stride;
    T* ds = b.dscores + i * b.stride;
    for (std::int64_t j = 0; j < b.queries; ++j) {
      ReadLog<MaxReads> log;
      const N x = N::variable(row[j], 0);
      const N y = f(x, place_in(b, i, j), ScoreReader<N, T, MaxReads>(b.slices, log));
      ds[j] = ds[j] == 0 || y.value == -std::numeric_limits<T>::infinity()
                  ? T(0)  // dropped, here or by the mask
                  : ds[j] * y.partial[0];
    }
  }
}

template <class F, class T, int MaxReads>
void score_and_reads_backward(const void* self, const ScoreBlock<T>& b) {
  const F& f = *static_cast<const F*>(self);
  using N = Dual<T, MaxReads + 1>;
  ReadGradients<T, MaxReads> grads(b.slices);
  for (std::int64_t i = 0; i < b.keys; ++i)
    for (std::int64_t j = 0; j < b.queries; ++j) {
      T& ds = b.dscores[i * b.stride + j];
      if (ds == 0) continue;
      ReadLog<MaxReads> log;
      const N x = N::variable(b.scores[i * b.stride + j], 0);
      const N y = f(x, place_in(b, i, j), ScoreReader<N, T, MaxReads>(b.slices, log));
      const bool dropped = y.value == -std::numeric_limits<T>::infinity();
      for (std::size_t r = 0; !dropped && r < static_cast<std::size_t>(log.count); ++r)
        grads.add(r, log.entries[r], ds * y.partial[1 + r]);
      ds = dropped ? T(0) : ds * y.partial[0];
    }
  grads.flush();
}

// The backward is G = dy df/dz, z being the score and all elements read. For weights v of G, the
// gradients are  by dy: v . df/dz   and  by z: dy d(v . df/dz)/dz.  The inner Dual carries the
// derivative along v, the outer one the derivatives by each z.
template <class F, class T, int MaxReads>
void score_second_backward(const void* self, const ScoreBlock<T>& b) {
  const F& f = *static_cast<const F*>(self);
  using Along = Dual<T, 1>;
  using N = Dual<Along, MaxReads + 1>;
  ReadGradients<T, MaxReads> grads(b.slices);
  for (std::int64_t i = 0; i < b.keys; ++i)
    for (std::int64_t j = 0; j < b.queries; ++j) {
      const std::int64_t at = i * b.stride + j;
      const T dy = b.dscores[at];
      ReadLog<MaxReads> log;
      Along x(b.scores[at]);
      if (b.direction) x.partial[0] = b.direction[at];
      const N y =
          f(N::variable(x, 0), place_in(b, i, j), ScoreReader<N, T, MaxReads>(b.slices, log));
      const bool dropped = y.value.value == -std::numeric_limits<T>::infinity();
      for (std::size_t r = 0; !dropped && r < static_cast<std::size_t>(log.count); ++r)
        grads.add(r, log.entries[r], dy * y.partial[1 + r].partial[0]);
      b.dscores[at] = dropped ? T(0) : y.value.partial[0];
      b.dx[at] = dropped ? T(0) : dy * y.partial[0].partial[0];
    }
  grads.flush();
}

template <class F, class T, int MaxReads>
constexpr ScoreLoops::Of<T> loops_of_lambda() {
  return {score_forward<F, T, MaxReads>, score_and_reads_backward<F, T, MaxReads>,
          score_backward<F, T, MaxReads>, score_second_backward<F, T, MaxReads>};
}

}  // namespace detail

/// f as a ScoreMod: score' = f(score, place, read), written as shown above.
///   captured: the tensors accessed by read(0, ...), read(1, ...): (B or 1, H or 1), or with one or
///   two more axes; trainable, with the scores' dtype. At most 8.
/// One call may read MaxReads elements; a higher bound makes the backward slower. The corner is
/// required if T != S, as for Mask::causal. Takes O(T) memory in the fused attention. ShapeError,
/// DTypeError for tensors that do not match; from inside the attention, IndexError for a read
/// outside of the slice and ValueError for more than MaxReads reads. First and second derivatives
/// exist; a third is a StateError.
template <int MaxReads = 4, class F>
ScoreMod score_mod(F f, std::vector<Tensor> captured = {},
                   Mask::Corner corner = Mask::Corner::unset) {
  static_assert(MaxReads >= 1 && MaxReads <= 16, "score_mod<MaxReads>: between 1 and 16");
  static_assert(
      requires(const F& g, Dual<float, 0> score, const ScorePlace& at,
               detail::ReadLog<MaxReads>& l) {
        Dual<float, 0>(g(score, at, detail::ScoreReader<Dual<float, 0>, float, MaxReads>({}, l)));
      },
      "score_mod: the function must take (auto score, const ScorePlace& at, auto read), be "
      "callable "
      "when const, and return a number; write tanh(score) without std::");
  using namespace detail;
  return make_score_mod(
      {std::make_shared<const F>(std::move(f)),
       {loops_of_lambda<F, float, MaxReads>(), loops_of_lambda<F, double, MaxReads>()}},
      std::move(captured), corner);
}

}  // namespace fovea
