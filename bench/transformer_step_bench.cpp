// A training step of the Transformer (encoder-decoder, dropout, label smoothing, AdamW): the same
// work as peers/transformer_step_peer.cpp, from the same start. Compare the two with bench/compare.
//
// nn::Transformer packs what it can: the encoder, the read-out and the loss see real tokens only.
// The decoder's layers run whole batches, padding too. transformer_step/ragged_rows tells what rows
// without padding would bring there: the same model, its decoder put together here on packed rows
// (but for the two projections of its cross-attention that are inside attend()).
#include <fovea/bench/support/checks.h>
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/support/start.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/transformer.h>
#include <fovea/optim/adam.h>

#include <cmath>
#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::transformer_step;

enum class Decoder { as_it_is, on_rows };

nn::TransformerOptions model_options() {
  return {.source_vocab = V,
          .target_vocab = V,
          .d_model = C,
          .nhead = H,
          .dim_feedforward = F,
          .num_encoder_layers = layers,
          .num_decoder_layers = layers,
          .dropout = workloads::transformer_step::dropout,
          .layer_norm_eps = eps,
          .final_norm = true};
}

// nn::Transformer::decode() without padding but inside cross-attention.   ->  (N, V)
Tensor decode_rows(const nn::Transformer& model, const nn::TransformerMemory& memory,
                   const Ragged& inputs) {
  const RaggedIndex& index = inputs.index;
  const Tensor embedded = model.target_embedding(unsqueeze(inputs.values, 0)) * std::sqrt(1.0 * C);
  Tensor x =
      squeeze(model.drop(model.target_positions(embedded, unsqueeze(nn::places_in(index), 0))), 0);
  for (std::size_t i = 0; i < model.decoder.layers.size(); ++i) {
    const nn::TransformerDecoderLayer& layer = model.decoder.layers[i];
    x = layer.forward_with(
        x,
        [&](const Tensor& n) {
          return layer.self_attn(Ragged{n, index}).values;
        },
        [&](const Tensor& n) {
          const Tensor queries = pad(Ragged{n, index});  // (B, T, C)
          return pack(layer.multihead_attn.attend(queries, memory.layers[i], memory.mask), index)
              .values;
        });  // (N, C)
  }
  return model.output((*model.decoder.norm)(x));  // (N, V)
}

Tensor word_matrix(const std::string& name, std::int64_t columns) {
  return from_data(workloads::words(name, static_cast<std::size_t>(B * columns), V), {B, columns});
}

class Trainer {
 public:
  Trainer(bool ragged, Decoder decoder)
      : decoder_(decoder),
        model_(model_options(), rng_),
        adam_((bench::start(model_, bound), model_.parameters()),
              {.lr = learning_rate, .weight_decay = weight_decay}),
        source_lengths_(source_lengths(ragged)),
        target_lengths_(target_lengths(ragged)),
        source_(word_matrix("source_words", T)) {
    const Tensor sentence = word_matrix("target_words", T + 1);
    previous_ = slice(sentence, 1, 0, T).contiguous();
    previous_rows_ = pack(previous_, RaggedIndex(target_lengths_));
    next_ = pack(slice(sentence, 1, 1, T + 1).contiguous(), previous_rows_->index).values;
    model_.eval();  // until train()
  }

  void train() { model_.train(); }

  double step() {
    adam_.zero_grad();
    const nn::TransformerMemory memory = model_.encode(source_, source_lengths_);
    const Tensor logits = decoder_ == Decoder::on_rows
                              ? decode_rows(model_, memory, *previous_rows_)
                              : model_.decode(memory, previous_, target_lengths_);
    const Tensor loss = cross_entropy(logits, next_, {.label_smoothing = smoothing});
    loss.backward();
    adam_.step();
    return loss.item<double>();
  }

  double gradient_norm() { return bench::gradient_norm(model_.parameters()); }

 private:
  Rng rng_{1};
  Decoder decoder_;
  nn::Transformer model_;
  optim::AdamW adam_;
  std::vector<std::int64_t> source_lengths_, target_lengths_;
  Tensor source_, previous_, next_;
  std::optional<Ragged> previous_rows_;
};

void run(benchmark::State& state, bool ragged, Decoder decoder) {
  Trainer trainer(ragged, decoder);
  for (int i = 1; i <= checked_steps; ++i) {
    state.counters["loss_" + std::to_string(i)] = trainer.step();
    if (i == 1) state.counters["result_gradient"] = trainer.gradient_norm();
  }
  trainer.train();
  bench::time(state, gflop(ragged), [&] { benchmark::DoNotOptimize(trainer.step()); });
}

const bool registered = [] {
  const auto add = [](const std::string& name, bool ragged, Decoder decoder) {
    bench::add(name, [=](benchmark::State& state) { run(state, ragged, decoder); });
  };
  add(name_of(false), false, Decoder::as_it_is);
  add(name_of(true), true, Decoder::as_it_is);
  add(name_of(true) + "_rows", true, Decoder::on_rows);
  return bench::register_sgemm();
}();

}  // namespace
