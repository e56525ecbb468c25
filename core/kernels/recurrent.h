// The gated recurrent unit and the LSTM over a ragged batch, forward and backward through time.
//
// Rows of different sequences never meet, so a block of sequences runs through all its steps on one
// thread, with the recurrent weights packed once and held in its cache. Within a block the
// sequences are taken longest first: those that still run are always the first ones.
#pragma once

#include <cstdint>
#include <vector>

namespace fovea::kernels {

// Sequence b owns rows offsets[b] .. offsets[b + 1] of every packed array, in time order. With
// `reverse` it is run from its last row to its first.
struct RaggedRows {
  const int64_t* offsets;  // (B + 1)
  int64_t B;
  bool reverse;

  int64_t length(int64_t b) const { return offsets[b + 1] - offsets[b]; }
  int64_t row(int64_t b, int64_t step) const {
    return reverse ? offsets[b + 1] - 1 - step : offsets[b] + step;
  }
};

//   r = sigmoid(gi_r + gh_r),  z = sigmoid(gi_z + gh_z),  n = tanh(gi_n + r * gh_n)
//   h' = (1 - z) n + z h,      gh = h W^T + b
// gi: (N, 3H)  W: (3H, H)  b: (3H) or null  h0: (B, H) or null (zeros)
// y: (N, H)  hn: (B, H)  gates: (N, 4H), r z n gh_n of every row, for the backward
template <class T>
void gru_forward(const RaggedRows& rows, int64_t H, const T* gi, const T* W, const T* b,
                 const T* h0, T* y, T* hn, T* gates);

// dgi: (N, 3H)  dgh_n: (N, H): the part of the gradient by gh that differs from dgi  dh0: (B, H)
// dy: (N, H) or null  dhn: (B, H) or null
template <class T>
void gru_backward(const RaggedRows& rows, int64_t H, const T* W, const T* h0, const T* y,
                  const T* gates, const T* dy, const T* dhn, T* dgi, T* dgh_n, T* dh0);

//   i, f, o = sigmoid(g_i), sigmoid(g_f), sigmoid(g_o),  u = tanh(g_u)      g = gi + h W^T + b
//   c' = f c + i u,  h' = o tanh(c')
// gi: (N, 4H), order i f u o  W: (4H, H)  b: (4H) or null  h0, c0: (B, H) or null (zeros)
// y: (N, H)  hn, cn: (B, H)  gates: (N, 4H), i f u o of every row  cells: (N, H), c' of every row
template <class T>
void lstm_forward(const RaggedRows& rows, int64_t H, const T* gi, const T* W, const T* b,
                  const T* h0, const T* c0, T* y, T* hn, T* cn, T* gates, T* cells);

// dg: (N, 4H)  dh0, dc0: (B, H)   dy: (N, H) or null  dhn, dcn: (B, H) or null
template <class T>
void lstm_backward(const RaggedRows& rows, int64_t H, const T* W, const T* c0, const T* gates,
                   const T* cells, const T* dy, const T* dhn, const T* dcn, T* dg, T* dh0, T* dc0);

// The state that each row started from: h_prev: (N, H)
template <class T>
void previous_states(const RaggedRows& rows, int64_t H, const T* h0, const T* y, T* h_prev);

// ---- One build per instruction set -------------------------------------------------------------

template <class T>
struct GruCell {
  // One row: h is read and overwritten; y gets a copy.
  void (*forward)(int64_t H, const T* gi, const T* gh, T* h, T* y, T* gates);
  // One row: dh is the gradient by h', replaced by its part that reaches h past the gates.
  // dgi, dgh: (3H)  dgh_n: (H)
  void (*backward)(int64_t H, T* dh, const T* h_prev, const T* gates, T* dgi, T* dgh, T* dgh_n);
};

template <class T>
struct LstmCell {
  // One row: h and c are read and overwritten; y and cells get copies.
  void (*forward)(int64_t H, const T* gi, const T* gh, T* h, T* c, T* y, T* gates, T* cells);
  // One row: dh and dc are the gradients by h' and c'; dc becomes the one by c.
  void (*backward)(int64_t H, const T* dh, T* dc, const T* c_prev, const T* gates, const T* cells,
                   T* dg);
};

template <class T>
struct RecurrentCells {
  GruCell<T> gru;
  LstmCell<T> lstm;
};

struct RecurrentTable {
  RecurrentCells<float> f32;
  RecurrentCells<double> f64;
};

namespace baseline {
extern const RecurrentTable recurrent_table;
}
namespace v3 {
extern const RecurrentTable recurrent_table;
}
namespace v4 {
extern const RecurrentTable recurrent_table;
}

}  // namespace fovea::kernels
