// Training steps with the code of sentiment: the complete checkpoint has the same bits for any
// number of threads.
#include <fovea/core/random.h>
#include <fovea/tests/support/thread_bits.h>

#include "training.h"

using namespace fovea;

namespace {

#ifdef FOVEA_SANITIZED
constexpr std::int64_t reviews = 24, width = 16;
#else
constexpr std::int64_t reviews = 128, width = 96;  // large enough for the kernels to use threads
#endif

Reviews random_reviews(std::int64_t count, Rng& rng) {
  Reviews all;
  for (std::int64_t i = 0; i < count; ++i) {
    std::string text = "w0";
    for (std::int64_t left = rng.below(30); left > 0; --left)
      text += fmt::format(" w{}", rng.below(900));
    all.push_back({text, rng.below(2)});
  }
  return all;
}

// Two batches, then a validation.
void check(const std::string& name) {
  CAPTURE(name);
  const test::Folder folder("fovea-sentiment-threads");
  Options o;
  o.model.model = name;
  o.model.embed = o.model.hidden = width;
  o.model.heads = 4;
  o.model.dropout = 0.2;
  o.epochs = 1;
  o.batch = reviews / 2;
  o.save = folder / "model.safetensors";
  o.average = 0.9;
  o.word_dropout = 0.1;
  fill_defaults(o);
  Rng text(3);
  Corpus corpus;
  corpus.train = random_reviews(reviews, text);
  corpus.validation = random_reviews(16, text);
  const nn::data::Vocab vocab = vocab_of(corpus.train, o);
  const Examples examples(vocab, corpus.train, o.model.bigrams);
  test::check_same_for_any_threads([&] {
    Rng rng(5);
    SentimentModel model(vocab, o, rng);
    const optim::TrainingResult result = train_model(model, corpus, examples, o, rng);
    NamedTensors left = test::checkpoint(o.last());
    append(left, "result", test::figures(result));
    return left;
  });
}

}  // namespace

TEST_CASE("sentiment: recurrent models do not depend on threads") {
  for (const char* model : {"rnn", "gru", "lstm", "birnn", "bigru", "bilstm"}) check(model);
}

TEST_CASE("sentiment: attention after a recurrent net does not depend on threads") {
  for (const char* model : {"bilstm+additive", "gru+dot", "bigru+selfattention"}) check(model);
}

TEST_CASE("sentiment: models without recurrence do not depend on threads") {
  for (const char* model : {"bow", "selfattention", "transformer"}) check(model);
}
