// Training steps of the models in bench/ (the Transformer, the language model), with dropout: the
// same losses, weights and optimizer states, bit for bit, for any number of threads.
#include <fovea/core/ops/loss.h>
#include <fovea/core/ragged.h>
#include <fovea/nn/transformer.h>
#include <fovea/nn/transformer_lm.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/clip.h>
#include <fovea/tests/support/thread_bits.h>

using namespace fovea;

namespace {

#ifdef FOVEA_SANITIZED
constexpr std::int64_t B = 4, C = 16, V = 90;
#else
constexpr std::int64_t B = 24, C = 96, V = 1100;  // so much that the kernels split their work
#endif
constexpr std::int64_t H = 4, steps = 3;

Tensor words(std::int64_t T, Rng& rng) {
  std::vector<std::int64_t> ids(static_cast<std::size_t>(B * T));
  for (std::int64_t& id : ids) id = 4 + rng.below(V - 4);
  return from_data(ids, {B, T});
}

// loss() of each step in turn; then all that is left.
template <class Loss>
NamedTensors train(nn::Module& model, const Loss& loss) {
  optim::AdamW adam(model.parameters(), {.lr = 1e-2});
  std::vector<double> losses;
  for (std::int64_t step = 0; step < steps; ++step) {
    adam.zero_grad();
    const Tensor value = loss(step);
    losses.push_back(value.template item<double>());
    value.backward();
    losses.push_back(optim::clip_grad_norm(model.parameters(), 1.0));
    adam.step();
  }
  NamedTensors left = model.state();
  append(left, "adam", adam.state());
  left.emplace_back("losses", from_data(losses, {2 * steps}));
  return left;
}

NamedTensors train_transformer(bool norm_first, double attention_dropout) {
  Rng rng(1);
  nn::Transformer model({.source_vocab = V,
                         .target_vocab = V,
                         .d_model = C,
                         .nhead = H,
                         .dim_feedforward = 4 * C,
                         .num_encoder_layers = 2,
                         .num_decoder_layers = 2,
                         .dropout = 0.1,
                         .attention_dropout = attention_dropout,
                         .norm_first = norm_first},
                        rng);
  Rng text(2);
  return train(model, [&](std::int64_t) {
    const std::int64_t S = 17, T = 28;
    std::vector<std::int64_t> sources, targets;
    for (std::int64_t b = 0; b < B; ++b) {
      sources.push_back(1 + text.below(S));
      targets.push_back(1 + text.below(T));
    }
    sources[0] = S;
    targets[0] = T;
    const Tensor source = words(S, text), previous = words(T, text);
    const Tensor next = pack(words(T, text), RaggedIndex(targets)).values;
    return cross_entropy(model.decode(model.encode(source, sources), previous, targets), next,
                         {.label_smoothing = 0.1});
  });
}

NamedTensors train_language_model(std::int64_t T) {
  Rng rng(1);
  nn::TransformerLM model({.vocab = V,
                           .d_model = C,
                           .nhead = H,
                           .num_layers = 2,
                           .dim_feedforward = 4 * C,
                           .max_len = T,
                           .dropout = 0.1},
                          rng);
  Rng text(2);
  return train(model, [&](std::int64_t) {
    const Tensor read = words(T, text);
    return cross_entropy(model(read), words(T, text));
  });
}

}  // namespace

TEST_CASE("the Transformer's steps are the same to the bit on any threads") {
  test::check_same_for_any_threads([] { return train_transformer(false, 0.1); });
  test::check_same_for_any_threads([] { return train_transformer(true, 0.0); });
}

TEST_CASE("the language model's steps are the same to the bit on any threads") {
  test::check_same_for_any_threads([] { return train_language_model(130); });
}
