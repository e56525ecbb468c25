// Strided copies, fills and conversions, and the one sum that the autograd engine needs.
#pragma once

#include <concepts>
#include <cstdint>
#include <limits>

namespace fovea::kernels {

// x as To. C++ leaves the conversion of an out-of-range float to an integer undefined: here it
// gives the nearest int64_t, also for infinity, and NaN gives 0. To bool: x != 0, so NaN is true.
template <class To, class From>
constexpr To cast(From x) {
  if constexpr (std::floating_point<From> && std::same_as<To, int64_t>) {
    if (!(x < From{0x1p63})) return x != x ? 0 : std::numeric_limits<int64_t>::max();
    if (x < -From{0x1p63}) return std::numeric_limits<int64_t>::min();
  }
  return static_cast<To>(x);
}

// The most axes a strided copy can have.
inline constexpr int max_copy_rank = 8;

// dst[i0 * dst_strides[0] + ...] = src[i0 * src_strides[0] + ...] for every index below `sizes`.
//
// `elem_size` is 1, 4 or 8 bytes; strides count elements. Source strides may be zero (a broadcast)
// or negative (a reversed axis, `src` then points to its last element); no two indices may refer to
// the same element of `dst`, and the two blocks must not overlap.
void copy_strided(int elem_size, const int64_t* sizes, int rank, const void* src,
                  const int64_t* src_strides, void* dst, const int64_t* dst_strides);

// n copies of the element at `pattern`, whose size is `elem_size` (1, 4 or 8) bytes.
void fill(int elem_size, void* dst, int64_t n, const void* pattern);

// y += x.    T: float, double, int64_t
template <class T>
void add_into(T* y, const T* x, int64_t n);

// dst[i] = cast<To>(src[i])
// From and To: float, double, int64_t, bool
template <class From, class To>
void convert(const From* src, To* dst, int64_t n);

}  // namespace fovea::kernels
