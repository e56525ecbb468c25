// The linear recurrence h_t = a_t h_{t-1} + b_t over a ragged batch, forward and backward.
//
// Sequences and blocks of channels are independent. A long sequence is also split along time into
// chunks of kScanChunk steps, in three phases (Blelloch 1990, Prefix Sums and Their Applications,
// section 1.2): each chunk's result from a zero state and the product of its a; the states between
// the chunks, sequentially; then each chunk from its true state. The chunks depend on the
// sequence's own length only: its result is bitwise the same in any batch, for any number of
// threads.
#pragma once

#include <fovea/core/kernels/recurrent.h>

#include <cstdint>

namespace fovea::kernels {

// Long enough that computing all chunks but one twice is seldom needed, short enough that a single
// sequence of some thousand steps occupies several threads.
inline constexpr int64_t kScanChunk = 1024;

// A row holds H real elements, or H complex ones: H real parts, then H imaginary parts.
enum class ScanNumbers { real, complex };

struct ScanSizes {
  int64_t H;
  ScanNumbers numbers;
  bool a_per_row;  // a: (N, W); else (W), the same at every step

  int64_t width() const { return numbers == ScanNumbers::complex ? 2 * H : H; }  // W
};

// a: (N, W) or (W)  b: (N, W)  h0: (B, W) or null (zeros)   ->   h: (N, W)  last: (B, W)
template <class T>
void scan_forward(const RaggedRows& rows, const ScanSizes& n, const T* a, const T* b, const T* h0,
                  T* h, T* last);

//   dh_t = dy_t + conj(a_{t+1}) dh_{t+1};   db_t = dh_t,  da_t = dh_t conj(h_{t-1}),
//   dh0 = conj(a_0) dh_0
// dy: (N, W) or null  dlast: (B, W) or null   ->   db: (N, W)  da: (N, W), or null if not required;
// for an a that is the same at every step, one contribution per row  dh0: (B, W)
template <class T>
void scan_backward(const RaggedRows& rows, const ScanSizes& n, const T* a, const T* h0, const T* h,
                   const T* dy, const T* dlast, T* db, T* da, T* dh0);

// ---- One build per instruction set -------------------------------------------------------------

// Some steps and channels of one sequence. Pointers are to the first step and channel.
struct ScanStretch {
  int64_t steps, channels;
  int64_t row;        // stride between steps: W, or -W in reverse
  int64_t a_row;      // the same for a; 0 if all steps share it
  int64_t imaginary;  // from a real part to its imaginary one: H
};

template <class T>
struct ScanLoops {
  // h_t = a_t h_{t-1} + b_t, h_{-1} = before: (channels)
  void (*forward)(const ScanStretch& s, const T* a, const T* b, const T* before, T* h);
  // product = a_{n-1} ... a_0 and end = h_{n-1} for h_{-1} = 0.   Initialized to 1 and 0 by the
  // caller.
  void (*forward_ends)(const ScanStretch& s, const T* a, const T* b, T* product, T* end);
  // From the last step to the first, with u the gradient from later steps:
  // dh_t = dy_t + u,  da_t = dh_t conj(h_{t-1}),  u = conj(a_t) dh_t.   dy_row: row, or 0
  void (*backward)(const ScanStretch& s, int64_t dy_row, const T* a, const T* before, const T* h,
                   const T* dy, T* u, T* dh, T* da);
  // product = conj(a_0 ... a_{n-1}) and end = u, starting from u = 0.   Initialized to 1 and 0 by
  // the caller.
  void (*backward_ends)(const ScanStretch& s, int64_t dy_row, const T* a, const T* dy, T* product,
                        T* end);
  // to += product * from     over whole rows of H elements
  void (*join)(int64_t H, const T* product, const T* from, T* to);
};

template <class T>
struct ScanKinds {
  ScanLoops<T> real, complex;
};

struct ScanTable {
  ScanKinds<float> f32;
  ScanKinds<double> f64;
};

namespace baseline {
extern const ScanTable scan_table;
}
namespace v3 {
extern const ScanTable scan_table;
}
namespace v4 {
extern const ScanTable scan_table;
}

}  // namespace fovea::kernels
