// Recurrent layers as single ops: one node for all steps of a layer, however long the sequences.
#pragma once

#include <fovea/core/ragged.h>
#include <fovea/core/tensor.h>

namespace fovea {

/// What a recurrent layer gives: every state, packed as its input is, and each sequence's last one.
struct RecurrentOutput {
  Tensor states;  ///< (N, H)
  Tensor last;    ///< (B, H)
};

struct GruArgs {
  Tensor inputs;   ///< (N, 3H): x W_ih^T + b_ih of every row, gate order r z n
  Tensor weight;   ///< W_hh (3H, H)
  Tensor bias;     ///< b_hh (3H), or undefined
  Tensor initial;  ///< h_0 (B, H), or undefined for zeros
};

/// Gated recurrent unit (Cho et al. 2014, Learning Phrase Representations, section 2.3), with the
/// reset gate behind the matrix product, as in PyTorch and cuDNN:
///   gh = W h + b;  r = sigmoid(i_r + gh_r);  z = sigmoid(i_z + gh_z)
///   n = tanh(i_n + r * gh_n);  h' = (1 - z) * n + z * h
/// over sequences that `index` packs (N rows in all, none padded); `reverse` runs them from the
/// end. Keeps 4H numbers a row. A sequence of length 0 passes its initial state through.
/// ShapeError, DTypeError where the sizes or types do not fit.
RecurrentOutput gru(const GruArgs& args, const RaggedIndex& index, bool reverse = false);

/// The definition in plain ops, one sequence and one step at a time: documentation, oracle, and the
/// path of the second derivative.
RecurrentOutput gru_reference(const GruArgs& args, const RaggedIndex& index, bool reverse = false);

struct LstmArgs {
  Tensor inputs;        ///< (N, 4H): x W_ih^T + b_ih of every row, gate order i f g o
  Tensor weight;        ///< W_hh (4H, H)
  Tensor bias;          ///< b_hh (4H), or undefined
  Tensor initial;       ///< h_0 (B, H), or undefined for zeros
  Tensor initial_cell;  ///< c_0 (B, H), or undefined for zeros
};

struct LstmOutput {
  Tensor states;     ///< (N, H)
  Tensor last;       ///< (B, H)
  Tensor last_cell;  ///< (B, H)
};

/// Long short-term memory (Hochreiter and Schmidhuber 1997; with the forget gate of Gers et al.
/// 2000, section 3), gates as in PyTorch:
///   (i, f, g, o) = inputs + W h + b;   c' = sigmoid(f) c + sigmoid(i) tanh(g)
///   h' = sigmoid(o) tanh(c')
/// over sequences that `index` packs; `reverse` runs them from the end. Keeps 5H numbers a row. A
/// sequence of length 0 passes its initial state through. ShapeError, DTypeError.
LstmOutput lstm(const LstmArgs& args, const RaggedIndex& index, bool reverse = false);

/// The definition in plain ops, one sequence and one step at a time.
LstmOutput lstm_reference(const LstmArgs& args, const RaggedIndex& index, bool reverse = false);

}  // namespace fovea
