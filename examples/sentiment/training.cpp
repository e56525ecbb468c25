#include "training.h"

#include <fovea/core/autograd.h>
#include <fovea/core/ops/loss.h>
#include <fovea/examples/support/forecast.h>
#include <fovea/examples/support/profiling.h>
#include <fovea/examples/support/training.h>
#include <fovea/optim/adam.h>

#include <cmath>

#include "words.h"
#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
namespace optim = fovea::optim;

namespace {

// Word dropout: a word becomes <unk>, and its bigrams are removed. This trains <unk>, too. Iyyer et
// al. 2015, Deep Unordered Composition Rivals ..., section 3.2 (there the word is removed).
EncodedText with_words_dropped(const EncodedText& text, double p, fovea::Rng& rng) {
  EncodedText left = text;
  if (p <= 0) return left;
  for (std::size_t t = 0; t < left.words.size(); ++t) {
    if (!rng.chance(p)) continue;
    left.words[t] = data::Vocab::unk;
    if (t > 0 && t - 1 < left.pairs.size()) left.pairs[t - 1] = data::Vocab::unk;
    if (t < left.pairs.size()) left.pairs[t] = data::Vocab::unk;
  }
  return left;
}

// Linear warm-up over the first twentieth of the steps, then cosine decay to 0.02 lr.
optim::Schedule rate_of(double lr, std::int64_t steps) {
  if (steps < 2) return optim::constant(lr);
  const std::int64_t warm_up = std::max<std::int64_t>(1, steps / 20);
  return optim::sequential({{warm_up, optim::linear(0.1 * lr, lr, warm_up)}},
                           optim::cosine(lr, steps - warm_up, 0.02 * lr));
}

// Identifies the training: values of another one would load without an error.
std::string described(const Options& o) {
  return nlohmann::json{{"seed", o.seed},
                        {"phrases", o.phrases},
                        {"batch", o.batch},
                        {"lr", o.lr},
                        {"weight_decay", o.weight_decay},
                        {"word_dropout", o.word_dropout},
                        {"label_smoothing", o.label_smoothing},
                        {"average", o.average}}
      .dump();
}

optim::TrainerOptions trainer_options(const SentimentModel& model, const Options& options,
                                      std::int64_t batches_per_epoch) {
  optim::TrainerOptions t{.max_epochs = options.epochs,
                          .clip_norm = options.clip,
                          .average = options.average,
                          .patience = options.patience,
                          .higher_is_better = true,
                          .save_every = options.save_every,
                          .metadata = model.metadata(),
                          .resume = options.resume,
                          .log = options.log};
  t.metadata["training"] = described(options);
  if (options.max_seconds > 0) t.max_seconds = options.max_seconds;
  // Epochs of the built-in reviews are short; epochs of phrases are long, and the best model may
  // occur within one.
  if (options.data.empty()) t.validate_every = 5 * batches_per_epoch;
  if (options.phrases) t.validate_every = std::max<std::int64_t>(1, batches_per_epoch / 4);
  if (options.save.empty()) return t;
  t.best = options.save;
  t.last = options.last();
  return t;
}

data::BucketOptions bucket_options(const Options& options) {
  return {.batch_size = options.batch, .seed = options.seed};
}

// Task and options of the trainer.
class TrainingSetup {
 public:
  TrainingSetup(SentimentModel& model, const Corpus& corpus, const Examples& examples,
                const Options& options, fovea::Rng& rng)
      : model_(model),
        examples_(examples),
        options_(options),
        rng_(rng),
        epochs_(examples.lengths, bucket_options(options)),
        adam_(model.model().parameters(), {.lr = options.lr, .weight_decay = options.weight_decay}),
        per_epoch_(std::ssize(epochs_.at(0))),
        trainer(trainer_options(model, options, per_epoch_)) {
    task = {.model = model.model().state(),
            .optimizer = &adam_,
            .learning_rate = rate_of(options.lr, options.epochs * per_epoch_),
            .generators = {&rng},
            .batches = [this](std::int64_t epoch) { return std::ssize(epochs_.at(epoch)); },
            .loss = [this](std::int64_t epoch, std::int64_t number) { return loss(epoch, number); },
            .validate = [&] { return measure(model, corpus.validation).accuracy; },
            .set_training = [&](bool on) { model.model().train(on); }};
  }
  TrainingSetup(const TrainingSetup&) = delete;
  TrainingSetup& operator=(const TrainingSetup&) = delete;

 private:
  optim::TrainingTask::Loss loss(std::int64_t epoch, std::int64_t number) {
    model_.model().train();
    const data::Ids& rows = epochs_.at(epoch)[static_cast<std::size_t>(number)];
    std::vector<EncodedText> left;
    for (const std::int64_t row : rows)
      left.push_back(with_words_dropped(examples_.texts[static_cast<std::size_t>(row)],
                                        options_.word_dropout, rng_));
    std::vector<const EncodedText*> texts;
    for (const EncodedText& text : left) texts.push_back(&text);
    return {fovea::cross_entropy(model_.model()(model_.batch(texts)), examples_.labels_of(rows),
                                 {.label_smoothing = options_.label_smoothing}),
            examples_.words_in(rows)};
  }

  SentimentModel& model_;
  const Examples& examples_;
  const Options& options_;
  fovea::Rng& rng_;
  support::Epochs epochs_;
  optim::AdamW adam_;
  std::int64_t per_epoch_;

 public:
  optim::TrainingTask task;
  optim::TrainerOptions trainer;
};

}  // namespace

Examples::Examples(const data::Vocab& vocab, const Reviews& reviews, bool bigrams) {
  for (const Review& review : reviews) {
    texts.push_back(encode(vocab, words_of(review.text), bigrams));
    labels.push_back(review.label);
    lengths.push_back({.target = std::ssize(texts.back().words)});
  }
}

fovea::Tensor Examples::labels_of(const data::Ids& rows) const {
  data::Ids chosen;
  for (const std::int64_t row : rows) chosen.push_back(labels[static_cast<std::size_t>(row)]);
  return fovea::from_data(chosen, {std::ssize(chosen)});
}

std::int64_t Examples::words_in(const data::Ids& rows) const {
  std::int64_t count = 0;
  for (const std::int64_t row : rows) count += lengths[static_cast<std::size_t>(row)].target;
  return count;
}

fovea::nn::inspect::CostLedger forecast(const data::Vocab& vocab, const Corpus& corpus,
                                        const Examples& examples, const Options& options) {
  fovea::DryRun dry_run;
  fovea::Rng rng(options.seed);
  SentimentModel model(vocab, options, rng);
  TrainingSetup setup(model, corpus, examples, options, rng);
  return support::forecast(
      dry_run, model.model(), setup.task, setup.trainer,
      support::largest_batches(examples.lengths, bucket_options(options), options.epochs),
      setup.task.validate);
}

optim::TrainingResult train_model(SentimentModel& model, const Corpus& corpus,
                                  const Examples& examples, const Options& options, fovea::Rng& rng,
                                  const optim::TrainingLock* lock) {
  TrainingSetup setup(model, corpus, examples, options, rng);
  setup.trainer.lock = lock;
  support::Profiling profiling(options.profile);
  optim::TrainingResult result =
      optim::train(profiling.watch(setup.task), setup.trainer, support::Display("accuracy"));
  profiling.finish();
  return result;
}

Metrics measure(const SentimentModel& model, const Reviews& reviews) {
  std::vector<std::string> lines;
  for (const Review& review : reviews) lines.push_back(review.text);
  const std::vector<double> positive = model.positive(lines);
  std::int64_t right = 0;
  double loss = 0;
  for (std::size_t i = 0; i < reviews.size(); ++i) {
    const bool praises = reviews[i].label == 1;
    right += (positive[i] > 0.5) == praises;
    loss -= std::log(std::max(praises ? positive[i] : 1 - positive[i], 1e-12));
  }
  const double count = static_cast<double>(std::max<std::size_t>(1, reviews.size()));
  return {.accuracy = 100 * static_cast<double>(right) / count, .loss = loss / count};
}
