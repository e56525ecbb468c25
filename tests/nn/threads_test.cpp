// A whole training step: bitwise equal for any number of threads, and without system allocations
// after the first steps.
#include <fovea/core/kernels/isa.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/storage.h>
#include <fovea/core/threads.h>
#include <fovea/nn/data/batching.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/clip.h>
#include <fovea/tests/support/skip.h>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;

namespace {

constexpr std::int64_t source_words = 700, target_words = 1100;  // no multiples of any tile

data::Ids random_sentence(std::int64_t longest, std::int64_t words, Rng& rng) {
  data::Ids ids(static_cast<std::size_t>(1 + rng.below(longest)));
  for (std::int64_t& id : ids) id = 4 + rng.below(words - 4);
  return ids;
}

// Sentence pairs of lengths 1 to 23, in batches of different shapes.
struct Pairs {
  std::vector<data::Ids> sources, targets, batches;

  Pairs(std::int64_t count, std::int64_t batch_size) {
    Rng rng(5);
    for (std::int64_t i = 0; i < count; ++i) {
      sources.push_back(random_sentence(23, source_words, rng));
      targets.push_back(random_sentence(23, target_words, rng));
    }
    batches = data::bucketed_batches(data::pair_lengths(sources, targets), 0,
                                     {.batch_size = batch_size, .pool_batches = 2});
  }

  data::TranslationBatch batch(const data::Ids& rows) const {
    return data::translation_batch(sources, targets, rows);
  }
};

// A small translation model with a complete step: dropout, clipping, Adam.
struct Training {
  Rng rng{7};
  Seq2Seq model{{.source_vocab = source_words,
                 .target_vocab = target_words,
                 .embed_dim = 40,
                 .hidden_size = 56,
                 .dropout = 0.2},
                rng};
  optim::Adam adam{model.parameters(), {.lr = 1e-2}};

  void step(const data::TranslationBatch& batch) {
    adam.zero_grad();
    const Seq2SeqMemory memory = model.encode(batch.source.tensor(), batch.source.lengths);
    const Tensor logits =
        model.decode(memory, batch.target_input.tensor(), batch.target_input.lengths);
    const RaggedIndex real(batch.target_output.lengths);
    cross_entropy(logits, pack(batch.target_output.tensor(), real).values, {.label_smoothing = 0.1})
        .backward();
    optim::clip_grad_norm(model.parameters(), 1.0);
    adam.step();
  }

  void epoch(const Pairs& pairs) {
    for (const data::Ids& rows : pairs.batches) step(pairs.batch(rows));
  }

  std::string weights() {
    std::string bytes;
    for (const auto& [name, w] : model.state())
      bytes.append(reinterpret_cast<const char*>(w.data<float>()),
                   static_cast<std::size_t>(w.numel()) * sizeof(float));
    return bytes;
  }
};

std::string trained_weights(const Pairs& pairs) {
  Training training;
  training.epoch(pairs);
  return training.weights();
}

// Restores the number of threads and the instruction set after a test.
class Settings {
 public:
  Settings() : threads_(num_threads()), isa_(kernels::active_isa()) {}
  ~Settings() {
    set_num_threads(threads_);
    kernels::set_isa(isa_);
  }
  Settings(const Settings&) = delete;
  Settings& operator=(const Settings&) = delete;

 private:
  int threads_;
  kernels::Isa isa_;
};

}  // namespace

TEST_CASE("training steps: bit-identical weights for any number of threads") {
  const Settings before;
  const Pairs pairs(160, 40);
  for (const kernels::Isa isa : {kernels::Isa::baseline, kernels::Isa::v3, kernels::Isa::v4}) {
    if (kernels::set_isa(isa) != isa) continue;  // this processor lacks it
    CAPTURE(kernels::name_of(isa));
    set_num_threads(1);
    const std::string one = trained_weights(pairs);
    for (const int threads : {1, 2, 3, 4, 8}) {  // 1: a second run
      CAPTURE(threads);
      set_num_threads(threads);
      const bool same = trained_weights(pairs) == one;  // bytes; not to be printed
      CHECK(same);
    }
  }
}

TEST_CASE("training steps: no system allocations after the first steps") {
#ifdef FOVEA_SANITIZED
  test::skip("the memory pool steps aside for sanitizers");
#else
  const Settings before;
  const Pairs pairs(400, 20);  // 20 batches of unequal lengths
  for (const int threads : {1, 2}) {
    CAPTURE(threads);
    set_num_threads(threads);
    Training training;
    for (int warm_up = 0; warm_up < 2; ++warm_up) training.epoch(pairs);
    const MemoryStats warm = memory_stats();
    for (int epoch = 0; epoch < 3; ++epoch) training.epoch(pairs);
    const MemoryStats after = memory_stats();
    CHECK(after.allocations > warm.allocations);
    CHECK(after.system_allocations == warm.system_allocations);
    CHECK(after.system_bytes == warm.system_bytes);
    CHECK(after.live_bytes == warm.live_bytes);
  }
#endif
}
