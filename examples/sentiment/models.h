// A model's name, and what it is made of: "bilstm+dot" is an LSTM in both directions whose states
// are pooled by attention with dot-product scores.
//
//   bow | selfattention | transformer | [bi](rnn | gru | lstm)[+additive | +dot | +selfattention]
#pragma once

#include <string>

/// What turns the embeddings of words into states.
enum class Base { bow, rnn, gru, lstm, selfattention, transformer };

/// What stands behind a recurrent net: pooling by attention, additive or by dot products, or a
/// layer of self-attention over the states.
enum class Behind { nothing, additive, dot, selfattention };

/// How a sentence's states become one vector; see Pooling.
enum class PoolBy { last, mean, max, additive, dot };

struct ModelParts {
  Base base = Base::bow;
  bool bidirectional = false;
  Behind behind = Behind::nothing;

  bool recurrent() const;
};

/// ValueError where there is no such model.
ModelParts parts_of(const std::string& model);

/// The pooling of a model that was asked for none: last for a recurrent net alone; attention behind
/// "+" and for selfattention; else mean.
std::string usual_pooling(const ModelParts& parts);

/// pooling: last, mean, max or attention. ValueError where the model cannot have it.
PoolBy pool_by(const std::string& model, const std::string& pooling);
