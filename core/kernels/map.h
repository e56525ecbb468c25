// Elementwise kernels: y[i] = f(x[i]), y[i] = f(a[i], b[i]), and their gradients.
//
// The formulas in map_simd.cpp work on dense runs only. Broadcast or strided operands are described
// by a Loop and copied through a small buffer.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// ---- The functions -----------------------------------------------------------------------------

// Of one argument. T: float, double
enum class Unary : std::uint8_t {
  exp,
  log,
  sqrt,
  rsqrt,
  square,
  tanh,
  sigmoid,
  erf,
  relu,
  leaky_relu,
  gelu,
  gelu_tanh,
  silu,
  softplus,
  abs,
  clamp
};
inline constexpr int unary_count = static_cast<int>(Unary::clamp) + 1;

// Constants of a unary function: leaky_relu's slope is `a`; clamp's bounds are `a` and `b`.
struct UnaryArgs {
  double a = 0, b = 0;
};

// Of two arguments. T: float, double, int64_t; div and pow: float, double
enum class Binary : std::uint8_t { add, sub, mul, maximum, minimum, div, pow };
inline constexpr int integer_binary_count = static_cast<int>(Binary::minimum) + 1;
inline constexpr int binary_count = static_cast<int>(Binary::pow) + 1;

// Comparisons and logical functions, with a bool result. T: float, double, int64_t, bool
enum class Compare : std::uint8_t { eq, ne, lt, le, gt, ge, both, either };
inline constexpr int compare_count = static_cast<int>(Compare::either) + 1;

// The gradient of a binary function of (a, b) for one operand: f(dy, a, b). T: float, double
// maximum and minimum are symmetric: their second gradient is the first with a and b exchanged.
enum class BinaryGradient : std::uint8_t { div_b, pow_a, pow_b, maximum_a, minimum_a };
inline constexpr int binary_gradient_count = static_cast<int>(BinaryGradient::minimum_a) + 1;

// ---- Layout of the operands
// ----------------------------------------------------------------------

inline constexpr int max_map_rank = 8;

// The index space of a dense result, and for each of N operands the stride, in elements, along
// every axis: 0 where the operand is broadcast.
template <int N>
struct Loop {
  struct Axis {
    int64_t size;
    int64_t strides[N];
  };

  // n contiguous elements.
  static Loop flat(int64_t n, const int64_t (&strides)[N]) {
    Loop loop;
    loop.rank = n == 1 ? 0 : 1;
    loop.axes[0].size = n;
    for (int k = 0; k < N; ++k) loop.axes[0].strides[k] = strides[k];
    return loop;
  }

  // Axes are added from first to last; one that continues its predecessor is merged into it, which
  // gives the fewest and longest runs.
  void add_axis(int64_t size, const int64_t (&strides)[N]);

  int64_t total() const {
    int64_t n = 1;
    for (int d = 0; d < rank; ++d) n *= axes[d].size;
    return n;
  }

  int rank = 0;  // 0: a scalar
  Axis axes[max_map_rank];
};

// ---- The loops ---------------------------------------------------------------------------------

// y = f(x)
template <class T>
void unary(Unary f, const T* x, T* y, int64_t n, UnaryArgs args = {});

// dx = dy f'(x). `saved` is the output y for exp, sqrt, rsqrt, tanh, sigmoid and relu, and the
// input x for the others.
template <class T>
void unary_gradient(Unary f, const T* dy, const T* kept, T* dx, int64_t n, UnaryArgs args = {});

// y = f(a, b)
template <class T>
void binary(Binary f, const Loop<2>& loop, const T* a, const T* b, T* y);

template <class T>
void compare(Compare f, const Loop<2>& loop, const T* a, const T* b, bool* y);

// da or db = f(dy, a, b)
template <class T>
void binary_gradient(BinaryGradient f, const Loop<3>& loop, const T* dy, const T* a, const T* b,
                     T* result);

// y = condition ? a : b.    T: float, double, int64_t, bool
template <class T>
void select(const Loop<3>& loop, const bool* condition, const T* a, const T* b, T* y);

// ---- One build per instruction set -------------------------------------------------------------

template <class T>
struct FloatMaps {
  void (*unary[unary_count])(const T* x, T* y, int64_t n, UnaryArgs args);
  void (*unary_gradient[unary_count])(const T* dy, const T* kept, T* dx, int64_t n, UnaryArgs args);
  void (*binary_gradient[binary_gradient_count])(const T* dy, const T* a, const T* b, T* result,
                                                 int64_t n);
};

template <class T, int count>
struct BinaryMaps {
  void (*binary[count])(const T* a, const T* b, T* y, int64_t n);
};

template <class T>
struct AnyMaps {
  void (*compare[compare_count])(const T* a, const T* b, bool* y, int64_t n);
  void (*select)(const bool* condition, const T* a, const T* b, T* y, int64_t n);
};

struct MapTable : FloatMaps<float>,
                  FloatMaps<double>,
                  BinaryMaps<float, binary_count>,
                  BinaryMaps<double, binary_count>,
                  BinaryMaps<int64_t, integer_binary_count>,
                  AnyMaps<float>,
                  AnyMaps<double>,
                  AnyMaps<int64_t>,
                  AnyMaps<bool> {};

namespace baseline {
extern const MapTable map_table;
}
namespace v3 {
extern const MapTable map_table;
}
namespace v4 {
extern const MapTable map_table;
}

}  // namespace fovea::kernels
