// Recurrent cells over a ragged batch, forward and backward through time: one walk for all cells.
//
// Rows of different sequences never meet, so a block of sequences runs through all its steps on one
// thread, with the recurrent weights packed once and held in its cache. Sequences are dealt to the
// blocks by their lengths, so that all blocks have about the same number of rows; within a block
// they are taken longest first: those that still run are always the first ones. The blocks cannot
// be seen in the result.
//
// B sequences, N rows in all, H units, P numbers of a state (H, or fewer where it is projected),
// G gates.
#pragma once

#include <cstdint>

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

// With g = gi + gh, what the input and the state contribute:
//   rnn      h' = tanh(g), or max(0, g)
//   gru      r = sigmoid(g_r),  z = sigmoid(g_z),  n = tanh(gi_n + r gh_n),  h' = (1 - z) n + z h
//   lstm     i, f, o = sigmoid(g_i), ...,  u = tanh(g_u),  c' = f c + i u,  h' = o tanh(c')
//   coupled_lstm   the same with i = 1 - f
enum class CellKind : std::uint8_t { rnn_tanh, rnn_relu, gru, lstm, coupled_lstm };

struct CellLayout {
  int64_t gates;  // G: rows of the weights, in units of H
  int64_t kept;   // K: what a row keeps for the backward, in units of H, the gates first:
                  //    h' | r z n gh_n | i f u o | f u o
  bool carries_cell;
  bool past_gates;  // does h' depend on h not only through gh?
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

// gh is normalised in groups (Ba et al. 2016, supplement): all gates together, but the gru's
// candidate apart from its r and z.
constexpr int64_t norm_groups(CellKind kind) { return kind == CellKind::gru ? 2 : 1; }

// A share of the old state that is kept instead of the new one: m h + (1 - m) h'. Krueger et al.
// 2017, Zoneout. One share for all, or one for each number.
template <class T>
struct Zoneout {
  const T* shares;  // or null
  T share;

  bool on() const { return shares != nullptr || share != 0; }
};

// One direction of one layer. What is optional is null.
template <class T>
struct RecurrentWalk {
  CellKind kind;
  RaggedRows rows;
  int64_t H, P;
  const T* weight;       // W_hh (G H, P)
  const T* bias;         // b_hh (G H), optional
  const T* projection;   // W_hr (P, H), optional: then P = H
  const T* norm_weight;  // (G H), optional: gh = norm_weight * normed(W_hh h + b_hh) + norm_bias
  const T* norm_bias;
  const T* cell_norm_weight;  // (H), optional, lstms: h' = o tanh(its layer norm of c')
  const T* cell_norm_bias;
  const T* mask;                     // (B, P), optional: h meets W_hh as mask * h
  Zoneout<T> zoneout, cell_zoneout;  // shares (N, P), (N, H)
  const T* h0;                       // (B, P), optional: zeros
  const T* c0;                       // (B, H), optional: zeros
  // Of all rows; read by the backward.
  const T* gi;  // what the input contributes, rows gi_stride apart; may be where the gates go
  int64_t gi_stride;
  T* y;  // (N, P), rows y_stride apart
  int64_t y_stride;
  T* gates;        // (N, K H)
  T* cells;        // (N, H), lstms
  T* normed;       // (N, G H), with norm_weight
  T* norm_scale;   // (N, norm_groups)
  T* unprojected;  // (N, H), with projection
  T* hn;           // (B, P)
  T* cn;           // (B, H), lstms
};

// All directions of a layer, side by side where there are threads for them.
template <class T>
void recurrent_forward(const RecurrentWalk<T>* walks, int64_t directions);

// Computes gates, normed, norm_scale and unprojected of all rows again from y and cells.
// Room for it: h_prev (N, P), which will hold previous_states(), and gh (N, G H).
template <class T>
void recurrent_rebuild(const RecurrentWalk<T>& walk, T* h_prev, T* gh);

template <class T>
struct RecurrentGrads {
  const T* dy;  // (N, P), rows dy_stride apart, or null
  int64_t dy_stride;
  const T* dhn;  // (B, P) or null
  const T* dcn;  // (B, H) or null
  // Results. dgates: by g in the places of the gates, and for the gru the last H by gh_n; it may be
  // the gates' own memory.
  T* dgates;      // (N, K H)
  T* dgh;         // (N, G H), with norm_weight: by W_hh h + b_hh
  T* dnorm;       // (N, G H), with norm_weight: its gradient, row by row
  T* dcell_norm;  // (N, 2H), with cell_norm_weight: weight's and bias's gradient, row by row
  T* dstates;     // (N, P), with projection: by its result
  T* dh0;         // (B, P)
  T* dc0;         // (B, H), lstms
};

template <class T>
void recurrent_backward(const RecurrentWalk<T>* walks, const RecurrentGrads<T>* grads,
                        int64_t directions);

// What each row's step multiplied W_hh with: mask * h of the row before.   h_prev: (N, P)
template <class T>
void previous_states(const RecurrentWalk<T>& walk, T* h_prev);

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
  T* dh;      // by h'; becomes the part of it that reaches h past the gates, if there is one
  T* dc;      // by c'; becomes the one by c
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
  // normed = (x - mean) / deviation, and x becomes weight * normed + bias; gives 1 / deviation.
  T (*normalise)(int64_t n, const T* weight, const T* bias, T* x, T* normed);
  // dy, by weight * normed(x) + bias, becomes the one by x; dweight = dy * normed
  void (*normalise_backward)(int64_t n, const T* weight, const T* normed, T scale, T* dy,
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
