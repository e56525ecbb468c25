// Every module is made and trained in a dry run without touching its values, at widths whose
// weights alone would take gigabytes.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/nn/attention/make.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/nn/embedding.h>
#include <fovea/nn/init.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/lru.h>
#include <fovea/nn/min_rnn.h>
#include <fovea/nn/norm.h>
#include <fovea/nn/positional.h>
#include <fovea/nn/recurrent.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/nn/transformer.h>
#include <fovea/nn/transformer_lm.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/average.h>
#include <fovea/optim/clip.h>
#include <fovea/tests/support/dry.h>

#include <functional>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;

namespace {

constexpr std::int64_t C = 65536, B = 2, T = 8;  // a matrix (C, C) is 16 GiB
constexpr std::int64_t allowed = 2000;           // pages, 8 MB, of nodes, of integers and of code

Tensor sequences(std::int64_t width = C) { return ones({B, T, width}); }
Ragged packed(std::int64_t width = C) { return {ones({B * T, width}), RaggedIndex::equal(B, T)}; }

// Constructs a module, and runs a step with clipping, Adam and an average of the weights.
struct Case {
  std::string name;
  std::function<void(Rng& rng)> run;
};

template <class M>
void train(M& module, const Tensor& y) {
  mean(y).backward();
  const NamedTensors parameters = module.parameters();
  if (parameters.empty()) return;
  optim::Adam adam(parameters);
  optim::WeightAverage average(parameters, 0.99);
  optim::clip_grad_norm(parameters, 1e-7);
  adam.step();
  average.update(1);
  average.swap();
}

void check_dry(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    CAPTURE(c.name);
    Rng rng(1);
    CHECK(test::pages_of_dry_run([&] { c.run(rng); }) < allowed);
  }
}

template <class Net>
Case recurrent_case(const char* name, const RecurrentOptions& options) {
  return {name, [options](Rng& rng) {
            Net net(options, rng);
            train(net, net(packed()).states.values);
          }};
}

}  // namespace

TEST_CASE("initialization") {
  const auto with = [](const char* name, void (*f)(Tensor&, Rng&)) {
    return Case{name, [f](Rng& rng) {
                  Tensor w = empty({C, C});
                  f(w, rng);
                }};
  };
  check_dry({with("uniform", [](Tensor& w, Rng& rng) { init::uniform(w, -1, 1, rng); }),
             with("normal", [](Tensor& w, Rng& rng) { init::normal(w, 0, 1, rng); }),
             with("xavier", [](Tensor& w, Rng& rng) { init::xavier_uniform(w, rng); }),
             with("kaiming", [](Tensor& w, Rng& rng) { init::kaiming_normal(w, rng); }),
             with("orthogonal", [](Tensor& w, Rng& rng) { init::orthogonal(w, rng); })});
}

TEST_CASE("layers") {
  const Tensor ids = zeros({B, T}, DType::i64);
  check_dry({
      {"Linear",
       [](Rng& rng) {
         Linear layer({.in_features = C, .out_features = C}, rng);
         train(layer, layer(sequences()));
       }},
      {"Embedding",
       [&](Rng& rng) {
         Embedding layer({.num_embeddings = C, .embedding_dim = C, .padding_idx = 3}, rng);
         train(layer, layer(ids));
       }},
      {"LayerNorm",
       [](Rng&) {
         LayerNorm layer(C);
         train(layer, layer(ones({1000, C})));
       }},
      {"RMSNorm",
       [](Rng&) {
         RMSNorm layer(C);
         train(layer, layer(ones({1000, C})));
       }},
      {"learned positions",
       [](Rng& rng) {
         PositionalEncoding layer({.dim = C, .kind = Positions::learned}, rng);
         train(layer, layer(sequences()));
       }},
      {"sinusoidal positions",
       [](Rng& rng) {
         PositionalEncoding layer({.dim = C}, rng);
         layer(ones({1, 4096, C}));
       }},
  });
}

TEST_CASE("recurrent nets") {
  const RecurrentOptions plain{.input_size = C, .hidden_size = C};
  RecurrentOptions rich{.input_size = C, .hidden_size = C, .num_layers = 2, .bidirectional = true};
  rich.dropout = 0.1, rich.layer_norm = true, rich.variational_dropout = 0.1;
  rich.zoneout = 0.1, rich.orthogonal = true, rich.recompute = true;
  RecurrentOptions projected = plain;
  projected.proj_size = C / 2, projected.forget_bias = 1;
  check_dry({
      recurrent_case<RNN>("RNN", plain),
      recurrent_case<GRU>("GRU", plain),
      recurrent_case<LSTM>("LSTM", plain),
      recurrent_case<GRU>("GRU with all options", rich),
      recurrent_case<LSTM>("LSTM with all options", rich),
      recurrent_case<LSTM>("LSTM with a projection", projected),
      {"GRUCell",
       [](Rng& rng) {
         GRUCell cell({.input_size = C, .hidden_size = C}, rng);
         train(cell, cell(ones({B, C}), ones({B, C})));
       }},
      {"MinGRU",
       [](Rng& rng) {
         MinGRU net({.input_size = C, .hidden_size = C}, rng);
         train(net, net(packed()).states.values);
       }},
      {"MinLSTM",
       [](Rng& rng) {
         MinLSTM net({.input_size = C, .hidden_size = C, .bidirectional = true}, rng);
         train(net, net(packed()).states.values);
       }},
      {"LRUBlock",
       [](Rng& rng) {
         LRUBlock block({.lru = {.width = C, .state_size = C}}, rng);
         train(block, block(packed()).outputs.values);
       }},
  });
}

TEST_CASE("attention mechanisms") {
  std::vector<std::string> names = single_head_attention_names();
  names.emplace_back("multihead");
  std::vector<Case> cases;
  for (const std::string& name : names)
    cases.push_back({name, [name](Rng& rng) {
                       const AttentionFactoryOptions sizes{
                           .query_dim = C, .key_dim = C, .attention_dim = C};
                       const auto attention = make_attention(name, sizes, rng);
                       const Tensor x = sequences().set_requires_grad();
                       train(*attention, (*attention)(x, x, x, Mask::none()));
                     }});
  cases.push_back({"MultiheadAttention", [](Rng& rng) {
                     MultiheadAttention attention({.embed_dim = C,
                                                   .num_heads = 16,
                                                   .dropout = 0.1,
                                                   .causal = true,
                                                   .rope = RopeOptions{},
                                                   .sinks = true,
                                                   .qk_norm = true},
                                                  rng);
                     train(attention, attention(packed()).values);
                   }});
  check_dry(cases);
}

TEST_CASE("whole models") {
  const Tensor ids = zeros({B, T}, DType::i64);
  check_dry({
      {"Seq2Seq",
       [&](Rng& rng) {
         Seq2Seq model({.source_vocab = C,
                        .target_vocab = C,
                        .embed_dim = C,
                        .hidden_size = C,
                        .input_feeding = true,
                        .dropout = 0.1},
                       rng);
         train(model, model.decode(model.encode(ids, {T, T}), ids, {T, T}));
       }},
      {"Transformer",
       [&](Rng& rng) {
         Transformer model(
             {.source_vocab = C, .target_vocab = C, .d_model = C, .dim_feedforward = 4 * C}, rng);
         train(model, model.decode(model.encode(ids, {T, T}), ids, {T, T}));
       }},
      {"TransformerLM",
       [&](Rng& rng) {
         TransformerLM model({.vocab = C, .d_model = C, .nhead = 64, .num_layers = 4}, rng);
         train(model, model(ids));
       }},
  });
}
