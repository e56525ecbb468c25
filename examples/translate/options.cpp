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

using support::above_zero;
using support::Group;

// A command line that mixes what does not go together is refused.
struct Groups {
  Group data, text, model, rnn, heads, transformer, training, looking, use;

  explicit Groups(CLI::App& app)
      : data(app, "Data"),
        text(app, "Data"),
        model(app, "Model"),
        rnn(app, "Model"),
        heads(app, "Model"),
        transformer(app, "Model"),
        training(app, "Training"),
        looking(app, "Training"),
        use(app, "Use") {}
};

void add_data_options(Groups& groups, Options& o) {
  groups.data.add("--data", o.data, "DIR",
                  "folder of parallel text, a sentence a line, words between blanks:\n"
                  "{train,val,test_2016_flickr}.lc.norm.tok.LANG or {train,val,test}.LANG");
  Group& group = groups.text;
  group.add_with_default("--source", o.task.source, "LANG", "translate from");
  group.add_with_default("--target", o.task.target, "LANG", "translate to");
  CLI::Option* bpe = group.add("--bpe", o.bpe, "FILE",
                               "pieces of words instead of words: subword-nmt's codes file;\n"
                               "both languages share the pieces, and one vocabulary");
  group.add("--bpe-merges", o.bpe_merges, "N", "the same, so many merges learned of the text")
      ->check(above_zero)
      ->excludes(bpe);
  group.add("--min-count", o.min_count, "N", "rarer words become <unk> [2; pieces: 1]")
      ->check(above_zero);
  group.add("--max-vocab", o.max_vocab, "N", "words at most in a vocabulary [8000; pieces: all]")
      ->check(above_zero);
  group.add_with_default("--seed", o.task.seed, "N", "of everything random");
}

void add_model_options(Groups& groups, Options& o) {
  Group& group = groups.model;
  group
      .add_with_default("--model", o.model, "KIND",
                        "rnn (Bahdanau 2015) or transformer (Vaswani 2017)")
      ->check(CLI::IsMember({"rnn", "transformer"}));
  group
      .add("--embed", o.embed, "N",
           "embedding width, and all of a transformer's\n"
           "[rnn: 32 for dates, 256 for text; transformer: 64, 128]")
      ->check(above_zero);
  group.add("--dropout", o.dropout, "P", "probability [0 for dates, 0.3 for text]")
      ->check(CLI::Range(0.0, 0.9));
  groups.rnn
      .add_with_default(
          "--attention", o.attention, "NAME",
          fmt::format("of the rnn: {}", fmt::join(fovea::nn::attention_names(), ", ")))
      ->check(CLI::IsMember(fovea::nn::attention_names()));
  groups.rnn
      .add_with_default(
          "--attention-weights", o.attention_weights, "KIND",
          fmt::format("of the rnn's scores: {}", fmt::join(fovea::nn::weights_names(), ", ")))
      ->check(CLI::IsMember(fovea::nn::weights_names()));
  groups.rnn.flag("--coverage", o.coverage,
                  "additive attention sees how much it has looked at each word");
  groups.rnn.flag("--input-feeding", o.input_feeding,
                  "each step of the rnn reads what the last one wrote (Luong 2015)");
  groups.rnn.add("--hidden", o.hidden, "N", "the rnn's state width [64 for dates, 256 for text]")
      ->check(above_zero);
  groups.transformer
      .add("--layers", o.layers, "N",
           "of the encoder, and of the decoder [2 for dates, 4 for text]")
      ->check(above_zero);
  groups.heads
      .add("--heads", o.heads, "N",
           "of each attention layer of a transformer, and of multihead [4]")
      ->check(above_zero);
  groups.transformer
      .add("--ffn", o.ffn, "N",
           "hidden width of the feed-forward nets [128 for dates, 256 for text]")
      ->check(above_zero);
  groups.transformer
      .add_with_default("--attention-dropout", o.attention_dropout, "P", "of attention weights")
      ->check(CLI::Range(0.0, 0.9));
}

void add_training_options(Groups& groups, Options& o) {
  Group& group = groups.training;
  group
      .add("--epochs", o.epochs, "N",
           "passes over the training data\n"
           "[rnn: 3 for dates, 15 for text; transformer: 6, 120]")
      ->check(above_zero);
  group
      .add("--max-seconds", o.max_seconds, "S",
           "end training after so long, all runs together [no limit]")
      ->check(above_zero);
  CLI::Option* batch = group
                           .add("--batch", o.batch, "N",
                                "sentences in a batch [64; transformer on text: --batch-tokens]")
                           ->check(above_zero);
  group
      .add("--batch-tokens", o.batch_tokens, "N",
           "instead: sentences times the longest of them, at most [2048]")
      ->check(above_zero)
      ->excludes(batch);
  group
      .add("--lr", o.lr, "X",
           "learning rate at its highest\n"
           "[rnn: 4e-3 for dates, 1e-3 for text; transformer: 3e-3]")
      ->check(above_zero);
  group
      .add("--schedule", o.schedule, "NAME",
           "how it falls: cosine, or inverse-sqrt [transformer on text]")
      ->check(CLI::IsMember({"cosine", "inverse-sqrt"}));
  group
      .add("--warmup", o.warmup, "N",
           "steps in which it rises before that\n"
           "[rnn: 0; transformer: 100 for dates, 2000 for text]")
      ->check(CLI::NonNegativeNumber);
  group
      .add("--average", o.average, "N",
           "measure and keep the weights' moving average over about N\n"
           "epochs; 0: off [transformer on text: 10]")
      ->check(CLI::NonNegativeNumber);
  group.add("--label-smoothing", o.label_smoothing, "E", "[0 for dates, 0.1 for text]")
      ->check(CLI::Range(0.0, 0.9));
  group.add_with_default("--clip", o.clip, "X", "gradient norm at most; 0: any")
      ->check(CLI::Range(0.0, 1e9));
  group.add("--save", o.save, "FILE",
            "the best model goes here [TASK.safetensors]; all that\n"
            "going on needs is in FILE.last, also after Ctrl-C");
  group.flag("--resume", o.resume, "go on from FILE.last");
  group.add("--log", o.log, "FILE", "a row a validation: .csv, or JSON lines");
  group.add("--curve", o.curve, "FILE", "how it learned, as SVG [curve.svg]");
  group.add("--profile", o.profile, "FILE",
            "where the time of some steps goes: a table at the end of training,\n"
            "and a trace (JSON) for ui.perfetto.dev");
  support::add_memory_options(group, o.memory);
  group.flag("--smoke", o.smoke, "a few seconds of training; fails unless it learned");
}

// What the rnn's training may say about where to look.
void add_looking_options(Groups& groups, Options& o) {
  Group& group = groups.looking;
  group
      .add_with_default("--coverage-loss", o.coverage_loss, "X",
                        "weight of what looking twice at a word costs (See 2017)")
      ->check(CLI::Range(0.0, 1e9));
  CLI::Option* guided =
      group.add("--guided-alignment", o.guided_alignment, "FILE",
                "where to look, taught with the rest (Chen 2016): for each training\n"
                "pair a line of links SOURCE-TARGET, its tokens counted from 0");
  groups.rnn
      .flag("--recompute", o.recompute,
            "the rnn's encoder keeps less for the backward, and computes it\n"
            "again: less memory, more time, the same results")
      ->group("Training");
  group.add_with_default("--guided-weight", o.guided_weight, "X", "weight of what that costs")
      ->check(CLI::Range(0.0, 1e9))
      ->needs(guided);
}

void add_use_options(Groups& groups, Options& o) {
  Group& group = groups.use;
  group
      .add("--load", o.load, "FILE",
           "use this model instead of training one; given again: an\n"
           "ensemble, whose probabilities are the mean of the models'")
      ->allow_extra_args(false);
  group.add("--text", o.text, "LINE", "translate this line; may be given again")
      ->allow_extra_args(false);
  group.add("--input", o.input, "FILE", "translate this file, line by line; -: standard input");
  group.add("--output", o.output, "FILE", "where its translations go [standard output]")
      ->needs("--input");
  group
      .add("--target-text", o.target_text, "FILE",
           "what --input is to become, line by line: forced, for --align")
      ->needs("--input")
      ->excludes("--output");
  group.add("--align", o.align, "FILE",
            "where each target token looked most, as links SOURCE-TARGET:\n"
            "of --input and --target-text, of --input or --text and the\n"
            "translations found, or of the test set");
  group.add("--align-weights", o.align_weights, "FILE",
            "the same as all weights, a JSON object a line");
  group.add("--heatmap", o.heatmap, "FILE",
            "where it looked, as SVG [attention.svg after training]:\n"
            "for the first line of --text, --input or the test set");
  group.add("--report", o.report, "FILE",
            "a page to explore where every layer looked, as HTML:\n"
            "for the first lines of --text, --input or the test set");
  group.add("--json", o.json, "FILE", "every final figure");
  group.add("--beam", o.beam, "N", "hypotheses; 1: greedy [1 for dates, 5 for text]")
      ->check(above_zero);
  group.add_with_default("--length-penalty", o.length_penalty, "X", "log p is divided by length^X");
  group
      .add_with_default("--n-best", o.n_best, "N",
                        "so many translations of each line, with its number and a score")
      ->check(above_zero);
  group.flag("--keep-unknown", o.keep_unknown,
             "print <unk>, and not the word that it looked at most there");
  group
      .add("--threads", o.threads, "N",
           "[1 for dates, one a processor for text]; any number gives the same results")
      ->check(above_zero);
}

// What an rnn without attention, or with another mechanism, has no use for.
void check_attention(const Options& o) {
  const bool none = o.trains() && o.model == "rnn" && o.attention == "none";
  if (none && o.draws())
    throw CLI::ValidationError(
        "--heatmap and --report draw attention, and --attention none has none");
  if (none && o.aligns())
    throw CLI::ValidationError("--align tells of attention, and --attention none has none");
  if (none && (o.coverage_loss > 0 || !o.guided_alignment.empty()))
    throw CLI::ValidationError(
        "--coverage-loss and --guided-alignment teach attention, and --attention none has none");
  if (none && o.attention_weights != "softmax")
    throw CLI::ValidationError("--attention-weights: --attention none has no weights");
  if (o.coverage && o.attention != "additive")
    throw CLI::ValidationError("--coverage: for --attention additive");
}

// What does not follow from one option alone.
void check_together(const Options& o, const Groups& g) {
  if (!o.trains())
    support::refuse({&g.text, &g.model, &g.rnn, &g.heads, &g.transformer, &g.training, &g.looking},
                    "of training, and --load uses a trained model");
  if (o.model == "rnn") support::refuse({&g.transformer}, "for --model transformer");
  if (o.model == "rnn" && o.attention != "multihead")
    support::refuse({&g.heads}, "for --model transformer and --attention multihead");
  if (o.model == "transformer") support::refuse({&g.rnn, &g.looking}, "for --model rnn");
  if (o.data.empty() && (!o.bpe.empty() || o.bpe_merges > 0))
    throw CLI::ValidationError("--bpe and --bpe-merges: dates are spelled by characters");
  if (o.beam > 0 && o.beam < o.n_best)
    throw CLI::ValidationError(
        fmt::format("--n-best {} needs a --beam of at least that", o.n_best));
  if (!o.target_text.empty() && !o.aligns())
    throw CLI::ValidationError("--target-text: for --align and --align-weights");
  if (o.align == "-" || o.align_weights == "-")
    throw CLI::ValidationError(
        "--align and --align-weights: a file, translations go to the output");
  if (o.input == "-" && o.target_text == "-")
    throw CLI::ValidationError("--input - and --target-text -: standard input can be one of them");
  if (o.load.size() > 1 && !o.report.empty())
    throw CLI::ValidationError("--report looks inside one model: give one --load");
  check_attention(o);
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Learns to translate: a GRU encoder-decoder with attention or without, or a Transformer.\n"
      "With no options: human dates to ISO dates; some seconds.\n\n"
      "  translate --data DIR --source de --target en --save model.safetensors\n"
      "  translate --load model.safetensors --input de.txt --output en.txt\n"
      "  translate --load model.safetensors --text 'ein hund .'\n"
      "  translate --load model.safetensors --input de.txt --target-text en.txt --align links.txt"};
  Groups groups(app);
  add_data_options(groups, o);
  add_model_options(groups, o);
  add_training_options(groups, o);
  add_looking_options(groups, o);
  add_use_options(groups, o);
  support::parse(app, argc, argv, [&] { check_together(o, groups); });
  o.task.dates = o.data.empty();
  o.resume_command = support::resume_command(argc, argv);
  return o;
}

namespace {

// What the two kinds of model want for the two kinds of task.
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
  // Wu et al. 2021, Good for Misconceived Reasons: Transformer-Tiny for Multi30k, but
  // in batches of half the size, whose logits are quicker to work on, and with a rate to match.
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

// What was given on the command line stays.
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
  // So little work for one step that a second thread costs more than it brings.
  if (o.threads == 0) o.threads = dates ? 1 : fovea::num_threads();
  // Here 0 is a choice.
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
  for (const std::filesystem::path& path : o.load) inputs.push_back({"--load", path});
  for (const std::filesystem::path& path : corpus_files(o)) inputs.push_back({"--data", path});
  support::check_outputs(outputs, inputs);
}
