// A training step of the Transformer (encoder-decoder, dropout, label smoothing, AdamW): the same
// work as peers/transformer_step_peer.cpp, with the same initial weights. Compare with
// bench/compare. Encoder and decoder of nn::Transformer do not compute padding.
#include <fovea/bench/support/checks.h>
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/support/start.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/transformer.h>
#include <fovea/optim/adam.h>

#include <string>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::transformer_step;

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

Tensor word_matrix(const std::string& name, std::int64_t columns) {
  return from_data(workloads::words(name, static_cast<std::size_t>(B * columns), V), {B, columns});
}

class Trainer {
 public:
  explicit Trainer(bool ragged)
      : model_(model_options(), rng_),
        adam_((bench::start(model_, bound), model_.parameters()),
              {.lr = learning_rate, .weight_decay = weight_decay}),
        source_lengths_(source_lengths(ragged)),
        target_lengths_(target_lengths(ragged)),
        source_(word_matrix("source_words", T)) {
    const Tensor sentence = word_matrix("target_words", T + 1);
    previous_ = slice(sentence, 1, 0, T).contiguous();
    next_ = pack(slice(sentence, 1, 1, T + 1).contiguous(), RaggedIndex(target_lengths_)).values;
    model_.eval();  // for the checks; train() follows
  }

  void train() { model_.train(); }

  double step() {
    adam_.zero_grad();
    const nn::TransformerMemory memory = model_.encode(source_, source_lengths_);
    const Tensor logits = model_.decode(memory, previous_, target_lengths_);
    const Tensor loss = cross_entropy(logits, next_, {.label_smoothing = smoothing});
    loss.backward();
    adam_.step();
    return loss.item<double>();
  }

  double gradient_norm() { return bench::gradient_norm(model_.parameters()); }

 private:
  Rng rng_{1};
  nn::Transformer model_;
  optim::AdamW adam_;
  std::vector<std::int64_t> source_lengths_, target_lengths_;
  Tensor source_, previous_, next_;
};

void run(benchmark::State& state, bool ragged) {
  Trainer trainer(ragged);
  for (int i = 1; i <= checked_steps; ++i) {
    state.counters["loss_" + std::to_string(i)] = trainer.step();
    if (i == 1) state.counters["result_gradient"] = trainer.gradient_norm();
  }
  trainer.train();
  bench::time(state, gflop(ragged), [&] { benchmark::DoNotOptimize(trainer.step()); });
}

const bool registered = [] {
  for (const bool ragged : {false, true})
    bench::add(name_of(ragged), [=](benchmark::State& state) { run(state, ragged); });
  return bench::register_sgemm();
}();

}  // namespace
