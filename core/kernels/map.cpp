#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/map.h>
#include <fovea/core/kernels/parallel.h>

#include <algorithm>
#include <tuple>
#include <type_traits>
#include <utility>

namespace fovea::kernels {

template <int N>
void Loop<N>::add_axis(int64_t size, const int64_t (&strides)[N]) {
  if (size == 1) return;
  if (rank > 0) {
    Axis& previous = axes[rank - 1];
    bool continues = true;
    for (int k = 0; k < N; ++k) continues &= previous.strides[k] == strides[k] * size;
    if (continues) {
      previous.size *= size;
      std::copy_n(strides, N, previous.strides);
      return;
    }
  }
  axes[rank].size = size;
  std::copy_n(strides, N, axes[rank].strides);
  ++rank;
}

template struct Loop<2>;
template struct Loop<3>;

namespace {

// Elements per chunk: some microseconds of work, compared to which starting a thread is cheap.
constexpr int64_t grain = 16384;

// Elements copied at a time: three such buffers fit in L1.
constexpr int64_t stage_size = 256;

const MapTable& table() { return pick(baseline::map_table, v3::map_table, v4::map_table); }

// An operand that may be strided or broadcast, read as dense runs.
template <class T>
class Stage {
 public:
  Stage(const T* data, int64_t stride) : data_(data), stride_(stride) {}

  // The n <= stage_size elements from `offset` on.
  const T* run(int64_t offset, int64_t n) {
    const T* from = data_ + offset;
    if (stride_ == 1 || n == 1) return from;
    if (stride_ == 0) return repeat(from, n);
    for (int64_t i = 0; i < n; ++i) buffer_[i] = from[i * stride_];
    return buffer_;
  }

 private:
  // The same element is usually repeated: run after run of a long axis.
  const T* repeat(const T* from, int64_t n) {
    if (from != repeated_) filled_ = 0;
    for (; filled_ < n; ++filled_) buffer_[filled_] = *from;
    repeated_ = from;
    return buffer_;
  }

  const T* data_;
  int64_t stride_;
  const T* repeated_ = nullptr;
  int64_t filled_ = 0;
  T buffer_[stage_size];
};

// Calls run(position, n, offsets) for parts of the innermost axis that cover [begin, end) of the
// index space, with each operand's offset of the first element.
template <int N, class Run>
void for_each_run(const Loop<N>& loop, int64_t begin, int64_t end, Run run) {
  const int last = loop.rank - 1;
  int64_t index[max_map_rank];
  int64_t offsets[N] = {};
  int64_t rest = begin;
  for (int d = last; d >= 0; --d) {
    index[d] = rest % loop.axes[d].size;
    rest /= loop.axes[d].size;
    for (int k = 0; k < N; ++k) offsets[k] += index[d] * loop.axes[d].strides[k];
  }
  const auto advance = [&](int d, int64_t by) {
    index[d] += by;
    for (int k = 0; k < N; ++k) offsets[k] += by * loop.axes[d].strides[k];
  };
  for (int64_t position = begin; position < end;) {
    const int64_t n = std::min({stage_size, end - position, loop.axes[last].size - index[last]});
    run(position, n, offsets);
    position += n;
    advance(last, n);
    for (int d = last; d > 0 && index[d] == loop.axes[d].size; --d) {
      advance(d, -loop.axes[d].size);
      advance(d - 1, 1);
    }
  }
}

template <int N>
bool is_dense(const Loop<N>& loop) {
  if (loop.rank == 0) return true;
  bool dense = loop.rank == 1;
  for (int k = 0; k < N; ++k) dense &= loop.axes[0].strides[k] == 1;
  return dense;
}

// fn(operands..., result, n) for [begin, end) of the index space; `k` are operand indices. Not
// inlined: its buffers would enlarge the stack frame of the dense case.
template <class Fn, class Result, class... T, int... k>
[[gnu::noinline]] void map_staged(std::integer_sequence<int, k...>, const Loop<sizeof...(T)>& loop,
                                  int64_t begin, int64_t end, Fn fn, Result* result,
                                  const T*... operands) {
  const auto& inner = loop.axes[loop.rank - 1].strides;
  std::tuple<Stage<T>...> stages{Stage<T>(operands, inner[k])...};
  for_each_run(loop, begin, end, [&](int64_t position, int64_t n, const int64_t* offsets) {
    fn(std::get<k>(stages).run(offsets[k], n)..., result + position, n);
  });
}

// Over the whole index space, whose chunks depend on its size only.
template <class Fn, class Result, class... T>
[[gnu::noinline]] void map_in_chunks(const Loop<sizeof...(T)>& loop, Fn fn, Result* result,
                                     const T*... operands) {
  const bool dense = is_dense(loop);
  parallel_for(loop.total(), grain, [&](int64_t begin, int64_t end) {
    if (dense) {
      fn((operands + begin)..., result + begin, end - begin);
    } else {
      constexpr auto numbers = std::make_integer_sequence<int, sizeof...(T)>{};
      map_staged(numbers, loop, begin, end, fn, result, operands...);
    }
  });
}

// fn(operands..., result, n) over the whole index space.
template <class Fn, class Result, class... T>
void map(const Loop<sizeof...(T)>& loop, Fn fn, Result* result, const T*... operands) {
  const int64_t n = loop.rank == 0 ? 1 : loop.axes[0].size;
  if (n > grain || !is_dense(loop)) return map_in_chunks(loop, fn, result, operands...);
  one_chunk(n, [&] { fn(operands..., result, n); });
}

template <class Enum>
constexpr int index_of(Enum f) {
  return static_cast<int>(f);
}

}  // namespace

template <class T>
void unary(Unary f, const T* x, T* y, int64_t n, UnaryArgs args) {
  const auto fn = static_cast<const FloatMaps<T>&>(table()).unary[index_of(f)];
  if (n <= grain) return one_chunk(n, [&] { fn(x, y, n, args); });
  parallel_for(n, grain,
               [&](int64_t begin, int64_t end) { fn(x + begin, y + begin, end - begin, args); });
}

template <class T>
void unary_gradient(Unary f, const T* dy, const T* kept, T* dx, int64_t n, UnaryArgs args) {
  const auto fn = static_cast<const FloatMaps<T>&>(table()).unary_gradient[index_of(f)];
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    fn(dy + begin, kept + begin, dx + begin, end - begin, args);
  });
}

template <class T>
void binary(Binary f, const Loop<2>& loop, const T* a, const T* b, T* y) {
  constexpr int count = std::is_integral_v<T> ? integer_binary_count : binary_count;
  map(loop, static_cast<const BinaryMaps<T, count>&>(table()).binary[index_of(f)], y, a, b);
}

template <class T>
void compare(Compare f, const Loop<2>& loop, const T* a, const T* b, bool* y) {
  map(loop, static_cast<const AnyMaps<T>&>(table()).compare[index_of(f)], y, a, b);
}

template <class T>
void binary_gradient(BinaryGradient f, const Loop<3>& loop, const T* dy, const T* a, const T* b,
                     T* result) {
  const auto fn = static_cast<const FloatMaps<T>&>(table()).binary_gradient[index_of(f)];
  map(loop, fn, result, dy, a, b);
}

template <class T>
void select(const Loop<3>& loop, const bool* condition, const T* a, const T* b, T* y) {
  map(loop, static_cast<const AnyMaps<T>&>(table()).select, y, condition, a, b);
}

#define FOVEA_FOR_FLOATS(T)                                                                      \
  template void unary<T>(Unary, const T*, T*, int64_t, UnaryArgs);                               \
  template void unary_gradient<T>(Unary, const T*, const T*, T*, int64_t, UnaryArgs);            \
  template void binary_gradient<T>(BinaryGradient, const Loop<3>&, const T*, const T*, const T*, \
                                   T*);
#define FOVEA_FOR_NUMBERS(T) \
  template void binary<T>(Binary, const Loop<2>&, const T*, const T*, T*);
#define FOVEA_FOR_ALL(T)                                                        \
  template void compare<T>(Compare, const Loop<2>&, const T*, const T*, bool*); \
  template void select<T>(const Loop<3>&, const bool*, const T*, const T*, T*);

FOVEA_FOR_FLOATS(float)
FOVEA_FOR_FLOATS(double)
FOVEA_FOR_NUMBERS(float)
FOVEA_FOR_NUMBERS(double)
FOVEA_FOR_NUMBERS(int64_t)
FOVEA_FOR_ALL(float)
FOVEA_FOR_ALL(double)
FOVEA_FOR_ALL(int64_t)
FOVEA_FOR_ALL(bool)

}  // namespace fovea::kernels
