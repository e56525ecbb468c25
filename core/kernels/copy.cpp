#include <fovea/core/kernels/copy.h>
#include <fovea/core/kernels/parallel.h>

#include <algorithm>
#include <cassert>
#include <cstring>

namespace fovea::kernels {
namespace {

using Byte = unsigned char;

// Fewer elements than this do not justify starting a second thread.
constexpr int64_t parallel_grain = 16384;

// 32 x 32 elements of 4 bytes: whole pairs of cache lines on either side, and both sides fit in L1.
constexpr int64_t transpose_tile = 32;

struct Axis {
  int64_t size, src_stride, dst_stride;
};

// A copy after merging adjacent axes with compatible strides.
struct Plan {
  Axis axes[max_copy_rank];
  int rank = 0;
};

Plan collapse(const int64_t* sizes, int rank, const int64_t* src_strides,
              const int64_t* dst_strides) {
  Plan plan;
  for (int d = 0; d < rank; ++d) {
    if (sizes[d] == 1) continue;
    const Axis axis{sizes[d], src_strides[d], dst_strides[d]};
    if (plan.rank > 0) {
      Axis& previous = plan.axes[plan.rank - 1];
      if (previous.src_stride == axis.src_stride * axis.size &&
          previous.dst_stride == axis.dst_stride * axis.size) {
        previous = {previous.size * axis.size, axis.src_stride, axis.dst_stride};
        continue;
      }
    }
    plan.axes[plan.rank++] = axis;
  }
  return plan;
}

// Iterates over some axes in row-major order, with the two element offsets.
class Odometer {
 public:
  Odometer(const Axis* axes, int rank, int64_t position) : axes_(axes), rank_(rank) {
    for (int d = rank - 1; d >= 0; --d) {
      index_[d] = position % axes[d].size;
      position /= axes[d].size;
      src_ += index_[d] * axes[d].src_stride;
      dst_ += index_[d] * axes[d].dst_stride;
    }
  }

  int64_t src() const { return src_; }
  int64_t dst() const { return dst_; }

  void advance() {
    for (int d = rank_ - 1; d >= 0; --d) {
      src_ += axes_[d].src_stride;
      dst_ += axes_[d].dst_stride;
      if (++index_[d] < axes_[d].size) return;
      src_ -= axes_[d].size * axes_[d].src_stride;
      dst_ -= axes_[d].size * axes_[d].dst_stride;
      index_[d] = 0;
    }
  }

 private:
  const Axis* axes_;
  int rank_;
  int64_t index_[max_copy_rank] = {};
  int64_t src_ = 0, dst_ = 0;
};

int64_t count(const Axis* axes, int rank) {
  int64_t n = 1;
  for (int d = 0; d < rank; ++d) n *= axes[d].size;
  return n;
}

// Calls row(position, src offset, dst offset) for every index over the axes, in parallel if the
// rows, of `row_elements` each, are enough work.
template <class Row>
void for_each_row(const Axis* axes, int rank, int64_t row_elements, Row row) {
  const int64_t grain = std::max<int64_t>(1, parallel_grain / row_elements);
  parallel_for(count(axes, rank), grain, [&](int64_t begin, int64_t end) {
    Odometer at(axes, rank, begin);
    for (int64_t i = begin; i < end; ++i, at.advance()) row(i, at.src(), at.dst());
  });
}

// The axis with unit stride in the source, if it differs from the last and the last has unit stride
// in the destination: then tiles of the two are transposed. -1 if there is none.
int transposed_axis(const Plan& plan) {
  const Axis& last = plan.axes[plan.rank - 1];
  if (last.src_stride == 1 || last.dst_stride != 1) return -1;
  for (int d = plan.rank - 2; d >= 0; --d)
    if (plan.axes[d].src_stride == 1) return d;
  return -1;
}

// Elements of N bytes. A memcpy of constant size is one load and one store, and unlike a pointer
// cast it does not violate strict aliasing.
template <int N>
struct Elements {
  static void copy_contiguous(int64_t n, const Byte* src, Byte* dst) {
    std::memcpy(dst, src, static_cast<std::size_t>(n * N));
  }

  static void copy_axis(const Axis& axis, const Byte* src, Byte* dst) {
    const int64_t src_step = axis.src_stride * N, dst_step = axis.dst_stride * N;
    for (int64_t i = 0; i < axis.size; ++i) std::memcpy(dst + i * dst_step, src + i * src_step, N);
  }

  // Row r of the destination is column r of the source: `rows` has unit stride in the source and
  // `cols` in the destination. At most transpose_tile rows.
  static void transpose_tile_rows(const Axis& rows, const Axis& cols, const Byte* src, Byte* dst) {
    for (int64_t c0 = 0; c0 < cols.size; c0 += transpose_tile) {
      const int64_t c1 = std::min(cols.size, c0 + transpose_tile);
      for (int64_t r = 0; r < rows.size; ++r)
        for (int64_t c = c0; c < c1; ++c)
          std::memcpy(dst + (r * rows.dst_stride + c) * N, src + (c * cols.src_stride + r) * N, N);
    }
  }

  // Tiles of axis `transposed` and the whole last axis, for every index over the other axes.
  static void copy_transposed(Plan plan, int transposed, const Byte* src, Byte* dst) {
    const Axis rows = plan.axes[transposed];
    const Axis cols = plan.axes[plan.rank - 1];
    const int64_t tiles = chunk_count(rows.size, transpose_tile);
    std::copy(plan.axes + transposed + 1, plan.axes + plan.rank - 1, plan.axes + transposed);
    plan.axes[plan.rank - 2] = {tiles, transpose_tile, transpose_tile * rows.dst_stride};
    for_each_row(plan.axes, plan.rank - 1, transpose_tile * cols.size,
                 [&](int64_t position, int64_t s, int64_t d) {
                   Axis tile = rows;
                   tile.size =
                       std::min(transpose_tile, rows.size - position % tiles * transpose_tile);
                   transpose_tile_rows(tile, cols, src + s * N, dst + d * N);
                 });
  }

  static void copy(const Plan& plan, const Byte* src, Byte* dst) {
    if (plan.rank == 0) return copy_contiguous(1, src, dst);
    const Axis last = plan.axes[plan.rank - 1];
    const bool contiguous = last.src_stride == 1 && last.dst_stride == 1;
    if (contiguous && plan.rank == 1) {
      parallel_for(last.size, parallel_grain, [&](int64_t begin, int64_t end) {
        copy_contiguous(end - begin, src + begin * N, dst + begin * N);
      });
    } else if (const int transposed = transposed_axis(plan); transposed >= 0) {
      copy_transposed(plan, transposed, src, dst);
    } else {
      for_each_row(plan.axes, plan.rank - 1, last.size, [&](int64_t, int64_t s, int64_t d) {
        if (contiguous)
          copy_contiguous(last.size, src + s * N, dst + d * N);
        else
          copy_axis(last, src + s * N, dst + d * N);
      });
    }
  }

  static void fill(Byte* dst, int64_t n, const Byte* pattern) {
    parallel_for(n, parallel_grain, [&](int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; ++i) std::memcpy(dst + i * N, pattern, N);
    });
  }
};

// Calls f(Elements<elem_size>()).
template <class F>
void with_elements(int elem_size, F f) {
  assert(elem_size == 1 || elem_size == 4 || elem_size == 8);
  if (elem_size == 1) return f(Elements<1>());
  if (elem_size == 4) return f(Elements<4>());
  f(Elements<8>());
}

}  // namespace

void copy_strided(int elem_size, const int64_t* sizes, int rank, const void* src,
                  const int64_t* src_strides, void* dst, const int64_t* dst_strides) {
  if (std::find(sizes, sizes + rank, 0) != sizes + rank) return;
  const Plan plan = collapse(sizes, rank, src_strides, dst_strides);
  with_elements(elem_size, [&](auto elements) {
    elements.copy(plan, static_cast<const Byte*>(src), static_cast<Byte*>(dst));
  });
}

void fill(int elem_size, void* dst, int64_t n, const void* pattern) {
  with_elements(elem_size, [&](auto elements) {
    elements.fill(static_cast<Byte*>(dst), n, static_cast<const Byte*>(pattern));
  });
}

template <class T>
void add_into(T* y, const T* x, int64_t n) {
  parallel_for(n, parallel_grain, [&](int64_t begin, int64_t end) {
#pragma omp simd
    for (int64_t i = begin; i < end; ++i) y[i] += x[i];
  });
}

template <class From, class To>
void convert(const From* src, To* dst, int64_t n) {
  parallel_for(n, parallel_grain, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) dst[i] = cast<To>(src[i]);
  });
}

template void add_into(float*, const float*, int64_t);
template void add_into(double*, const double*, int64_t);
template void add_into(int64_t*, const int64_t*, int64_t);

template void convert(const float*, float*, int64_t);
template void convert(const float*, double*, int64_t);
template void convert(const float*, int64_t*, int64_t);
template void convert(const float*, bool*, int64_t);
template void convert(const double*, float*, int64_t);
template void convert(const double*, double*, int64_t);
template void convert(const double*, int64_t*, int64_t);
template void convert(const double*, bool*, int64_t);
template void convert(const int64_t*, float*, int64_t);
template void convert(const int64_t*, double*, int64_t);
template void convert(const int64_t*, int64_t*, int64_t);
template void convert(const int64_t*, bool*, int64_t);
template void convert(const bool*, float*, int64_t);
template void convert(const bool*, double*, int64_t);
template void convert(const bool*, int64_t*, int64_t);
template void convert(const bool*, bool*, int64_t);

}  // namespace fovea::kernels
