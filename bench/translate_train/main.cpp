// Training of the program `translate` on its own batches of Multi30k, in tokens per second without
// padding. The peer is peers/translate_train_peer.py; compare with bench/compare.
//
//   translate_train --data DIR --exchange FOLDER [--bpe FILE]      and Google Benchmark's flags
//
// For each model the initial weights, the batches and the settings are written to a file in FOLDER,
// which the peer reads. One iteration trains on all these batches once: forward, loss, backward,
// clipping, Adam, and the moving average of the weights if the program uses one.
#include <fovea/bench/support/sgemm.h>
#include <fovea/bench/support/start.h>
#include <fovea/core/state.h>
#include <fovea/examples/support/program.h>
#include <fovea/examples/support/training.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/average.h>
#include <fovea/optim/clip.h>

#include <numeric>
#include <optional>

#include "training.h"
#include "translator.h"
#include <CLI/CLI.hpp>
#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace {

using namespace fovea;
namespace data = nn::data;
using Batches = std::vector<data::TranslationBatch>;

constexpr std::int64_t batch_count = 8;  // of the first epoch, in random order
constexpr int checked_steps = 3;  // steps whose losses are reported, without dropout, whose random
                                  // bits differ between libraries

struct Case {
  const char* name;
  Options options;
};

// The two translators of Multi30k in the README, with the program's defaults except for the
// learning rate and, in Trainer, the decay of the average: here eight batches are an epoch.
std::vector<Case> cases_of(const std::filesystem::path& folder, std::filesystem::path bpe) {
  Options transformer, gru;
  transformer.task = {.dates = false, .source = "en", .target = "de"};
  transformer.model = "transformer";
  transformer.bpe = bpe.empty() ? folder / "bpe10k.en-de.codes" : std::move(bpe);
  gru.task = {.dates = false, .source = "de", .target = "en"};
  std::vector<Case> cases{{"transformer", transformer}, {"gru", gru}};
  for (Case& c : cases) {
    c.options.data = folder;
    fill_defaults(c.options);
    // Without warm-up the peak learning rate would be too high for the first steps.
    c.options.lr /= 10;
  }
  return cases;
}

Batches first_batches(const Tokenizer& tokenizer, const data::ParallelText& text,
                      const Options& o) {
  const Pairs pairs(tokenizer, text);
  support::Epochs epochs(pairs.lengths, bucket_options(o));
  Batches batches;
  for (const data::Ids& rows : epochs.at(0)) {
    if (std::ssize(batches) == batch_count) break;
    batches.push_back(pairs.batch(rows));
  }
  return batches;
}

std::int64_t sum_of(const data::Ids& lengths) {
  return std::accumulate(lengths.begin(), lengths.end(), std::int64_t{0});
}

// Tokens of source and target without padding, with <eos>, without <bos>.
std::int64_t tokens_of(const Batches& batches) {
  std::int64_t tokens = 0;
  for (const auto& b : batches)
    tokens += sum_of(b.source.lengths) + sum_of(b.target_output.lengths);
  return tokens;
}

// Without padding, in 1e9 operations: each product three times (one in forward, two in backward),
// attention with two products in forward and five in backward.
double transformer_gflop(const Batches& batches, const Options& o, std::int64_t V) {
  const std::int64_t C = o.embed, F = o.ffn;
  double products = 0, attention = 0;
  for (const auto& batch : batches)
    for (std::size_t b = 0; b < batch.source.lengths.size(); ++b) {
      const auto s = static_cast<double>(batch.source.lengths[b]);
      const auto t = static_cast<double>(batch.target_output.lengths[b]);
      const auto L = static_cast<double>(o.layers);
      products += L * (s * static_cast<double>(12 * C * C + 4 * C * F) +
                       t * static_cast<double>(12 * C * C + 4 * C * F)) +
                  t * static_cast<double>(2 * C * V);
      attention += L * static_cast<double>(4 * C) * (s * s + t * t / 2 + s * t);
    }
  return 1e-9 * (3 * products + 3.5 * attention);
}

// As workloads::translate_step::gflop(), without padding.
double gru_gflop(const Batches& batches, const Options& o, std::int64_t V) {
  const std::int64_t E = o.embed, H = o.hidden;
  const std::int64_t encoder = 2 * 2 * 3 * H * (E + H), keys = 2 * 2 * H * H;
  const std::int64_t decoder = 2 * 3 * H * (E + 3 * H), query = 2 * H * H;
  const std::int64_t read_out = 2 * (E + 3 * H) * H + 2 * H * V;
  std::int64_t products = 0;
  for (const auto& batch : batches)
    for (std::size_t b = 0; b < batch.source.lengths.size(); ++b) {
      const std::int64_t s = batch.source.lengths[b], t = batch.target_output.lengths[b];
      products += s * (encoder + keys) + t * (decoder + query + s * 6 * H + read_out);
    }
  return 3e-9 * static_cast<double>(products);
}

class Trainer {
 public:
  Trainer(const Case& c, const std::filesystem::path& exchange)
      : options_(c.options),
        corpus_(load_corpus(options_)),
        tokenizer_(corpus_, options_),
        translator_(tokenizer_, options_, rng_),
        model_(translator_.model().module()),
        adam_(model_.parameters(), {.lr = options_.lr, .beta2 = options_.beta2}),
        batches_(first_batches(tokenizer_, corpus_.train, options_)) {
    if (options_.average > 0)
      average_.emplace(model_.state(),
                       1 - 2 / static_cast<double>(options_.average * batch_count + 1));
    std::filesystem::create_directories(exchange);
    write(exchange / (std::string(c.name) + ".safetensors"));
    model_.eval();  // until train()
  }

  void train() { model_.train(); }

  double step(std::size_t batch) {
    adam_.zero_grad();
    const Tensor loss =
        translator_.training_loss(batches_[batch], options_.label_smoothing, Tensor());
    const auto value = loss.item<double>();
    loss.backward();
    gradient_norm_ = optim::clip_grad_norm(model_.parameters(), options_.clip);
    adam_.step();
    if (average_) average_->update(steps_);
    ++steps_;
    return value;
  }

  double pass() {
    double loss = 0;
    for (std::size_t i = 0; i < batches_.size(); ++i) loss = step(i);
    return loss;
  }

  double gradient_norm() const { return gradient_norm_; }  // of the last step, before clipping
  std::int64_t tokens() const { return tokens_of(batches_); }
  double gflop() const {
    const std::int64_t V = translator_.model().options().target_vocab;
    return options_.model == "rnn" ? gru_gflop(batches_, options_, V)
                                   : transformer_gflop(batches_, options_, V);
  }

 private:
  void write(const std::filesystem::path& path) {
    NamedTensors all;
    append(all, "start", model_.parameters());
    for (std::size_t i = 0; i < batches_.size(); ++i) {
      const std::string name = fmt::format("batch.{}", i);
      append(all, name,
             {{"source", batches_[i].source.tensor()},
              {"target_input", batches_[i].target_input.tensor()},
              {"target_output", batches_[i].target_output.tensor()}});
    }
    nlohmann::json settings = to_json(translator_.model().options());
    settings.update({{"lr", options_.lr},
                     {"beta2", options_.beta2},
                     {"clip", options_.clip},
                     {"label_smoothing", options_.label_smoothing},
                     {"average", average_.has_value()},
                     {"batches", batches_.size()},
                     {"checked_steps", checked_steps}});
    save(path, all, {{"settings", settings.dump()}});
  }

  Options options_;
  Rng rng_{1};
  Corpus corpus_;
  const Tokenizer tokenizer_;
  Translator translator_;
  nn::Module& model_;
  optim::Adam adam_;
  std::optional<optim::WeightAverage> average_;
  Batches batches_;
  std::int64_t steps_ = 0;
  double gradient_norm_ = 0;
};

void run(benchmark::State& state, const Case& c, const std::filesystem::path& exchange) {
  Trainer trainer(c, exchange);
  for (int i = 1; i <= checked_steps; ++i) {
    state.counters["loss_" + std::to_string(i)] = trainer.step(static_cast<std::size_t>(i - 1));
    if (i == 1) state.counters["result_gradient"] = trainer.gradient_norm();
  }
  trainer.train();
  state.counters["tokens"] = static_cast<double>(trainer.tokens());
  bench::time(state, trainer.gflop(), [&] { benchmark::DoNotOptimize(trainer.pass()); });
}

int measure(int argc, char** argv) {
  CLI::App app{"Training as translate does it; other flags are Google Benchmark's"};
  std::filesystem::path folder, bpe, exchange;
  app.add_option("--data", folder, "directory of Multi30k")->required();
  app.add_option("--bpe", bpe, "merges for the Transformer [DIR/bpe10k.en-de.codes]");
  app.add_option("--exchange", exchange,
                 "directory of weights and batches for the peer; created if missing")
      ->required();
  app.allow_extras();
  CLI11_PARSE(app, argc, argv);
  std::vector<std::string> rest = app.remaining();
  rest.insert(rest.begin(), argv[0]);
  std::vector<char*> flags;
  for (std::string& flag : rest) flags.push_back(flag.data());
  int count = static_cast<int>(flags.size());

  for (const Case& c : cases_of(folder, bpe))
    bench::add(std::string("translate_train/") + c.name,
               [c, exchange](benchmark::State& state) { run(state, c, exchange); });
  bench::register_sgemm();
  benchmark::Initialize(&count, flags.data());
  if (benchmark::ReportUnrecognizedArguments(count, flags.data())) return 1;
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("translate_train", [&] { return measure(argc, argv); });
}
