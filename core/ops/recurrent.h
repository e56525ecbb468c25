// Recurrent layers as single ops: one graph node for all steps and directions of a layer, for
// sequences of any length.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// With g = x W_ih^T + b_ih + h W_hh^T + b_hh, the gates concatenated, and s = sigmoid:
///   rnn_tanh, rnn_relu   h' = tanh(g),  h' = max(0, g)                         Elman 1990
///   gru    r = s(g_r),  z = s(g_z),  n = tanh(x W_in^T + b_in + r (h W_hn^T + b_hn)),
///          h' = (1 - z) n + z h                Cho et al. 2014, section 2.3; gate order r z n
///   lstm   i = s(g_i),  f = s(g_f),  u = tanh(g_u),  o = s(g_o),  c' = f c + i u,
///          h' = o tanh(c')    Hochreiter and Schmidhuber 1997, Gers et al. 2000; order i f u o
///   coupled_lstm   an lstm with i = 1 - f                Greff et al. 2017, variant CIFG; f u o
enum class RecurrentKind : std::uint8_t { rnn_tanh, rnn_relu, gru, lstm, coupled_lstm };

/// "rnn", "gru" or "lstm", as used in error messages.
const char* name_of(RecurrentKind kind);
/// Number of gates G: 1 for rnn, 3 for gru, 4 for lstm, 3 for coupled_lstm.
std::int64_t gates_of(RecurrentKind kind);
/// True if the state has a cell c besides h (both lstm kinds).
bool carries_cell(RecurrentKind kind);

/// One direction of a layer: N rows, B sequences, I inputs, H units, P state width. All tensors but
/// weight_hh may be undefined.
struct RecurrentDirection {
  Tensor weight_ih;  ///< (G H, I), or undefined if `gates` is given
  Tensor gates;      ///< (N, G H): the input's contribution, instead of x W_ih^T + b_ih
  Tensor weight_hh;  ///< (G H, P)
  Tensor bias_ih;    ///< (G H), together with weight_ih
  Tensor bias_hh;    ///< (G H)
  Tensor weight_hr;  ///< (P, H), lstm kinds: the state is W_hr h'; else P = H.      Sak et al. 2014
  Tensor norm_weight, norm_bias;  ///< (G H): layer norm of h W_hh^T + b_hh, of all gates
                                  ///< together, the gru's n apart.  Ba et al. 2016, supplement
  Tensor cell_norm_weight,
      cell_norm_bias;   ///< (H), lstm kinds: h' = o tanh(norm(c')), ibid.
  Tensor initial;       ///< h_0 (B, P)
  Tensor initial_cell;  ///< c_0 (B, H), lstm kinds
  // Constants, without a gradient.
  Tensor hidden_mask;          ///< (B, P): W_hh multiplies mask * h.       Gal and Ghahramani 2016
  Tensor zoneout_shares;       ///< (N, P): m, the state is m h + (1 - m) h'. Krueger et al. 2017
  Tensor cell_zoneout_shares;  ///< (N, H), lstm kinds: the same for c
  bool reverse = false;        ///< processes every sequence from its end
};

struct RecurrentSettings {
  RecurrentKind kind;
  double zoneout = 0;       ///< m if there are no zoneout_shares, in [0, 1]
  double cell_zoneout = 0;  ///< lstm kinds: the same for c
  bool recompute = false;   ///< save the states only, recompute the gates in the backward
};

struct RecurrentOutput {
  Tensor states;     ///< (N, D P): every state, packed like the input; the directions concatenated
  Tensor last;       ///< (D, B, P)
  Tensor last_cell;  ///< (D, B, H), lstm kinds
};

/// A recurrent layer over sequences packed by `index`, in one or two directions.
/// input: (N, I), or undefined if every direction has `gates`. Saves for backward the input, and
/// per direction and row the gates (H; gru and lstm 4H, coupled_lstm 3H), the state (P; lstm kinds
/// H more), with norm_weight G H more, with weight_hr H more (and given gates, for second
/// derivatives); with recompute the states only, at the cost of one more forward. Padding is not
/// computed. The result does not depend on the number of threads, and on the other sequences of the
/// batch only by rounding. A sequence of length 0 returns its initial state. ShapeError,
/// DTypeError, ValueError for sizes, dtypes or settings that do not match.
RecurrentOutput recurrent(const Tensor& input, const std::vector<RecurrentDirection>& directions,
                          const RaggedIndex& index, const RecurrentSettings& settings);

/// Reference implementation in plain ops, one sequence and one step at a time; also used for the
/// second derivative.
RecurrentOutput recurrent_reference(const Tensor& input,
                                    const std::vector<RecurrentDirection>& directions,
                                    const RaggedIndex& index, const RecurrentSettings& settings);

}  // namespace fovea
