#include "options.h"

#include <fovea/core/threads.h>
#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/output.h>
#include <fovea/nn/attention/weights.h>
#include <fovea/nn/seq2seq.h>

#include <limits>

#include "corpus.h"
#include <fmt/format.h>

namespace {

using support::Group;
using support::Rule;
namespace ranges = support::ranges;

void add_data_options(support::CommandLine& line, Options& o) {
  Group group(line, "Data");
  group.file("--data", o.data, "DIR",
             "directory of parallel text, one sentence per line, words separated by\n"
             "spaces: {train,val,test_2016_flickr}.lc.norm.tok.LANG or\n"
             "{train,val,test}.LANG");
  group.text("--source", o.task.source, "LANG", "source language");
  group.text("--target", o.task.target, "LANG", "target language");
  group.file("--bpe", o.bpe, "FILE",
             "byte-pair encoding with the merges of this file (subword-nmt codes);\n"
             "both languages share the merges and one vocabulary");
  group.number("--bpe-merges", o.bpe_merges, {1, 1'000'000}, "N",
               "byte-pair encoding with N merges learned from the training text");
  group.number("--min-count", o.min_count, ranges::count, "N",
               "words with fewer occurrences become <unk> [2; with BPE: 1]");
  group.number("--max-vocab", o.max_vocab, ranges::vocab, "N",
               "maximum vocabulary size [8000; with BPE: no limit]");
  group.number("--seed", o.task.seed, ranges::seed, "N", "random seed");
}

void add_model_options(support::CommandLine& line, Options& o) {
  Group group(line, "Model");
  group.choice("--model", o.model, {"rnn", "transformer"}, "KIND",
               "rnn (Bahdanau 2015) or transformer (Vaswani 2017)");
  group.number("--embed", o.embed, ranges::width, "N",
               "embedding width; transformer: model width\n"
               "[rnn: 32 for dates, 256 for text; transformer: 64, 128]");
  group.number("--dropout", o.dropout, ranges::probability, "P",
               "dropout probability [0 for dates, 0.3 for text]");
  group.choice("--attention", o.attention, fovea::nn::attention_names(), "NAME",
               fmt::format("attention mechanism of the rnn: {}",
                           fmt::join(fovea::nn::attention_names(), ", ")));
  group.choice("--attention-weights", o.attention_weights, fovea::nn::normalizer_names(), "KIND",
               fmt::format("weights from the scores of the rnn's attention: {}",
                           fmt::join(fovea::nn::normalizer_names(), ", ")));
  group.flag("--coverage", o.coverage,
             "additive attention receives the sum of its previous weights\n"
             "as input (coverage)");
  group.flag("--input-feeding", o.input_feeding,
             "the rnn's decoder receives the previous attentional hidden state\n"
             "as input (Luong 2015)");
  group.number("--hidden", o.hidden, ranges::width, "N",
               "hidden size of the rnn [64 for dates, 256 for text]");
  group.number("--layers", o.layers, ranges::layers, "N",
               "layers of encoder and of decoder, each [2 for dates, 4 for text]");
  group.number("--heads", o.heads, ranges::heads, "N",
               "attention heads, transformer and multihead [4]");
  group.number("--ffn", o.ffn, ranges::width, "N",
               "hidden width of the feed-forward layers [128 for dates, 256 for text]");
  group.number("--attention-dropout", o.attention_dropout, ranges::probability, "P",
               "dropout probability of attention weights");
}

void add_training_options(support::CommandLine& line, Options& o) {
  Group group(line, "Training");
  group.number("--epochs", o.epochs, ranges::epochs, "N",
               "passes over the training data\n"
               "[rnn: 3 for dates, 15 for text; transformer: 6, 120]");
  group.number("--max-seconds", o.max_seconds, ranges::seconds, "S",
               "stop training after S seconds, all runs together [no limit]");
  group.number("--batch", o.batch, ranges::batch, "N",
               "sentences per batch [64; transformer on text: --batch-tokens]");
  group.number("--batch-tokens", o.batch_tokens, ranges::count, "N",
               "alternative to --batch: maximum tokens per batch, with padding [2048]");
  group.number("--lr", o.lr, ranges::rate, "X",
               "peak learning rate\n"
               "[rnn: 4e-3 for dates, 1e-3 for text; transformer: 3e-3]");
  group.choice("--schedule", o.schedule, {"cosine", "inverse-sqrt"}, "NAME",
               "decay of the learning rate [cosine; transformer on text: inverse-sqrt]");
  group.number("--warmup", o.warmup, ranges::count_or_none, "N",
               "warm-up steps of the learning rate\n"
               "[rnn: 0; transformer: 100 for dates, 2000 for text]");
  group.number("--average", o.average, {0, ranges::epochs.max}, "N",
               "validate and save a moving average of the weights over about N\n"
               "epochs; 0: off [transformer on text: 10]");
  group.number("--label-smoothing", o.label_smoothing, ranges::probability, "E",
               "target probability of other tokens [0 for dates, 0.1 for text]");
  group.number("--clip", o.clip, ranges::weight, "X", "maximum gradient norm; 0: no clipping");
  group.file("--save", o.save, "FILE",
             "write the best model to FILE [TASK.safetensors], and the\n"
             "checkpoint for --resume to FILE.last, also after Ctrl-C. Existing\n"
             "files are renamed to *.old, *.old.2, ...");
  group.flag("--resume", o.resume, "continue from FILE.last");
  group.number("--save-every", o.save_every, ranges::seconds_or_none, "S",
               "maximum seconds between two writes of FILE.last");
  group.file("--log", o.log, "FILE", "write one row per validation: CSV for .csv, else JSON lines");
  group.file("--curve", o.curve, "FILE", "write the learning curve as SVG [curve.svg]");
  group.file("--profile", o.profile, "FILE",
             "profile some training steps: print a table at the end of training,\n"
             "and write a trace (JSON) for ui.perfetto.dev");
  support::add_memory_options(group, o.memory);
  group.flag("--smoke", o.smoke, "a few seconds of training; fails if the loss is too high");
  group.number("--coverage-loss", o.coverage_loss, ranges::weight, "X",
               "weight of the coverage loss (See 2017)");
  group.file("--guided-alignment", o.guided_alignment, "FILE",
             "train the attention weights with these alignments (Chen 2016): one\n"
             "line per training pair with links SOURCE-TARGET, token indices from 0");
  group.flag("--recompute", o.recompute,
             "encoder of the rnn: save less for backward and recompute it: less\n"
             "memory, more time, the same results");
  group.number("--guided-weight", o.guided_weight, ranges::weight, "X",
               "weight of the guided-alignment loss");
}

void add_use_options(support::CommandLine& line, Options& o) {
  Group group(line, "Use");
  group.files("--load", o.load, "FILE",
              "load a model instead of training one; repeated: an ensemble,\n"
              "whose probabilities are the mean over the models");
  group.texts("--text", o.text, "LINE", "translate this line; can be repeated");
  group.file("--input", o.input, "FILE", "translate each line of this file; -: standard input");
  group.file("--output", o.output, "FILE",
             "write the translations of --input to this file [standard output]");
  group.file("--target-text", o.target_text, "FILE",
             "given translations of --input for --align (forced decoding),\n"
             "line by line");
  group.file("--align", o.align, "FILE",
             "write the largest weight of each target token as links SOURCE-TARGET:\n"
             "for --input and --target-text, for --input or --text and their\n"
             "translations, or for the test set");
  group.file("--align-weights", o.align_weights, "FILE",
             "the same with all weights, one JSON object per line");
  group.file("--heatmap", o.heatmap, "FILE",
             "write the attention weights as SVG [attention.svg after training],\n"
             "for the first line of --text, --input or the test set");
  group.file("--report", o.report, "FILE",
             "write the attention weights of every layer as an interactive HTML\n"
             "page, for the first lines of --text, --input or the test set");
  group.file("--json", o.json, "FILE", "write all final metrics as JSON");
  group.number("--beam", o.beam, ranges::beam, "N",
               "beam size; 1: greedy [1 for dates, 5 for text]");
  group.number("--length-penalty", o.length_penalty, {0, 10}, "X", "divide log p by length^X");
  group.number("--max-length", o.max_length, ranges::length, "N",
               "maximum tokens of a source line (the rest is ignored) and of a\n"
               "translation, which also has at most 2 S + 12 tokens for S source tokens");
  group.number("--n-best", o.n_best, ranges::beam, "N",
               "print N translations of each line, with line number and score");
  group.flag("--keep-unknown", o.keep_unknown,
             "print <unk> instead of the source word with the largest weight");
  group.number("--threads", o.threads, ranges::threads, "N",
               "[1 for dates, one per processor for text]; the results do not depend on it");
}

// All rules about options that have no effect in combination with others.
std::vector<Rule> rules_of(const Options& o) {
  const bool rnn = o.model == "rnn";
  const bool attends = !(o.trains() && rnn && o.attention == "none");
  const bool forced = !o.target_text.empty();
  const bool translates = !o.text.empty() || (!o.input.empty() && !forced);
  const bool measures = o.trains() || !o.data.empty() || (o.text.empty() && o.input.empty());
  return {
      {o.trains(), "only without --load, which does not train",
       "--source --target --bpe --bpe-merges --min-count --max-vocab --seed "
       "--model --embed --dropout --attention --attention-weights --coverage --input-feeding "
       "--hidden --layers --heads --ffn --attention-dropout "
       "--epochs --max-seconds --batch --batch-tokens --lr --schedule --warmup --average "
       "--label-smoothing --clip --save --resume --save-every --log --curve --profile --dry-run "
       "--memory-limit "
       "--smoke --coverage-loss --guided-alignment --recompute --guided-weight"},
      {!o.data.empty(), "only with --data: dates have no languages and are split into characters",
       "--source --target --bpe --bpe-merges"},
      {o.bpe.empty(), "only without --bpe", "--bpe-merges"},
      {rnn, "only with --model rnn",
       "--attention --attention-weights --coverage --input-feeding --hidden --coverage-loss "
       "--guided-alignment --guided-weight --recompute"},
      {!rnn, "only with --model transformer", "--layers --ffn --attention-dropout"},
      {!rnn || o.attention == "multihead",
       "only with --model transformer and --attention multihead", "--heads"},
      {attends, "not with --attention none, which has no weights",
       "--attention-weights --coverage-loss --guided-alignment --guided-weight --align "
       "--align-weights --heatmap --report --keep-unknown"},
      {o.attention == "additive", "only with --attention additive", "--coverage"},
      {!o.guided_alignment.empty(), "only with --guided-alignment", "--guided-weight"},
      {o.batch == 0, "only without --batch", "--batch-tokens"},
      {!o.smoke || !o.save.empty(), "with --smoke only with --save: otherwise nothing is saved",
       "--resume --save-every"},
      {!o.memory.dry_run, "only without --dry-run, which does not train",
       "--text --input --output --target-text --align --align-weights --heatmap --report --json "
       "--beam --length-penalty --max-length --n-best --keep-unknown "
       "--save --resume --save-every --log --curve --profile"},
      {!o.input.empty(), "only with --input", "--output --target-text"},
      {!forced, "only without --target-text", "--output"},
      {o.aligns(), "only with --align or --align-weights", "--target-text"},
      {translates || measures || o.draws(), "only if something is translated",
       "--beam --length-penalty --keep-unknown --max-length"},
      {translates, "only with lines to translate, from --text or --input", "--n-best"},
      {o.beam != 1, "only with a --beam above 1", "--length-penalty"},
      {o.load.size() <= 1, "only with one --load: it shows one model", "--report"}};
}

void check_values(const Options& o) {
  if (o.beam > 0 && o.beam < o.n_best)
    throw CLI::ValidationError(
        fmt::format("--n-best {}: must be at most --beam {}", o.n_best, o.beam));
  if (o.align == "-" || o.align_weights == "-")
    throw CLI::ValidationError(
        "--align, --align-weights: must be a file: standard output is for the translations");
  if (o.input == "-" && o.target_text == "-")
    throw CLI::ValidationError(
        "--input -, --target-text -: only one of them can be standard input");
}

}  // namespace

void declare_options(support::CommandLine& line, Options& o) {
  add_data_options(line, o);
  add_model_options(line, o);
  add_training_options(line, o);
  add_use_options(line, o);
  line.rules = [&o] { return rules_of(o); };
  line.check_values = [&o] { check_values(o); };
}

Options parse_options(int argc, char** argv) {
  Options o;
  support::CommandLine line(
      "Trains a translation model: a GRU encoder-decoder with or without attention, or a\n"
      "Transformer. Without options, it translates human dates to ISO dates (some seconds).\n\n"
      "  translate --data DIR --source de --target en --save model.safetensors\n"
      "  translate --load model.safetensors --input de.txt --output en.txt\n"
      "  translate --load model.safetensors --text 'ein hund .'\n"
      "  translate --load model.safetensors --input de.txt --target-text en.txt --align links.txt");
  declare_options(line, o);
  line.parse_or_exit(argc, argv);
  o.task.dates = o.data.empty();
  o.resume_command = support::resume_command(argc, argv);
  return o;
}

namespace {

// Defaults for each kind of model and of task.
struct Defaults {
  std::int64_t embed, epochs;
  double lr;
  std::int64_t hidden = 0, layers = 0, heads = 0, ffn = 0;
  std::int64_t batch = 64, batch_tokens = 0;
  std::int64_t warmup = 0, average = 0;
  double beta2 = 0.999;
  const char* schedule = "cosine";
};

Defaults defaults_of(const std::string& model, bool dates) {
  if (model == "rnn")
    return dates ? Defaults{.embed = 32, .epochs = 3, .lr = 4e-3, .hidden = 64, .heads = 4}
                 : Defaults{.embed = 256, .epochs = 15, .lr = 1e-3, .hidden = 256, .heads = 4};
  Defaults d{.embed = 64, .epochs = 6, .lr = 3e-3, .layers = 2, .heads = 4, .ffn = 128};
  d.beta2 = 0.98;  // as in Vaswani et al. 2017, section 5.3
  d.warmup = 100;
  if (dates) return d;
  // Wu et al. 2021, Good for Misconceived Reasons: Transformer-Tiny for Multi30k, but with half the
  // batch size, whose logits are faster to compute, and a matching learning rate.
  return {.embed = 128,
          .epochs = 120,
          .lr = 3e-3,
          .layers = 4,
          .heads = 4,
          .ffn = 256,
          .batch = 0,
          .batch_tokens = 2048,
          .warmup = 2000,
          .average = 10,
          .beta2 = d.beta2,
          .schedule = "inverse-sqrt"};
}

std::string default_name(const Options& o) {
  std::string kind = o.model != "rnn"            ? "-" + o.model
                     : o.attention != "additive" ? "-" + o.attention
                                                 : "";
  if (o.coverage) kind += "-coverage";
  if (o.input_feeding) kind += "-feeding";
  return o.task.name() + kind + ".safetensors";
}

template <class T>
void fill(T& value, T standard) {
  if (value <= T(0)) value = standard;
}

}  // namespace

// Options given on the command line do not change.
void fill_defaults(Options& o) {
  const bool dates = o.task.dates;
  const Defaults d = defaults_of(o.model, dates);
  fill(o.embed, d.embed);
  fill(o.hidden, d.hidden);
  fill(o.layers, d.layers);
  fill(o.heads, d.heads);
  fill(o.ffn, d.ffn);
  fill(o.epochs, d.epochs);
  fill(o.lr, d.lr);
  fill(o.beta2, d.beta2);
  if (o.schedule.empty()) o.schedule = d.schedule;
  if (o.batch == 0 && o.batch_tokens == 0) o.batch = d.batch, o.batch_tokens = d.batch_tokens;
  const bool words = !dates && o.bpe.empty() && o.bpe_merges == 0;
  fill<std::int64_t>(o.min_count, words ? 2 : 1);
  fill(o.max_vocab, words ? 8000 : std::numeric_limits<std::int64_t>::max());
  fill(o.beam, std::max<std::int64_t>(dates ? 1 : 5, o.n_best));
  if (o.beam == 1 && o.length_penalty != Options().length_penalty)
    fovea::value_error("--length-penalty", "only with a --beam above 1");
  // Steps of the dates task are too small for more than one thread.
  if (o.threads == 0) o.threads = dates ? 1 : fovea::num_threads();
  // 0 is a valid value of these options.
  if (o.warmup < 0) o.warmup = d.warmup;
  if (o.average < 0) o.average = d.average;
  if (o.dropout < 0) o.dropout = dates ? 0.0 : 0.3;
  if (o.label_smoothing < 0) o.label_smoothing = dates ? 0.0 : 0.1;
  if (!o.trains() || o.smoke) return;
  const bool attends = o.model == "transformer" || o.attention != "none";
  if (o.save.empty()) o.save = default_name(o);
  if (o.curve.empty()) o.curve = "curve.svg";
  if (o.heatmap.empty() && attends) o.heatmap = "attention.svg";
}

void check_outputs(const Options& o) {
  support::NamedPaths outputs = support::outputs_of_training(o.save, o.last());
  outputs.insert(outputs.end(), {{"--log", o.log},
                                 {"--curve", o.curve},
                                 {"--profile", o.profile},
                                 {"--output", o.output},
                                 {"--align", o.align},
                                 {"--align-weights", o.align_weights},
                                 {"--heatmap", o.heatmap},
                                 {"--report", o.report},
                                 {"--json", o.json}});
  support::NamedPaths inputs{{"--input", o.input},
                             {"--target-text", o.target_text},
                             {"--bpe", o.bpe},
                             {"--guided-alignment", o.guided_alignment}};
  if (o.trains() && !o.resume)
    for (const support::NamedPath& earlier : support::names_of_earlier(o.save, o.last()))
      inputs.push_back(earlier);
  for (const std::filesystem::path& model : o.load)
    for (const support::NamedPath& file : support::files_of_model(model)) inputs.push_back(file);
  for (const std::filesystem::path& path : corpus_files(o)) inputs.push_back({"--data", path});
  support::check_outputs(outputs, inputs);
}
