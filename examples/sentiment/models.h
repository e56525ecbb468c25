// Names of models: "bilstm+dot" is a bidirectional LSTM whose hidden states are pooled by attention
// with dot-product scores.
//
//   bow | selfattention | transformer | [bi](rnn | gru | lstm)[+additive | +dot | +selfattention]
#pragma once

#include <string>

/// The encoder: from word embeddings to hidden states.
enum class Base { bow, rnn, gru, lstm, selfattention, transformer };

/// The part after a recurrent net: additive or dot-product attention pooling, or a self-attention
/// layer over the hidden states.
enum class Head { none, additive, dot, selfattention };

/// Pooling of a sentence's hidden states to one vector; see Pooling.
enum class PoolBy { last, mean, max, additive, dot };

struct ModelParts {
  Base base = Base::bow;
  bool bidirectional = false;
  Head head = Head::none;

  bool recurrent() const;
};

/// ValueError for an unknown model.
ModelParts parts_of(const std::string& model);

/// The default pooling of a model: last for a recurrent net alone; attention with "+" and for
/// selfattention; else mean.
std::string default_pooling(const ModelParts& parts);

/// pooling: last, mean, max or attention. ValueError if the model does not support it.
PoolBy pool_by(const std::string& model, const std::string& pooling);
