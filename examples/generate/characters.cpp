#include "characters.h"

#include <fovea/core/autograd.h>
#include <fovea/core/checksum_detail.h>
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/safetensors.h>
#include <fovea/examples/support/checkpoint.h>
#include <fovea/examples/support/forecast.h>
#include <fovea/examples/support/profiling.h>
#include <fovea/examples/support/training.h>
#include <fovea/nn/data/utf8.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/trainer.h>

#include <algorithm>

#include "grammar.h"
#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace data = fovea::nn::data;
namespace nn = fovea::nn;
namespace optim = fovea::optim;
using fovea::Tensor;

namespace {

constexpr std::int64_t training_sentences = 20'000;
constexpr std::int64_t validation_rows = 64;

// Encoding and decoding of characters. Every text begins after a newline.
void set_alphabet(LanguageModel& model, const std::shared_ptr<data::Vocab>& vocab) {
  model.encode = [vocab](const std::string& text) {
    return vocab->encode(data::tokenize("\n" + text, data::Unit::characters));
  };
  model.bytes_of = [vocab](std::int64_t id) {
    // Special tokens are not characters.
    return id <= data::Vocab::eos ? std::string() : vocab->token(id);
  };
}

nlohmann::json to_json(const nn::TransformerLMOptions& o) {
  return {{"vocab", o.vocab},           {"d_model", o.d_model}, {"nhead", o.nhead},
          {"num_layers", o.num_layers}, {"max_len", o.max_len}, {"window", o.window}};
}

// Options shared by all character models.
nn::TransformerLMOptions default_options(std::int64_t vocab, std::int64_t width) {
  nn::TransformerLMOptions o{.vocab = vocab};
  o.d_model = width;
  o.positions = nn::LmPositions::rope;
  o.norm = nn::NormKind::rms;
  o.activation = nn::Activation::swiglu;
  o.dim_feedforward = 2 * o.d_model;
  o.bias = false;
  o.dropout = 0;
  return o;
}

LanguageModel make_model(const nn::TransformerLMOptions& options, std::uint64_t seed,
                         const std::shared_ptr<data::Vocab>& vocab) {
  LanguageModel model;
  model.rng = std::make_shared<fovea::Rng>(seed);
  model.model = std::make_unique<nn::TransformerLM>(options, *model.rng);
  model.model->name_tree();
  set_alphabet(model, vocab);
  model.name = "characters";
  return model;
}

// Sequences of `length` + 1 characters, from positions that depend only on (seed, epoch, batch).
class Rows {
 public:
  Rows(Ids text, std::int64_t length) : text_(std::move(text)), length_(length) {
    if (std::ssize(text_) <= length)
      fovea::value_error(
          "generate",
          "text of {} characters: must have at least {}, the length of a training sequence",
          text_.size(), length + 1);
  }
  struct Batch {
    Tensor inputs, targets;  // (B, T): a character, and the next one
  };
  Batch batch(std::int64_t B, fovea::Rng& rng) const {
    Ids inputs, targets;
    for (std::int64_t b = 0; b < B; ++b) {
      const auto begin = text_.begin() + rng.below(std::ssize(text_) - length_);
      inputs.insert(inputs.end(), begin, begin + length_);
      targets.insert(targets.end(), begin + 1, begin + length_ + 1);
    }
    return {fovea::from_data(inputs, {B, length_}), fovea::from_data(targets, {B, length_})};
  }

 private:
  Ids text_;
  std::int64_t length_;
};

Tensor loss_of(const nn::TransformerLM& model, const Rows::Batch& batch) {
  return fovea::cross_entropy(model(batch.inputs), batch.targets);
}

double validation_loss(nn::TransformerLM& model, const Rows& rows) {
  const fovea::NoGrad guard;
  model.eval();
  fovea::Rng same_rows(0);
  return loss_of(model, rows.batch(validation_rows, same_rows)).item<double>();
}

}  // namespace

std::string training_text(const Options& options) {
  if (!options.text.empty()) {
    std::string text = fovea::read_file(options.text);
    if (const std::size_t at = data::find_invalid_utf8(text); at != std::string::npos)
      fovea::format_error("--text", "{}: byte {} (0x{:02X}) is not valid UTF-8",
                          options.text.string(), at + 1, static_cast<unsigned char>(text[at]));
    return text;
  }
  fovea::Rng rng(options.seed);
  std::string text;
  for (std::int64_t i = 0; i < training_sentences; ++i) text += random_sentence(rng) + "\n";
  return text;
}

LanguageModel new_model(const Options& options, const std::string& text) {
  data::TokenCounts counts;
  for (std::string& character : data::tokenize(text, data::Unit::characters))
    ++counts[std::move(character)];
  ++counts["\n"];  // the character before a text
  const auto vocab = std::make_shared<data::Vocab>(counts);
  nn::TransformerLMOptions o = default_options(vocab->size(), options.width);
  o.nhead = options.heads;
  o.num_layers = options.layers;
  o.max_len = options.context;
  o.window = options.window;
  o.dropout = options.dropout;
  LanguageModel model = make_model(o, options.seed, vocab);
  model.vocab_json = vocab->to_json();
  return model;
}

namespace {

fovea::Metadata metadata_of(const LanguageModel& model) {
  return {{"format", "fovea.generate"},
          {"model", to_json(model.model->options()).dump()},
          {"characters", model.vocab_json}};
}

// Identifies the training: values of another one would load without an error.
std::string described(const Options& o, const Ids& text) {
  const std::string_view bytes(reinterpret_cast<const char*>(text.data()),
                               text.size() * sizeof(Ids::value_type));
  return nlohmann::json{{"seed", o.seed},
                        {"steps", o.steps},
                        {"batch", o.batch},
                        {"context", o.context},
                        {"lr", o.lr},
                        {"dropout", o.dropout},
                        {"text", fmt::format("{:016x}", fovea::checksum(bytes))}}
      .dump();
}

// Task and options of the trainer. all: the encoded text, its last tenth for validation.
class TrainingSetup {
 public:
  TrainingSetup(LanguageModel& model, const Options& options, const Ids& all)
      : model_(*model.model),
        options_(options),
        train_(Ids(all.begin(), cut(all)), options.context),
        validation_(Ids(cut(all), all.end()), options.context),
        adam_(model_.parameters(), {.lr = options.lr, .weight_decay = 0.01}) {
    // An epoch is about a hundred steps: there is a validation after each.
    const std::int64_t epochs = (options.steps + 99) / 100, per_epoch = options.steps / epochs;
    const std::int64_t warm_up = std::clamp<std::int64_t>(options.steps / 4, 1, 50);
    const std::int64_t falling = std::max<std::int64_t>(1, epochs * per_epoch - warm_up);
    task = {
        .model = model_.state(),
        .optimizer = &adam_,
        .learning_rate = optim::sequential({{warm_up, optim::linear(0, options.lr, warm_up)}},
                                           optim::cosine(options.lr, falling, 0.05 * options.lr)),
        .generators = {model.rng.get()},
        .batches = [per_epoch](std::int64_t) { return per_epoch; },
        .loss = [this, per_epoch](std::int64_t epoch,
                                  std::int64_t number) { return loss(epoch * per_epoch + number); },
        .validate = [this] { return validation_loss(); },
        .set_training = [this](bool on) { model_.train(on); }};
    trainer = {.max_epochs = epochs,
               .clip_norm = 1.0,
               .save_every = options.save_every,
               .metadata = metadata_of(model),
               .resume = options.resume};
    trainer.metadata["training"] = described(options, all);
    if (!options.save.empty()) {
      trainer.last = options.last();
      trainer.model_file = options.save;
    }
    if (options.max_seconds > 0) trainer.max_seconds = options.max_seconds;
  }
  TrainingSetup(const TrainingSetup&) = delete;
  TrainingSetup& operator=(const TrainingSetup&) = delete;

  double validation_loss() const { return ::validation_loss(model_, validation_); }

 private:
  static Ids::const_iterator cut(const Ids& all) { return all.begin() + std::ssize(all) * 9 / 10; }

  optim::TrainingTask::Loss loss(std::int64_t step) const {
    model_.train();
    fovea::Rng rows = fovea::Rng(options_.seed).fork(static_cast<std::uint64_t>(step));
    return {loss_of(model_, train_.batch(options_.batch, rows)), options_.batch * options_.context};
  }

  nn::TransformerLM& model_;
  const Options& options_;
  Rows train_, validation_;
  optim::AdamW adam_;

 public:
  optim::TrainingTask task;
  optim::TrainerOptions trainer;
};

}  // namespace

nn::inspect::CostLedger forecast(const Options& options, const std::string& text) {
  fovea::DryRun dry_run;
  LanguageModel model = new_model(options, text);
  TrainingSetup setup(model, options, model.encode(text));
  return support::forecast(dry_run, *model.model, setup.task, setup.trainer, {{0, 0}},
                           setup.task.validate);
}

TrainingResult train_model(LanguageModel& model, const Options& options, const std::string& text,
                           const optim::TrainingLock* lock) {
  TrainingSetup setup(model, options, model.encode(text));
  setup.trainer.lock = lock;
  support::Profiling profiling(options.profile);
  const optim::TrainingResult result =
      optim::train(profiling.watch(setup.task), setup.trainer, support::Display("loss", 3));
  profiling.finish();
  model.model->eval();
  return {.seconds = result.last.seconds,
          .loss = setup.validation_loss(),
          .characters_per_second =
              static_cast<double>(result.tokens) / std::max(1e-9, result.last.seconds),
          .steps = result.last.step,
          .peak_bytes = fovea::memory_stats().peak_bytes,
          .signal = result.signal,
          .metadata = result.metadata};
}

void save_model(LanguageModel& model, const std::filesystem::path& path,
                const fovea::Metadata& training) {
  fovea::Metadata metadata = metadata_of(model);
  metadata.insert(training.begin(), training.end());
  fovea::save(path, model.model->state(), metadata);
}

LanguageModel load_model(const std::filesystem::path& path) {
  namespace ranges = support::ranges;
  const auto file = support::read_checkpoint(path, "generate");
  const fovea::Metadata& metadata = file.metadata();
  if (!metadata.contains("format") || metadata.at("format") != "fovea.generate" ||
      !metadata.contains("model") || !metadata.contains("characters"))
    fovea::format_error("generate", "{}: must be a model written by --save", path.string());
  if (file.find("place.counts"))
    fovea::format_error(
        "generate", "{}: is a checkpoint for --resume, the model is in the file without '.last'",
        path.string());
  const support::SavedOptions saved(file, "model");
  const auto size = [&](const char* key, const ranges::Integers& range) {
    return saved.number<std::int64_t>(key, range);
  };
  nn::TransformerLMOptions o =
      default_options(size("vocab", ranges::vocab), size("d_model", ranges::width));
  o.nhead = size("nhead", ranges::heads);
  o.num_layers = size("num_layers", ranges::layers);
  o.max_len = size("max_len", ranges::length);
  o.window = size("window", ranges::window);
  const auto vocab =
      std::make_shared<data::Vocab>(support::read_vocab(file, "characters", "embedding.weight"));
  if (vocab->size() != o.vocab)
    fovea::format_error("generate", "{}: {} characters: must be {}, the vocabulary size",
                        path.string(), vocab->size(), o.vocab);
  support::compare_tensors(
      file, [&](fovea::Rng& unused) { return nn::TransformerLM(o, unused).state(); });
  LanguageModel model = make_model(o, 0, vocab);
  model.vocab_json = metadata.at("characters");
  fovea::load_into(file, model.model->state(), {.finite = true});
  model.model->eval();
  return model;
}
