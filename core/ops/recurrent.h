// Recurrent layers as single ops: one node for all steps and directions of a layer, however long
// the sequences.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// With g = x W_ih^T + b_ih + h W_hh^T + b_hh, gate after gate, and s = sigmoid:
///   rnn_tanh, rnn_relu   h' = tanh(g),  h' = max(0, g)                         Elman 1990
///   gru    r = s(g_r),  z = s(g_z),  n = tanh(x W_in^T + b_in + r (h W_hn^T + b_hn)),
///          h' = (1 - z) n + z h                Cho et al. 2014, section 2.3; gate order r z n
///   lstm   i = s(g_i),  f = s(g_f),  u = tanh(g_u),  o = s(g_o),  c' = f c + i u,
///          h' = o tanh(c')    Hochreiter and Schmidhuber 1997, Gers et al. 2000; order i f u o
///   coupled_lstm   an lstm with i = 1 - f                Greff et al. 2017, variant CIFG; f u o
enum class RecurrentKind : std::uint8_t { rnn_tanh, rnn_relu, gru, lstm, coupled_lstm };

/// "rnn", "gru" or "lstm", as errors name it.
const char* name_of(RecurrentKind kind);
/// G: 1, 3, 4, or 3 of a coupled_lstm.
std::int64_t gates_of(RecurrentKind kind);
/// Is there a c beside h? Of the lstms.
bool carries_cell(RecurrentKind kind);

/// One direction of a layer: N rows, B sequences, I inputs, H units, P numbers of a state. All but
/// weight_hh may be undefined.
struct RecurrentDirection {
  Tensor weight_ih;  ///< (G H, I), or undefined where `gates` is given
  Tensor gates;      ///< (N, G H): what the input contributes, instead of x W_ih^T + b_ih
  Tensor weight_hh;  ///< (G H, P)
  Tensor bias_ih;    ///< (G H), beside weight_ih
  Tensor bias_hh;    ///< (G H)
  Tensor weight_hr;  ///< (P, H), lstms: the state is W_hr h'; else P = H.      Sak et al. 2014
  Tensor norm_weight, norm_bias;  ///< (G H): layer norm of h W_hh^T + b_hh, of all gates
                                  ///< together, the gru's n apart.  Ba et al. 2016, supplement
  Tensor cell_norm_weight, cell_norm_bias;  ///< (H), lstms: h' = o tanh(layer norm of c'), ibid.
  Tensor initial;                           ///< h_0 (B, P)
  Tensor initial_cell;                      ///< c_0 (B, H), lstms
  // Constants, without a gradient.
  Tensor hidden_mask;          ///< (B, P): h meets W_hh as mask * h.        Gal and Ghahramani 2016
  Tensor zoneout_shares;       ///< (N, P): m, the state is m h + (1 - m) h'. Krueger et al. 2017
  Tensor cell_zoneout_shares;  ///< (N, H), lstms: the same of c
  bool reverse = false;        ///< runs every sequence from its end
};

struct RecurrentSettings {
  RecurrentKind kind;
  double zoneout = 0;       ///< m where there are no zoneout_shares, in [0, 1]
  double cell_zoneout = 0;  ///< lstms: the same of c
  bool recompute = false;   ///< keep the states alone, compute the gates again in the backward
};

struct RecurrentOutput {
  Tensor states;     ///< (N, D P): every state, packed as the input is; the directions side by side
  Tensor last;       ///< (D, B, P)
  Tensor last_cell;  ///< (D, B, H), lstms
};

/// A recurrent layer over sequences that `index` packs, in one or two directions.
/// input: (N, I), or undefined where every direction has `gates`. Keeps the input, and of each
/// direction and row the gates (H; gru and lstm 4H, coupled_lstm 3H), the state (P; lstms H more),
/// with norm_weight G H more, with weight_hr H more (and given gates, for second derivatives); with
/// recompute the states alone, at the price of one more forward. No padding is computed. The bits
/// do not depend on the number of threads, and on the other sequences of the batch by rounding at
/// most. A sequence of length 0 passes its initial state through. ShapeError, DTypeError,
/// ValueError where sizes, types or settings do not fit.
RecurrentOutput recurrent(const Tensor& input, const std::vector<RecurrentDirection>& directions,
                          const RaggedIndex& index, const RecurrentSettings& settings);

/// The definition in plain ops, one sequence and one step at a time: documentation, oracle, and the
/// path of the second derivative.
RecurrentOutput recurrent_reference(const Tensor& input,
                                    const std::vector<RecurrentDirection>& directions,
                                    const RaggedIndex& index, const RecurrentSettings& settings);

}  // namespace fovea
