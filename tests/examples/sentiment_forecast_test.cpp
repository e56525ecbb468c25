// The memory forecasts of sentiment equal the memory measured in its trainings.
#include <fovea/core/threads.h>

#include "forecast_check.h"
#include "training.h"

namespace data = fovea::nn::data;

namespace {

// The shortest or the longest of the built-in reviews.
Corpus some_reviews(const Options& o, std::size_t count, bool longest) {
  Corpus corpus = load_corpus(o);
  std::stable_sort(corpus.train.begin(), corpus.train.end(), [&](const auto& a, const auto& b) {
    return longest ? a.text.size() > b.text.size() : a.text.size() < b.text.size();
  });
  corpus.train.resize(count);
  corpus.validation.resize(1);
  return corpus;
}

void check_model(const std::string& name, const std::string& pooling, bool recompute = false) {
  for (const std::int64_t batch : {8, 40})
    for (const bool longest : {false, true}) {
      Options o;
      o.model.model = name;
      o.model.pooling = pooling;
      o.model.recompute = recompute;
      o.epochs = 1;
      o.batch = batch;
      o.smoke = true;  // no files
      fill_defaults(o);
      o.model.embed = 512;
      const Corpus corpus = some_reviews(o, 5 * static_cast<std::size_t>(batch), longest);
      const data::Vocab vocab = vocab_of(corpus.train, o);
      const Examples examples(vocab, corpus.train, o.model.bigrams);
      fovea::set_num_threads(o.threads);
      const auto cost = forecast(vocab, corpus, examples, o);
      fovea::Rng rng(1);
      SentimentModel model(vocab, o, rng);
      const std::int64_t measured = peak_of([&] { train_model(model, corpus, examples, o, rng); });
      check_forecast(fmt::format("{} {}, batch {}, {} reviews", name, pooling, batch,
                                 longest ? "long" : "short"),
                     cost, measured);
    }
}

}  // namespace

TEST_CASE("every encoder, and every part after it") {
  for (const char* model :
       {"bow", "selfattention", "transformer", "rnn", "gru", "lstm", "birnn", "bigru", "bilstm",
        "lstm+selfattention", "bigru+additive", "bilstm+dot", "birnn+selfattention"})
    check_model(model, "");
}

TEST_CASE("a recurrent net with recomputation") {
  for (const char* model : {"lstm", "bigru+additive"}) check_model(model, "", true);
}

TEST_CASE("every pooling") {
  for (const char* pooling : {"last", "mean", "max", "attention"}) check_model("bigru", pooling);
  for (const char* pooling : {"max", "attention"}) {
    check_model("bow", pooling);
    check_model("transformer", pooling);
  }
}

TEST_CASE("validation needs most memory") {
  for (const char* name : {"transformer", "bilstm+additive"}) {
    Options o;
    o.model.model = name;
    o.epochs = 1;
    o.batch = 2;
    o.smoke = true;  // no files
    fill_defaults(o);
    o.model.embed = 256;
    Corpus corpus = some_reviews(o, 4, false);
    const Corpus longest = some_reviews(o, 200, true);
    const data::Vocab vocab = vocab_of(longest.train, o);
    corpus.validation = longest.train;
    const Examples examples(vocab, corpus.train, o.model.bigrams);
    fovea::set_num_threads(o.threads);
    const auto cost = forecast(vocab, corpus, examples, o);
    CHECK(cost.validation_peak_bytes > cost.step_peak_bytes());
    fovea::Rng rng(1);
    SentimentModel model(vocab, o, rng);
    const std::int64_t measured = peak_of([&] { train_model(model, corpus, examples, o, rng); });
    check_forecast(fmt::format("validation of the {}", name), cost, measured);
    CHECK(cost.peak_bytes() >= measured);
  }
}
