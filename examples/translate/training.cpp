#include "training.h"

#include <fovea/core/autograd.h>
#include <fovea/nn/data/bleu.h>
#include <fovea/optim/adam.h>

#include <iostream>
#include <unistd.h>

#include <fmt/core.h>

namespace data = fovea::nn::data;
namespace optim = fovea::optim;

namespace {

struct Pairs {
  std::vector<data::Ids> sources, targets;
  std::vector<data::PairLength> lengths;

  Pairs(const Translator& translator, const data::ParallelText& text) {
    for (std::int64_t i = 0; i < text.size(); ++i) {
      const auto row = static_cast<std::size_t>(i);
      sources.push_back(translator.encode_source(text.source[row]));
      targets.push_back(translator.encode_target(text.target[row]));
    }
    lengths = data::pair_lengths(sources, targets);
  }

  data::TranslationBatch batch(const data::Ids& rows) const {
    return data::translation_batch(sources, targets, rows);
  }
};

// The current epoch's batches: made again from (seed, epoch) when the epoch changes.
class Epochs {
 public:
  Epochs(const Pairs& pairs, const Options& options) : pairs_(pairs), options_(options) {}

  const std::vector<data::Ids>& at(std::int64_t epoch) {
    if (epoch != epoch_) {
      batches_ = data::bucketed_batches(pairs_.lengths, epoch,
                                        {.batch_size = options_.batch, .seed = options_.seed});
      epoch_ = epoch;
    }
    return batches_;
  }

 private:
  const Pairs& pairs_;
  const Options& options_;
  std::int64_t epoch_ = -1;
  std::vector<data::Ids> batches_;
};

// One line that is written over and over on a terminal, and one line a validation elsewhere.
class Display {
 public:
  explicit Display(std::string metric)
      : metric_(std::move(metric)), terminal_(isatty(STDERR_FILENO) == 1) {}

  void operator()(const optim::Progress& p) {
    const bool measured = p.validation == p.validation;  // not NaN
    if (terminal_) std::cerr << "\r\033[K" << optim::progress_line(p) << std::flush;
    if (measured)
      std::cerr << (terminal_ ? "\r\033[K" : "")
                << fmt::format("epoch {:2}  loss {:.3f}  validation {} {:.2f}  {:.0f} s\n",
                               p.epoch + 1, p.loss, metric_, p.validation, p.seconds);
  }

 private:
  std::string metric_;
  bool terminal_;
};

optim::TrainerOptions trainer_options(const Options& options) {
  optim::TrainerOptions t;
  t.max_epochs = options.epochs;
  if (options.max_seconds > 0) t.max_seconds = options.max_seconds;
  t.clip_norm = options.clip;
  t.higher_is_better = true;
  t.resume = options.resume;
  t.log = options.log;
  if (!options.save.empty()) {
    t.best = options.save.string() + ".best";
    t.last = options.save.string() + ".last";
  }
  return t;
}

}  // namespace

optim::TrainingResult teach(Translator& translator, const Corpus& corpus, const Options& options,
                            fovea::Rng& rng) {
  const Pairs pairs(translator, corpus.train);
  Epochs epochs(pairs, options);
  optim::Adam adam(translator.model().parameters(), {.lr = options.lr});
  const auto per_epoch = static_cast<std::int64_t>(epochs.at(0).size());

  optim::TrainingTask task;
  task.model = translator.model().state();
  task.optimizer = &adam;
  task.learning_rate = optim::cosine(options.lr, options.epochs * per_epoch, 0.1 * options.lr);
  task.generators = {&rng};
  task.batches = [&](std::int64_t epoch) {
    return static_cast<std::int64_t>(epochs.at(epoch).size());
  };
  task.loss = [&](std::int64_t epoch, std::int64_t batch) -> optim::TrainingTask::Loss {
    translator.model().train();
    const data::TranslationBatch b = pairs.batch(epochs.at(epoch)[static_cast<std::size_t>(batch)]);
    std::int64_t tokens = 0;
    for (const std::int64_t length : b.target_output.lengths) tokens += length;
    return {translator.loss(b, options.label_smoothing), tokens};
  };
  task.validate = [&] { return score(translator, corpus, corpus.validation, {.beam = 1}); };
  return optim::train(task, trainer_options(options), Display(corpus.metric));
}

double score(const Translator& translator, const Corpus& corpus, const data::ParallelText& text,
             const SearchOptions& search) {
  std::vector<std::string> hypotheses;
  for (const auto& best : translator.translate(text.source, search))
    hypotheses.push_back(best.empty() ? "" : best[0].text);
  if (corpus.metric == "bleu") return data::corpus_bleu(hypotheses, text.target).score;
  std::int64_t right = 0;
  for (std::size_t i = 0; i < hypotheses.size(); ++i) right += hypotheses[i] == text.target[i];
  return 100.0 * static_cast<double>(right) /
         static_cast<double>(std::max<std::size_t>(1, hypotheses.size()));
}

double mean_loss(const Translator& translator, const data::ParallelText& text) {
  const fovea::NoGrad guard;
  translator.model().eval();
  const Pairs pairs(translator, text);
  double sum = 0;
  std::int64_t tokens = 0;
  for (const data::Ids& rows : data::sorted_batches(pairs.lengths, 64)) {
    const data::TranslationBatch batch = pairs.batch(rows);
    std::int64_t here = 0;
    for (const std::int64_t length : batch.target_output.lengths) here += length;
    sum += static_cast<double>(here) * translator.loss(batch, 0.0).item<double>();
    tokens += here;
  }
  return sum / static_cast<double>(std::max<std::int64_t>(1, tokens));
}
