// The linear recurrence h_t = a_t h_{t-1} + b_t over a ragged batch, forward and backward.
//
// Sequences and blocks of channels are independent. A long sequence is also cut along time, into
// pieces of kScanPiece steps, and taken in three phases (Blelloch 1990, Prefix Sums and Their
// Applications, section 1.2): what each piece makes of a zero state, and the product of its a; the
// states between the pieces, one after another; then each piece from its true state. The cuts
// depend on the sequence's own length alone: its bits are the same in any batch, on any number of
// threads.
#pragma once

#include <fovea/core/kernels/recurrent.h>

#include <cstdint>

namespace fovea::kernels {

// Few enough pieces that computing all but one of them twice is seldom needed, enough of them that
// a single sequence of some thousand steps keeps several threads busy.
inline constexpr int64_t kScanPiece = 1024;

// A row holds H real numbers, or H complex ones: their H real parts, then their H imaginary ones.
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
// dy: (N, W) or null  dlast: (B, W) or null   ->   db: (N, W)  da: (N, W), or null where it is not
// wanted; of an a that is the same at every step, each row's part  dh0: (B, W)
template <class T>
void scan_backward(const RaggedRows& rows, const ScanSizes& n, const T* a, const T* h0, const T* h,
                   const T* dy, const T* dlast, T* db, T* da, T* dh0);

// ---- One build per instruction set -------------------------------------------------------------

// Some steps of one sequence, and some of its channels. Pointers stand at the first of both.
struct ScanStretch {
  int64_t steps, channels;
  int64_t row;        // from one step to the next: W, or -W where time runs backwards
  int64_t a_row;      // the same for a; 0 where all steps share it
  int64_t imaginary;  // from a real part to its imaginary one: H
};

template <class T>
struct ScanLoops {
  // h_t = a_t h_{t-1} + b_t, h_{-1} = before: (channels)
  void (*forward)(const ScanStretch& s, const T* a, const T* b, const T* before, T* h);
  // product = a_{n-1} ... a_0 and end = h_{n-1} where h_{-1} = 0.   They come in as 1 and 0.
  void (*forward_ends)(const ScanStretch& s, const T* a, const T* b, T* product, T* end);
  // From the last step to the first, with u the gradient that comes from later steps:
  // dh_t = dy_t + u,  da_t = dh_t conj(h_{t-1}),  u = conj(a_t) dh_t.   dy_row: row, or 0
  void (*backward)(const ScanStretch& s, int64_t dy_row, const T* a, const T* before, const T* h,
                   const T* dy, T* u, T* dh, T* da);
  // product = conj(a_0 ... a_{n-1}) and end = u where it is 0 at first.   They come in as 1 and 0.
  void (*backward_ends)(const ScanStretch& s, int64_t dy_row, const T* a, const T* dy, T* product,
                        T* end);
  // to += product * from     over whole rows of H numbers
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
