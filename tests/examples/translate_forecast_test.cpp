// The memory forecasts of translate equal the memory measured in its trainings.
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/nn/seq2seq.h>

#include "forecast_check.h"
#include "training.h"

namespace data = fovea::nn::data;

namespace {

// Pairs of random words, with lengths from `shortest` to `longest`.
data::ParallelText random_pairs(std::int64_t count, std::int64_t longest, fovea::Rng& rng,
                                std::int64_t shortest = 1) {
  data::ParallelText text;
  for (std::int64_t i = 0; i < count; ++i)
    for (data::Lines* lines : {&text.source, &text.target}) {
      std::string line;
      for (std::int64_t n = shortest + rng.below(longest - shortest + 1); n > 0; --n)
        line += (line.empty() ? "" : " ") + std::to_string(rng.below(90));
      lines->push_back(line);
    }
  return text;
}

Corpus random_corpus(std::int64_t count, std::int64_t longest) {
  fovea::Rng rng(7);
  return {random_pairs(count, longest, rng),
          random_pairs(1, 2, rng),
          {},
          data::Unit::words,
          "exact_match"};
}

Options small_options(std::int64_t batch) {
  Options o;
  o.embed = 96;
  o.hidden = 128;
  o.layers = 2;
  o.ffn = 256;
  o.dropout = 0.1;
  o.epochs = 1;
  o.batch = batch;
  o.warmup = 0;
  o.average = 0;
  o.smoke = true;  // no files
  fill_defaults(o);
  return o;
}

// Two batch sizes, each with short and with long sentences, in five batches, one of them largest.
void check_model(const std::string& name, const std::function<void(Options&)>& change) {
  for (const std::int64_t batch : {6, 24})
    for (const std::int64_t longest : {5, 25}) {
      Options o = small_options(batch);
      change(o);
      const Corpus corpus = random_corpus(5 * batch, longest);
      const Tokenizer tokenizer(corpus, o);
      Pairs pairs(tokenizer, corpus.train);
      if (o.guided_weight > 0 && !o.guided_alignment.empty())
        pairs.links.assign(corpus.train.source.size(), Links{{0, 0}});
      fovea::set_num_threads(o.threads);
      const auto cost = forecast(tokenizer, corpus, pairs, o);
      fovea::Rng rng(1);
      Translator translator(tokenizer, o, rng);
      const std::int64_t measured =
          peak_of([&] { train_model(translator, corpus, pairs, o, rng); });
      const std::string what = fmt::format("{}, batch {}, up to {} words", name, batch, longest);
      if (cost.peak_bytes() == cost.step_peak_bytes()) {
        check_forecast(what, cost, measured);
        continue;
      }
      // The search of a validation may end earlier than in the dry run, whose forecast is a bound.
      CAPTURE(what);
      const auto taken = static_cast<double>(measured);
      CHECK(taken <= 1.05 * static_cast<double>(cost.peak_bytes()));
      CHECK(taken >= 0.95 * static_cast<double>(cost.step_peak_bytes()));
    }
}

}  // namespace

TEST_CASE("every attention mechanism of the rnn, and none") {
  for (const std::string& name : fovea::nn::attention_names())
    check_model(name, [&](Options& o) { o.attention = name; });
}

TEST_CASE("other options of an rnn") {
  check_model("coverage", [](Options& o) { o.coverage = true, o.coverage_loss = 0.1; });
  check_model("input feeding", [](Options& o) { o.input_feeding = true; });
  check_model("feeding multihead",
              [](Options& o) { o.input_feeding = true, o.attention = "multihead"; });
  check_model("sparsemax", [](Options& o) { o.attention_weights = "sparsemax"; });
  check_model("entmax", [](Options& o) { o.attention_weights = "entmax15"; });
  check_model("guided", [](Options& o) { o.guided_alignment = "given"; });
  check_model("recompute", [](Options& o) { o.recompute = true; });
  check_model("two threads", [](Options& o) { o.threads = 2; });
}

TEST_CASE("a transformer") {
  check_model("transformer", [](Options& o) { o.model = "transformer"; });
  check_model("transformer, average", [](Options& o) {
    o.model = "transformer", o.average = 1, o.attention_dropout = 0.1, o.label_smoothing = 0.1;
  });
  check_model("transformer, batches by tokens", [](Options& o) {
    o.model = "transformer", o.batch_tokens = 10 * o.batch, o.batch = 0;
  });
}

TEST_CASE("validation needs most memory") {
  for (const char* model : {"transformer", "rnn"}) {
    Options o = small_options(2);
    o.model = model;
    Corpus corpus = random_corpus(4, 3);
    fovea::Rng rng(8);
    corpus.validation = random_pairs(150, 60, rng, 60);  // full batches of the longest
    const Tokenizer tokenizer(corpus, o);
    const Pairs pairs(tokenizer, corpus.train);
    fovea::set_num_threads(o.threads);
    const auto cost = forecast(tokenizer, corpus, pairs, o);
    CHECK(cost.validation_peak_bytes > cost.step_peak_bytes());
    fovea::Rng start(1);
    Translator translator(tokenizer, o, start);
    // A search may end early and then needs less than the forecast. The rnn's search never does
    // here; the transformer's may (tied output layer without bias), so its forecast is a bound.
    for (auto& [name, parameter] : translator.model().module().parameters())
      if (name == "output.bias") parameter.mutable_data<float>()[data::Vocab::eos] = -1e4F;
    const std::int64_t measured =
        peak_of([&] { train_model(translator, corpus, pairs, o, start); });
    CAPTURE(model);
    CHECK(cost.peak_bytes() >= measured);
    if (o.model == "rnn") check_forecast("validation of the rnn", cost, measured);
  }
}
