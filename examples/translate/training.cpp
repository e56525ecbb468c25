#include "training.h"

#include <fovea/core/autograd.h>
#include <fovea/examples/support/forecast.h>
#include <fovea/examples/support/profiling.h>
#include <fovea/examples/support/training.h>
#include <fovea/nn/data/bleu.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/interrupt.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace data = fovea::nn::data;
namespace optim = fovea::optim;

namespace {

optim::Schedule schedule_of(const Options& o, std::int64_t batches_per_epoch) {
  const std::int64_t rising = o.warmup;
  // noam() with width 1, scaled so that its peak is o.lr.
  if (o.schedule == "inverse-sqrt")
    return optim::noam(1, std::max<std::int64_t>(1, rising),
                       o.lr * std::sqrt(static_cast<double>(std::max<std::int64_t>(1, rising))));
  const std::int64_t falling = std::max<std::int64_t>(1, o.epochs * batches_per_epoch - rising);
  optim::Schedule cosine = optim::cosine(o.lr, falling, 0.1 * o.lr);
  if (rising == 0) return cosine;
  return optim::sequential({{rising, optim::linear(0.01 * o.lr, o.lr, rising)}}, cosine);
}

optim::TrainerOptions trainer_options(const Translator& translator, const Options& options,
                                      std::int64_t batches_per_epoch) {
  optim::TrainerOptions t{.max_epochs = options.epochs,
                          .clip_norm = options.clip,
                          .higher_is_better = true,
                          .save_every = options.save_every,
                          .metadata = translator.metadata(),
                          .resume = options.resume,
                          .log = options.log};
  // An average over n steps and one with this decay have the same mean age: (n - 1) / 2 steps.
  if (options.average > 0)
    t.average =
        1 - 2 / (static_cast<double>(options.average) * static_cast<double>(batches_per_epoch) + 1);
  if (options.max_seconds > 0) t.max_seconds = options.max_seconds;
  // The dates task has few epochs: more validations give a curve.
  if (options.task.dates) t.validate_every = std::max<std::int64_t>(1, batches_per_epoch / 4);
  if (options.save.empty()) return t;
  t.best = options.save;
  t.last = options.last();
  return t;
}

std::int64_t target_tokens(const data::TranslationBatch& batch) {
  const data::Ids& lengths = batch.target_output.lengths;
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

// Of the batches that translate() would search for `lines`: the one with the longest lines, and the
// one with the most tokens.
std::vector<data::Lines> longest_batches(const Tokenizer& tokenizer, const data::Lines& lines) {
  std::vector<std::int64_t> lengths;
  data::Lines spelled;
  for (const std::string& line : lines) {
    const std::int64_t length = std::ssize(tokenizer.encode_source(line));
    if (length == 0) continue;
    lengths.push_back(std::min(length, SearchOptions().max_length) + 1);
    spelled.push_back(line);
  }
  const std::vector<data::Ids> batches = Translator::search_batches(lengths, 1);
  if (batches.empty()) return {};
  const auto tokens = [&](const data::Ids& rows) {  // with the padding
    return std::ssize(rows) * lengths[static_cast<std::size_t>(rows.back())];
  };
  const auto most = std::max_element(
      batches.begin(), batches.end(),
      [&](const data::Ids& a, const data::Ids& b) { return tokens(a) < tokens(b); });
  std::vector<data::Lines> found;
  for (const data::Ids& rows : {batches.back(), *most}) {
    found.emplace_back();
    for (const std::int64_t row : rows)
      found.back().push_back(spelled[static_cast<std::size_t>(row)]);
  }
  return found;
}

// Task and options of the trainer.
class TrainingSetup {
 public:
  TrainingSetup(Translator& translator, const Corpus& corpus, const Pairs& pairs,
                const Options& options, fovea::Rng& rng)
      : translator_(translator),
        pairs_(pairs),
        epochs_(pairs.lengths, bucket_options(options)),
        adam_(translator.model().module().parameters(), {.lr = options.lr, .beta2 = options.beta2}),
        per_epoch_(std::ssize(epochs_.at(0))),
        trainer(trainer_options(translator, options, per_epoch_)) {
    task = {.model = translator.model().module().state(),
            .optimizer = &adam_,
            .learning_rate = schedule_of(options, per_epoch_),
            .generators = {&rng},
            .batches = [this](std::int64_t epoch) { return std::ssize(epochs_.at(epoch)); },
            .loss = [this, smoothing = options.label_smoothing](
                        std::int64_t epoch,
                        std::int64_t number) { return loss(epoch, number, smoothing); },
            .validate = [&] { return score(translator, corpus, corpus.validation, {.beam = 1}); },
            .set_training = [&](bool on) { translator.model().module().train(on); }};
  }
  TrainingSetup(const TrainingSetup&) = delete;
  TrainingSetup& operator=(const TrainingSetup&) = delete;

 private:
  optim::TrainingTask::Loss loss(std::int64_t epoch, std::int64_t number, double smoothing) {
    translator_.model().module().train();
    const data::Ids& rows = epochs_.at(epoch)[static_cast<std::size_t>(number)];
    const auto batch = pairs_.batch(rows);
    const fovea::Tensor links =
        pairs_.links.empty() ? fovea::Tensor() : links_of(pairs_.links, rows, batch);
    return {translator_.training_loss(batch, smoothing, links), target_tokens(batch)};
  }

  Translator& translator_;
  const Pairs& pairs_;
  support::Epochs epochs_;
  optim::Adam adam_;
  std::int64_t per_epoch_;

 public:
  optim::TrainingTask task;
  optim::TrainerOptions trainer;
};

}  // namespace

data::BucketOptions bucket_options(const Options& options) {
  // With a maximum number of tokens, the number of sentences is not limited.
  const std::int64_t sentences =
      options.batch > 0 ? options.batch : std::numeric_limits<std::int64_t>::max();
  return {.batch_size = sentences, .max_tokens = options.batch_tokens, .seed = options.task.seed};
}

Pairs::Pairs(const Tokenizer& tokenizer, const data::ParallelText& text) {
  for (std::int64_t i = 0; i < text.size(); ++i) {
    const auto row = static_cast<std::size_t>(i);
    sources.push_back(tokenizer.encode_source(text.source[row]));
    targets.push_back(tokenizer.encode_target(text.target[row]));
  }
  lengths = data::pair_lengths(sources, targets);
}

data::TranslationBatch Pairs::batch(const data::Ids& rows) const {
  return data::translation_batch(sources, targets, rows);
}

fovea::nn::inspect::CostLedger forecast(const Tokenizer& tokenizer, const Corpus& corpus,
                                        const Pairs& pairs, const Options& options) {
  fovea::DryRun dry_run;
  fovea::Rng rng(options.task.seed);
  Translator translator(tokenizer, options, rng);
  TrainingSetup setup(translator, corpus, pairs, options, rng);
  const std::vector<data::Lines> longest = longest_batches(tokenizer, corpus.validation.source);
  return support::forecast(
      dry_run, translator.model().module(), setup.task, setup.trainer,
      support::largest_batches(pairs.lengths, bucket_options(options), options.epochs), [&] {
        for (const data::Lines& batch : longest) translator.translate(batch, {.beam = 1});
      });
}

optim::TrainingResult train_model(Translator& translator, const Corpus& corpus, const Pairs& pairs,
                                  const Options& options, fovea::Rng& rng,
                                  const optim::TrainingLock* lock) {
  TrainingSetup setup(translator, corpus, pairs, options, rng);
  setup.trainer.lock = lock;
  support::Profiling profiling(options.profile);
  optim::TrainingResult result =
      optim::train(profiling.watch(setup.task), setup.trainer, support::Display(corpus.metric));
  profiling.finish();
  return result;
}

double score(const Translator& translator, const Corpus& corpus, const data::ParallelText& text,
             const SearchOptions& search) {
  std::vector<std::string> hypotheses;
  for (const auto& best : translator.translate(text.source, search))
    hypotheses.push_back(best[0].text);
  if (corpus.metric == "bleu") return data::corpus_bleu(hypotheses, text.target).score;
  std::int64_t right = 0;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) right += hypotheses[i] == text.target[i];
  return 100.0 * static_cast<double>(right) /
         static_cast<double>(std::max<std::size_t>(1, hypotheses.size()));
}

double mean_loss(const Translator& translator, const data::ParallelText& text) {
  const fovea::NoGrad guard;
  translator.eval();
  const Pairs pairs(translator.tokenizer(), text);
  double sum = 0;
  std::int64_t tokens = 0;
  for (const data::Ids& rows : data::sorted_batches(pairs.lengths, Translator::search_batch)) {
    optim::check_interrupt();
    const data::TranslationBatch batch = pairs.batch(rows);
    const std::int64_t here = target_tokens(batch);
    sum += static_cast<double>(here) * translator.loss(batch, 0.0).item<double>();
    tokens += here;
  }
  return sum / static_cast<double>(std::max<std::int64_t>(1, tokens));
}
