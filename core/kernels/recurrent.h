// Recurrent cells over a ragged batch, forward and backward through time, with one loop for all
// cells.
//
// Sequences are independent, so one thread runs a block of sequences through all steps, with the
// recurrent weights packed once and in its cache. Sequences are assigned to blocks by length, so
// that all blocks have about the same number of rows; within a block the longest come first: those
// still running are always the first ones. Results do not depend on the blocks.
//
// B sequences, N rows in total, H units, P state width (H, or less if projected), G gates.
#pragma once

#include <cstdint>

namespace fovea::kernels {

// Sequence b owns rows offsets[b] .. offsets[b + 1] of every packed array, in time order. With
// `reverse` it runs from its last row to its first.
struct RaggedRows {
  const int64_t* offsets;  // (B + 1)
  int64_t B;
  bool reverse;

  int64_t length(int64_t b) const { return offsets[b + 1] - offsets[b]; }
  int64_t row(int64_t b, int64_t step) const {
    return reverse ? offsets[b + 1] - 1 - step : offsets[b] + step;
  }
};

// With g = gi + gh, the contributions of the input and the state:
//   rnn      h' = tanh(g), or max(0, g)
//   gru      r = sigmoid(g_r),  z = sigmoid(g_z),  n = tanh(gi_n + r gh_n),  h' = (1 - z) n + z h
//   lstm     i, f, o = sigmoid(g_i), ...,  u = tanh(g_u),  c' = f c + i u,  h' = o tanh(c')
//   coupled_lstm   the same with i = 1 - f
enum class CellKind : std::uint8_t { rnn_tanh, rnn_relu, gru, lstm, coupled_lstm };

struct CellLayout {
  int64_t gates;  // G: rows of the weights, in units of H
  // K: size of the values saved for backward per row, in units of H, the gates first:
  //   h' | r z n gh_n | i f u o | f u o
  int64_t kept;
  bool carries_cell;
  bool past_gates;  // true if h' depends on h not only through gh
};

constexpr CellLayout layout_of(CellKind kind) {
  switch (kind) {
    case CellKind::gru:
      return {3, 4, false, true};
    case CellKind::lstm:
      return {4, 4, true, false};
    case CellKind::coupled_lstm:
      return {3, 3, true, false};
    default:
      return {1, 1, false, false};
  }
}

// gh is normalized in groups (Ba et al. 2016, supplement): all gates together, except the gru's
// candidate, which is separate from r and z.
constexpr int64_t norm_groups(CellKind kind) { return kind == CellKind::gru ? 2 : 1; }

// Zoneout: a share m of the old state replaces the new one, m h + (1 - m) h'. Krueger et al. 2017.
// One share for all elements, or one each.
template <class T>
struct Zoneout {
  const T* shares;  // or null
  T share;

  bool on() const { return shares != nullptr || share != 0; }
};

// One direction of one layer. Optional members are null if absent.
template <class T>
struct RecurrentProblem {
  CellKind kind;
  RaggedRows rows;
  int64_t H, P;
  const T* weight;       // W_hh (G H, P)
  const T* bias;         // b_hh (G H), optional
  const T* projection;   // W_hr (P, H), optional: then P = H
  const T* norm_weight;  // (G H), optional: gh = norm_weight * normed(W_hh h + b_hh) + norm_bias
  const T* norm_bias;
  const T* cell_norm_weight;  // (H), optional, lstm kinds: h' = o tanh(its layer norm of c')
  const T* cell_norm_bias;
  const T* mask;                     // (B, P), optional: W_hh multiplies mask * h
  Zoneout<T> zoneout, cell_zoneout;  // shares (N, P), (N, H)
  const T* h0;                       // (B, P), optional: zeros
  const T* c0;                       // (B, H), optional: zeros
  // For all rows; read by the backward.
  const T* gi;  // the input's contribution, rows gi_stride apart; may share memory with the gates
  int64_t gi_stride;
  T* y;  // (N, P), rows y_stride apart
  int64_t y_stride;
  T* gates;        // (N, K H)
  T* cells;        // (N, H), lstm kinds
  T* normed;       // (N, G H), with norm_weight
  T* norm_scale;   // (N, norm_groups)
  T* unprojected;  // (N, H), with projection
  T* hn;           // (B, P)
  T* cn;           // (B, H), lstm kinds
};

// All directions of a layer, concurrently if there are enough threads.
template <class T>
void recurrent_forward(const RecurrentProblem<T>* walks, int64_t directions);

// Recomputes gates, normed, norm_scale and unprojected of all rows from y and cells. Scratch:
// h_prev (N, P), which receives previous_states(), and gh (N, G H).
template <class T>
void recurrent_rebuild(const RecurrentProblem<T>& walk, T* h_prev, T* gh);

template <class T>
struct RecurrentGrads {
  const T* dy;  // (N, P), rows dy_stride apart, or null
  int64_t dy_stride;
  const T* dhn;  // (B, P) or null
  const T* dcn;  // (B, H) or null
  // Results. dgates: derivatives by g in the layout of the gates, and for the gru the last H by
  // gh_n; may share memory with the gates.
  T* dgates;      // (N, K H)
  T* dgh;         // (N, G H), with norm_weight: by W_hh h + b_hh
  T* dnorm;       // (N, G H), with norm_weight: its gradient, row by row
  T* dcell_norm;  // (N, 2H), with cell_norm_weight: weight's and bias's gradient, row by row
  T* dstates;     // (N, P), with projection: by its result
  T* dh0;         // (B, P)
  T* dc0;         // (B, H), lstm kinds
};

template <class T>
void recurrent_backward(const RecurrentProblem<T>* walks, const RecurrentGrads<T>* grads,
                        int64_t directions);

// The operand of W_hh at each row's step: mask * h of the previous row.   h_prev: (N, P)
template <class T>
void previous_states(const RecurrentProblem<T>& walk, T* h_prev);

// ---- One row, one build per instruction set ----------------------------------------------------

template <class T>
struct CellRow {
  const T* gi;  // (G H)
  const T* gh;  // (G H)
  const T* h;   // (H)
  const T* c;   // (H)
  const T* norm_weight;
  const T* norm_bias;
  T* h_next;  // (H)
  T* c_next;  // (H)
  T* gates;   // (K H); may be gi
};

template <class T>
struct CellRowGrads {
  const T* h;
  const T* c;
  const T* gates;
  const T* norm_weight;
  const T* norm_bias;
  T* dh;      // by h'; on return the direct part by h, not through the gates
  T* dc;      // by c'; on return by c
  T* dgates;  // (K H); may be gates
  T* dgh;     // (G H)
  T* dnorm;   // (2H)
};

template <class T>
struct CellLoops {
  void (*forward)(int64_t H, const CellRow<T>& row);
  void (*backward)(int64_t H, const CellRowGrads<T>& row);
};

template <class T>
struct RecurrentLoops {
  CellLoops<T> cells[5];         // by CellKind
  CellLoops<T> normed_cells[2];  // lstm and coupled_lstm with a layer norm of c
  // normed = (x - mean) / deviation, x = weight * normed + bias; returns 1 / deviation.
  T (*normalize)(int64_t n, const T* weight, const T* bias, T* x, T* normed);
  // dy, by weight * normed(x) + bias, is replaced by the derivative by x; dweight = dy * normed
  void (*normalize_backward)(int64_t n, const T* weight, const T* normed, T scale, T* dy,
                             T* dweight);
  // next = m h + (1 - m) next        shares: (n) or null for `share`
  void (*mix)(int64_t n, const T* shares, T share, const T* h, T* next);
  // passed = m dh,  dh = (1 - m) dh
  void (*unmix)(int64_t n, const T* shares, T share, T* dh, T* passed);
};

struct RecurrentTable {
  RecurrentLoops<float> f32;
  RecurrentLoops<double> f64;
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
