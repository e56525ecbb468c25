#include "options.h"

#include <fovea/core/error.h>
#include <fovea/core/threads.h>
#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/output.h>

#include <fmt/format.h>

namespace {

using support::Group;
using support::Rule;
namespace ranges = support::ranges;

void add_model_options(support::CommandLine& line, Options& o) {
  Group group(line, "Model");
  ModelOptions& m = o.model;
  group.text("--model", m.model, "KIND",
             "bow: bag of words and bigrams;\n"
             "rnn, gru, lstm: recurrent; birnn, bigru, bilstm: bidirectional; these\n"
             "  alone or, for example bilstm+dot, with\n"
             "  +additive, +dot: attention pooling, additive or by dot product,\n"
             "  +selfattention: a self-attention layer over the hidden states;\n"
             "selfattention: one layer; transformer");
  group.text("--pooling", m.pooling, "KIND",
             "pooling of a sentence's hidden states: last (recurrent: the last state of\n"
             "each direction), mean, max, or attention with a learned query, additive\n"
             "except with +dot [last for recurrent alone, attention with + and for\n"
             "selfattention, else mean]");
  group.number("--embed", m.embed, ranges::width, "N",
               "embedding width; the default of this and the following options\n"
               "depends on model and data");
  group.number("--hidden", m.hidden, ranges::width, "N",
               "recurrent: hidden size per direction; transformer: feed-forward width");
  group.number("--layers", m.layers, ranges::layers, "N",
               "number of layers, recurrent and transformer");
  group.number("--heads", m.heads, ranges::heads, "N",
               "number of heads, selfattention, +selfattention and transformer");
  group.number("--dropout", m.dropout, ranges::probability, "P", "dropout probability");
  group.number("--min-count", o.min_count, ranges::count, "N",
               "words with fewer occurrences become <unk>");
}

void add_training_options(support::CommandLine& line, Options& o) {
  Group group(line, "Training");
  group.number("--epochs", o.epochs, ranges::epochs, "N", "passes over the training data");
  group.number("--max-seconds", o.max_seconds, ranges::seconds, "S",
               "stop training after S seconds, all runs together [no limit]");
  group.number("--patience", o.patience, ranges::count, "N",
               "stop after N validations without improvement [no limit]");
  group.number("--batch", o.batch, ranges::batch, "N", "sentences per batch");
  group.number("--lr", o.lr, ranges::rate, "X", "peak learning rate");
  group.number("--weight-decay", o.weight_decay, {0, 1000}, "X", "weight decay of AdamW");
  group.number("--word-dropout", o.word_dropout, ranges::probability, "P",
               "probability that a word becomes <unk>");
  group.number("--label-smoothing", o.label_smoothing, ranges::probability, "E",
               "target probability of the other label");
  group.number("--average", o.average, {0, 0.99999}, "D",
               "decay of the weight average per step; 0: no averaging");
  group.number("--clip", o.clip, ranges::weight, "X", "maximum gradient norm; 0: no clipping");
  group.number("--seed", o.seed, ranges::seed, "N", "random seed");
  group.file("--save", o.save, "FILE",
             "write the best model to FILE [DATA-MODEL.safetensors], and the\n"
             "checkpoint for --resume to FILE.last, also after Ctrl-C. Existing\n"
             "files are renamed to *.old, *.old.2, ...");
  group.flag("--resume", o.resume, "continue from FILE.last");
  group.number("--save-every", o.save_every, ranges::seconds_or_none, "S",
               "maximum seconds between two writes of FILE.last");
  group.file("--log", o.log, "FILE", "write one row per validation: CSV for .csv, else JSON lines");
  group.file("--curve", o.curve, "FILE", "write the learning curve as SVG");
  group.file("--profile", o.profile, "FILE",
             "profile some training steps: print a table at the end of training,\n"
             "and write a trace (JSON) for ui.perfetto.dev");
  group.flag("--recompute", o.model.recompute,
             "recurrent: save less for backward and recompute it: less memory,\n"
             "more time, the same results");
  support::add_memory_options(group, o.memory);
  group.flag("--smoke", o.smoke, "a few seconds of training; fails if the accuracy is too low");
}

void add_use_options(support::CommandLine& line, Options& o) {
  Group group(line, "Use");
  group.file("--load", o.load, "FILE", "load a model instead of training one");
  group.texts("--text", o.text, "LINE", "classify this line; can be repeated");
  group.file("--input", o.input, "FILE", "classify each line of this file; -: standard input");
  group.file(
      "--output", o.output, "FILE",
      "write the probability of a positive review for each line of --input [standard output]");
  group.file("--report", o.report, "FILE",
             "write an HTML page with the contribution of each word and the\n"
             "attention weights, for the lines of --text and --input, or for\n"
             "test sentences");
  group.file("--json", o.json, "FILE", "write all final metrics as JSON");
  group.number("--threads", o.threads, ranges::threads, "N",
               "[1 for built-in reviews, else one per processor]; the results do not depend on it");
}

// All rules about options that have no effect in combination with others.
std::vector<Rule> rules_of(const Options& o) {
  const ModelParts parts = parts_of(o.model.model);
  const bool layered = parts.recurrent() || parts.base == Base::transformer;
  const bool heads = parts.base == Base::selfattention || parts.base == Base::transformer ||
                     parts.head == Head::selfattention;
  return {{o.trains(), "only without --load, which does not train",
           "--phrases --model --pooling --embed --hidden --layers --heads --dropout --min-count "
           "--epochs --max-seconds --patience --batch --lr --weight-decay --word-dropout "
           "--label-smoothing --average --clip --seed --save --resume --save-every --log --curve "
           "--profile "
           "--recompute --dry-run --memory-limit --smoke"},
          {!o.data.empty(), "only with --data DIR: phrases are part of SST-2", "--phrases"},
          {layered, "only with recurrent models and transformer", "--hidden --layers"},
          {heads, "only with selfattention, +selfattention and transformer", "--heads"},
          {parts.recurrent(), "only with recurrent models", "--recompute"},
          {!o.smoke || !o.save.empty(), "with --smoke only with --save: otherwise nothing is saved",
           "--resume --save-every"},
          {!o.memory.dry_run, "only without --dry-run, which does not train",
           "--text --input --output --report --json --save --resume --save-every --log --curve "
           "--profile"},
          {!o.input.empty(), "only with --input", "--output"}};
}

// Checks --model and --pooling.
void check_values(const Options& o) {
  const ModelOptions& m = o.model;
  try {
    pool_by(m.model, m.pooling.empty() ? default_pooling(parts_of(m.model)) : m.pooling);
  } catch (const fovea::ValueError& error) {
    throw CLI::ValidationError(std::string("--") + error.what());
  }
}

// Defaults per model, chosen by validation: the built-in reviews are few, SST-2 is large.
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

void declare_options(support::CommandLine& line, Options& o) {
  Group data(line, "Data");
  data.file(
      "--data", o.data, "DIR",
      "directory of SST-2: train.tsv and dev.tsv, lines SENTENCE<TAB>0 or 1 [built-in reviews]");
  data.flag("--phrases", o.phrases, "also train on DIR/train_phrases.tsv.gz");
  add_model_options(line, o);
  add_training_options(line, o);
  add_use_options(line, o);
  line.rules = [&o] { return rules_of(o); };
  line.check_values = [&o] { check_values(o); };
}

Options parse_options(int argc, char** argv) {
  Options o;
  support::CommandLine line(
      "Trains a sentiment classifier for reviews, and shows the contribution of each word.\n"
      "Without options, it trains on a small built-in set of reviews (some seconds).\n\n"
      "  sentiment --model transformer\n"
      "  sentiment --data DIR --phrases --model bilstm+additive --save model.safetensors\n"
      "  sentiment --load model.safetensors --text 'not bad at all'\n"
      "  sentiment --load model.safetensors --input lines.txt --output probabilities.txt");
  declare_options(line, o);
  line.parse_or_exit(argc, argv);
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
    if (value < 0) value = standard;  // here 0 is a valid value
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
  if (m.pooling.empty()) m.pooling = default_pooling(parts);
  // With attention pooling, weights of bigrams could not be shown as weights of words.
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
  support::NamedPaths inputs{{"--input", o.input}};
  for (const support::NamedPath& file : support::files_of_model(o.load)) inputs.push_back(file);
  if (o.trains() && !o.resume)
    for (const support::NamedPath& earlier : support::names_of_earlier(o.save, o.last()))
      inputs.push_back(earlier);
  if (!o.data.empty())
    for (const char* name : {"train.tsv", "train_phrases.tsv.gz", "dev.tsv"})
      inputs.push_back({"--data", o.data / name});
  support::check_outputs(outputs, inputs);
}
