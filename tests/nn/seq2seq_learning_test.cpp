// Each attention learns a task that requires it: reversing five letters.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/threads.h>
#include <fovea/nn/data/batching.h>
#include <fovea/nn/decode.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/clip.h>

#include <algorithm>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;

namespace {

constexpr std::int64_t vocab = 12, longest = 5, batch_size = 32;

struct Pairs {
  std::vector<data::Ids> sources, targets;
  data::Ids rows;

  explicit Pairs(Rng& rng) {
    for (std::int64_t i = 0; i < batch_size; ++i) {
      data::Ids word(static_cast<std::size_t>(3 + rng.below(longest - 2)));
      for (std::int64_t& id : word) id = 4 + rng.below(vocab - 4);
      sources.push_back(word);
      std::reverse(word.begin(), word.end());
      targets.push_back(word);
      rows.push_back(i);
    }
  }
  data::TranslationBatch batch() const { return data::translation_batch(sources, targets, rows); }
};

Seq2SeqMemory encode(const Seq2Seq& model, const data::TranslationBatch& batch) {
  return model.encode(batch.source.tensor(), batch.source.lengths);
}

void train(Seq2Seq& model, int steps, Rng& rng) {
  optim::Adam adam(model.parameters(), {.lr = 1e-2});
  for (int step = 0; step < steps; ++step) {
    const data::TranslationBatch batch = Pairs(rng).batch();
    adam.zero_grad();
    const Tensor logits =
        model.decode(encode(model, batch), batch.target_input.tensor(), batch.target_input.lengths);
    const RaggedIndex real(batch.target_output.lengths);
    cross_entropy(logits, pack(batch.target_output.tensor(), real).values).backward();
    optim::clip_grad_norm(model.parameters(), 1.0);
    adam.step();
  }
}

// The number of words reversed without an error, by greedy search.
double exact(Seq2Seq& model, const Pairs& pairs) {
  const NoGrad guard;
  model.eval();
  const data::TranslationBatch batch = pairs.batch();
  const Seq2SeqMemory memory = encode(model, batch);
  const auto found =
      beam_search([&](const Tensor& last,
                      std::vector<Tensor>& state) { return model.step(memory, last, state); },
                  model.initial_state(memory), batch_size, {.beam = 1, .max_length = 8});
  int right = 0;
  for (std::size_t i = 0; i < found.size(); ++i) right += found[i][0].tokens == pairs.targets[i];
  return static_cast<double>(right) / batch_size;
}

}  // namespace

TEST_CASE("reversing words: every attention learns it, a model without attention does not") {
  struct Case {
    std::string attention, weights;
    bool coverage = false, input_feeding = false;
  };
  std::vector<Case> cases{{"general", "entmax15"},
                          {"concat", "sparsemax"},
                          {"additive", "softmax", true, false},
                          {"dot", "softmax", false, true}};
  for (const std::string& name : attention_names()) cases.push_back({name, "softmax"});
  const int before = num_threads();
  set_num_threads(1);  // so small that a second thread would only cost
  for (const Case& c : cases) {
    CAPTURE(c.attention);
    Rng rng(1);
    Seq2Seq model({.source_vocab = vocab,
                   .target_vocab = vocab,
                   .embed_dim = 12,
                   .hidden_size = 24,
                   .attention = c.attention,
                   .weights = c.weights,
                   .coverage = c.coverage,
                   .input_feeding = c.input_feeding},
                  rng);
    train(model, 120, rng);
    const double score = exact(model, Pairs(rng));
    CAPTURE(score);
    CHECK((c.attention == "none" ? score <= 0.4 : score >= 0.7));
  }
  set_num_threads(before);
}
