// One training step of the translation model (bi-GRU, additive attention, Adam): the same work as
// peers/translate_step_peer.cpp, with the same initial weights. Compare with bench/compare.
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/support/start.h>
#include <fovea/bench/workloads.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/optim/adam.h>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;
using namespace workloads::translate_step;

// The peers' names of the parameters.
std::string peer_name(const std::string& name) {
  const std::pair<const char*, const char*> renamed[] = {{"source_embedding.", "source."},
                                                         {"target_embedding.", "target."},
                                                         {"attention.key_proj.", "key."},
                                                         {"attention.query_proj.", "query."},
                                                         {"attention.score", "score.weight"}};
  for (const auto& [ours, theirs] : renamed)
    if (name.rfind(ours, 0) == 0) return theirs + name.substr(std::string(ours).size());
  return name;
}

void fill(nn::Module& model) {
  for (auto& [name, value] : model.parameters()) {
    const std::string peer = peer_name(name);
    const bool embedding = peer == "source.weight" || peer == "target.weight";
    const auto numbers =
        workloads::uniform(peer, static_cast<std::size_t>(value.numel()),
                           embedding ? embedding_bound : workloads::translate_step::bound);
    value.copy_from(from_data(numbers, value.shape()));
  }
}

class Trainer {
 public:
  Trainer()
      : model_({.source_vocab = vocab_size,
                .target_vocab = vocab_size,
                .embed_dim = embed_dim,
                .hidden_size = hidden},
               rng_),
        adam_((fill(model_), model_.parameters()), {.lr = learning_rate}) {
    source_ =
        from_data(workloads::words("source_words", batch * length, vocab_size), {batch, length});
    const Tensor sentence = from_data(
        workloads::words("target_words", batch * (length + 1), vocab_size), {batch, length + 1});
    previous_ = slice(sentence, 1, 0, length).contiguous();
    next_ = reshape(slice(sentence, 1, 1, length + 1).contiguous(), {batch * length});
  }

  double step() {
    adam_.zero_grad();
    const Tensor logits = model_.decode(model_.encode(source_, lengths_), previous_, lengths_);
    const Tensor loss = cross_entropy(logits, next_);
    loss.backward();
    adam_.step();
    return loss.item<double>();
  }

 private:
  Rng rng_{1};
  nn::Seq2Seq model_;
  optim::Adam adam_;
  std::vector<std::int64_t> lengths_ = std::vector<std::int64_t>(batch, length);
  Tensor source_, previous_, next_;
};

void translate_step(benchmark::State& state) {
  Trainer trainer;
  for (int i = 1; i <= checked_steps; ++i)
    state.counters["loss_" + std::to_string(i)] = trainer.step();
  bench::time(state, gflop(), [&] { benchmark::DoNotOptimize(trainer.step()); });
}

const bool registered = [] {
  bench::add("translate_step", translate_step);
  return bench::register_sgemm();
}();

}  // namespace
