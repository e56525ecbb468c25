#include "options.h"

#include <fovea/core/error.h>
#include <fovea/core/threads.h>
#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/output.h>

#include <fmt/format.h>

namespace {

using support::above_zero;
using support::Group;

// What no program can build, in words; empty if all is well.
std::string wrong_model(const ModelOptions& m) {
  try {
    const ModelParts parts = parts_of(m.model);
    pool_by(m.model, m.pooling.empty() ? usual_pooling(parts) : m.pooling);
  } catch (const fovea::ValueError& error) {
    return error.what();
  }
  return "";
}

// What a model has no use for is refused.
void check_use(const ModelOptions& m) {
  const ModelParts parts = parts_of(m.model);
  const bool layered = parts.recurrent() || parts.base == Base::transformer;
  const bool heads = parts.base == Base::selfattention || parts.base == Base::transformer ||
                     parts.behind == Behind::selfattention;
  if (m.hidden > 0 && !layered)
    throw CLI::ValidationError("--hidden: for recurrent models and transformer");
  if (m.recompute && !parts.recurrent())
    throw CLI::ValidationError("--recompute: for recurrent models");
  if (m.layers > 0 && !layered)
    throw CLI::ValidationError("--layers: for recurrent models and transformer");
  if (m.heads > 0 && !heads)
    throw CLI::ValidationError("--heads: for selfattention, +selfattention and transformer");
}

// The whole command line: what is read, and what does not follow from one option alone.
class CommandLine {
 public:
  CommandLine(CLI::App& app, Options& o)
      : o_(o),
        data_(app, "Data"),
        text_(app, "Data"),
        model_(app, "Model"),
        training_(app, "Training"),
        use_(app, "Use") {
    add_data_options();
    add_model_options();
    add_training_options();
    add_use_options();
  }

  void check_together() const {
    if (!o_.trains())
      support::refuse({&text_, &model_, &training_}, "is for training, and --load trains nothing");
    if (o_.phrases && o_.data.empty())
      throw CLI::ValidationError("--phrases are SST-2's: they need --data DIR");
    if (const std::string wrong = wrong_model(o_.model); !wrong.empty())
      throw CLI::ValidationError("--" + wrong);
    check_use(o_.model);
  }

 private:
  void add_data_options() {
    data_.add("--data", o_.data, "DIR",
              "SST-2: train.tsv and dev.tsv, a line SENTENCE<TAB>0 or 1 [built-in reviews]");
    text_.flag("--phrases", o_.phrases, "learn from DIR/train_phrases.tsv.gz too");
  }

  void add_model_options() {
    ModelOptions& m = o_.model;
    model_.add("--model", m.model, "KIND=" + m.model,
               "bow: words and pairs of neighbours;\n"
               "rnn, gru, lstm: recurrent; birnn, bigru, bilstm: both directions; these\n"
               "  alone, or as in bilstm+dot with\n"
               "  +additive, +dot: pooled by attention, additive or by dot products,\n"
               "  +selfattention: a layer of self-attention over the states;\n"
               "selfattention: one layer; transformer");
    model_.add("--pooling", m.pooling, "KIND",
               "of a sentence's states to one: last (recurrent: where each direction ends),\n"
               "mean, max, or attention by a learned query, additive but for +dot [last for\n"
               "recurrent alone, attention behind + and for selfattention, else mean]");
    model_.add("--embed", m.embed, "N", "embedding width; this and the rest: by model and data")
        ->check(above_zero);
    model_
        .add("--hidden", m.hidden, "N",
             "recurrent: state width, each direction; transformer: feed-forward")
        ->check(above_zero);
    model_.add("--layers", m.layers, "N", "recurrent and transformer")->check(above_zero);
    model_.add("--heads", m.heads, "N", "selfattention, +selfattention and transformer")
        ->check(above_zero);
    model_.add("--dropout", m.dropout, "P", "probability")->check(CLI::Range(0.0, 0.9));
    model_.add("--min-count", o_.min_count, fmt::format("N={}", o_.min_count),
               "rarer words become <unk>");
  }

  void add_training_options() {
    training_.add("--epochs", o_.epochs, "N", "passes over the training data")->check(above_zero);
    training_
        .add("--max-seconds", o_.max_seconds, "S",
             "end training after so long, all runs together [no limit]")
        ->check(above_zero);
    training_
        .add("--patience", o_.patience, "N",
             "validations without a better one, then end [any number]")
        ->check(above_zero);
    training_.add("--batch", o_.batch, "N", "sentences in a batch")->check(above_zero);
    training_.add("--lr", o_.lr, "X", "learning rate at its highest")->check(above_zero);
    training_.add("--weight-decay", o_.weight_decay, "X", "AdamW's")->check(CLI::Range(0.0, 1e3));
    training_.add("--word-dropout", o_.word_dropout, "P", "words that become <unk>")
        ->check(CLI::Range(0.0, 0.9));
    training_.add("--label-smoothing", o_.label_smoothing, "E", "")->check(CLI::Range(0.0, 0.9));
    training_
        .add("--average", o_.average, "D", "averaged weights: share of the old, each step; 0: none")
        ->check(CLI::Range(0.0, 0.99999));
    training_.add("--clip", o_.clip, fmt::format("X={}", o_.clip), "gradient norm at most; 0: any")
        ->check(CLI::Range(0.0, 1e9));
    training_.add("--seed", o_.seed, fmt::format("N={}", o_.seed), "of everything random");
    training_.add("--save", o_.save, "FILE",
                  "the best model goes here [DATA-MODEL.safetensors]; all that\n"
                  "going on needs is in FILE.last, also after Ctrl-C");
    training_.flag("--resume", o_.resume, "go on from FILE.last");
    training_.add("--log", o_.log, "FILE", "a row a validation: .csv, or JSON lines");
    training_.add("--curve", o_.curve, "FILE", "how it learned, as SVG");
    training_.add("--profile", o_.profile, "FILE",
                  "where the time of some steps goes: a table at the end of training,\n"
                  "and a trace (JSON) for ui.perfetto.dev");
    training_.flag("--recompute", o_.model.recompute,
                   "a recurrent net keeps less for the backward, and computes it\n"
                   "again: less memory, more time, the same results");
    support::add_memory_options(training_, o_.memory);
    training_.flag("--smoke", o_.smoke, "a few seconds of training; fails unless it learned");
  }

  void add_use_options() {
    use_.add("--load", o_.load, "FILE", "use this model instead of training one");
    use_.add("--text", o_.text, "LINE", "judge this line; may be given again")
        ->allow_extra_args(false);
    use_.add("--input", o_.input, "FILE", "judge this file, line by line; -: standard input");
    use_.add("--output", o_.output, "FILE",
             "a probability of praise for each line of it [standard output]")
        ->needs("--input");
    use_.add("--report", o_.report, "FILE",
             "a page to explore: which words decided, and where attention looked;\n"
             "of the lines of --text and --input, or of test sentences");
    use_.add("--json", o_.json, "FILE", "every final figure");
    use_.add("--threads", o_.threads, "N",
             "[1 for built-in reviews, else one a processor]; any gives the same results")
        ->check(above_zero);
  }

  Options& o_;
  Group data_, text_, model_, training_, use_;
};

// What suits a model: the built-in reviews are few, SST-2 is not. Found by validation.
struct Defaults {
  std::int64_t embed, hidden, layers, heads, epochs, batch;
  double lr, dropout, weight_decay, word_dropout, label_smoothing, average;
};

Defaults defaults_for_reviews(const ModelOptions& m) {
  Defaults d{.embed = 32,
             .hidden = 32,
             .layers = 1,
             .heads = 2,
             .epochs = 60,
             .batch = 16,
             .lr = 3e-3,
             .dropout = 0.1,
             .weight_decay = 0.01,
             .word_dropout = 0,
             .label_smoothing = 0,
             .average = 0.99};
  const ModelParts parts = parts_of(m.model);
  if (parts.base == Base::bow) {
    d.embed = 128;
    d.lr = 1e-2;
    d.dropout = 0.5;
    d.word_dropout = 0.05;
  } else if (parts.recurrent()) {
    d.embed = d.hidden = 128;
    d.lr = 5e-3;
    d.dropout = 0.5;
  } else if (parts.base == Base::selfattention) {
    d.heads = 1;
    d.lr = 5e-3;
  }
  return d;
}

Defaults defaults_for_files(const ModelOptions& m, bool phrases) {
  Defaults d{.embed = 128,
             .hidden = 192,
             .layers = 1,
             .heads = 4,
             .epochs = phrases ? 4 : 12,
             .batch = phrases ? 128 : 64,
             .lr = 1e-3,
             .dropout = 0.5,
             .weight_decay = 0.01,
             .word_dropout = 0.2,
             .label_smoothing = 0.1,
             .average = 0.999};
  const ModelParts parts = parts_of(m.model);
  if (parts.base == Base::bow) {
    d.embed = 64;
    d.lr = 3e-3;
    d.word_dropout = 0.3;
    d.label_smoothing = 0;
    d.epochs += 2;
    d.batch *= 2;
  } else if (parts.recurrent()) {
    d.batch = 64;
  } else if (parts.base == Base::transformer) {
    d.epochs = phrases ? 3 : 12;
    d.hidden = 256;
    d.layers = 2;
    d.lr = 2e-3;
    d.dropout = 0.2;
    d.word_dropout = 0.1;
  }
  return d;
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Learns whether a review praises, and shows which words decided.\n"
      "With no options: a small built-in set of reviews; some seconds.\n\n"
      "  sentiment --model transformer\n"
      "  sentiment --data DIR --phrases --model bilstm+additive --save model.safetensors\n"
      "  sentiment --load model.safetensors --text 'not bad at all'\n"
      "  sentiment --load model.safetensors --input lines.txt --output probabilities.txt"};
  const CommandLine line(app, o);
  support::parse(app, argc, argv, [&] { line.check_together(); });
  o.resume_command = support::resume_command(argc, argv);
  return o;
}

void fill_defaults(Options& o) {
  ModelOptions& m = o.model;
  const Defaults d = o.data.empty() ? defaults_for_reviews(m) : defaults_for_files(m, o.phrases);
  const auto fill = [](auto& value, auto standard) {
    if (value <= 0) value = standard;
  };
  const auto fill_fraction = [](double& value, double standard) {
    if (value < 0) value = standard;  // here 0 is a choice
  };
  fill(m.embed, d.embed);
  fill(m.hidden, d.hidden);
  fill(m.layers, d.layers);
  fill(m.heads, d.heads);
  fill(o.epochs, d.epochs);
  fill(o.batch, d.batch);
  fill(o.lr, d.lr);
  fill_fraction(m.dropout, d.dropout);
  fill_fraction(o.weight_decay, d.weight_decay);
  fill_fraction(o.word_dropout, d.word_dropout);
  fill_fraction(o.label_smoothing, d.label_smoothing);
  fill_fraction(o.average, d.average);
  const ModelParts parts = parts_of(m.model);
  if (m.pooling.empty()) m.pooling = usual_pooling(parts);
  // Weights of pairs could not be shown as weights of words.
  m.bigrams = parts.base == Base::bow && m.pooling != "attention";
  if (o.threads == 0) o.threads = o.data.empty() ? 1 : fovea::num_threads();
  if (!o.trains() || o.smoke) return;
  if (o.save.empty()) o.save = o.task() + "-" + m.model + ".safetensors";
}

void check_outputs(const Options& o) {
  support::NamedPaths outputs = support::outputs_of_training(o.save, o.last());
  outputs.insert(outputs.end(), {{"--output", o.output},
                                 {"--json", o.json},
                                 {"--report", o.report},
                                 {"--log", o.log},
                                 {"--curve", o.curve},
                                 {"--profile", o.profile}});
  support::NamedPaths inputs{{"--load", o.load}, {"--input", o.input}};
  if (o.trains() && !o.resume)
    for (const support::NamedPath& earlier : support::names_of_earlier(o.save, o.last()))
      inputs.push_back(earlier);
  if (!o.data.empty())
    for (const char* name : {"train.tsv", "train_phrases.tsv.gz", "dev.tsv"})
      inputs.push_back({"--data", o.data / name});
  support::check_outputs(outputs, inputs);
}
