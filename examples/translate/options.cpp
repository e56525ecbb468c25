#include "options.h"

#include <fovea/core/threads.h>

#include <CLI/CLI.hpp>
#include <fmt/format.h>

namespace {

constexpr int usage_exit_code = 2;

// Options under one heading of --help.
class Group {
 public:
  Group(CLI::App& app, std::string heading) : app_(app), heading_(std::move(heading)) {}

  // `kind` stands for the value in --help.
  template <class T>
  CLI::Option* add(const std::string& name, T& value, const std::string& kind,
                   const std::string& what) {
    return app_.add_option(name, value, what)->option_text(kind)->group(heading_);
  }
  template <class T>
  CLI::Option* add_with_default(const std::string& name, T& value, const std::string& kind,
                                const std::string& what) {
    return add(name, value, fmt::format("{}={}", kind, value), what);
  }
  CLI::Option* flag(const std::string& name, bool& value, const std::string& what) {
    return app_.add_flag(name, value, what)->group(heading_);
  }

 private:
  CLI::App& app_;
  std::string heading_;
};

const CLI::Validator above_zero(
    [](const std::string& text) {
      double value = 0;
      return CLI::detail::lexical_cast(text, value) && value > 0 ? "" : text + " is not above 0";
    },
    "");

void add_data_options(CLI::App& app, Options& o) {
  Group group(app, "Data");
  group.add("--data", o.data, "DIR",
            "folder of parallel text, a sentence a line, words between blanks:\n"
            "{train,val,test_2016_flickr}.lc.norm.tok.LANG or {train,val,test}.LANG");
  group.add_with_default("--source", o.task.source, "LANG", "translate from");
  group.add_with_default("--target", o.task.target, "LANG", "translate to");
  group.add_with_default("--min-count", o.min_count, "N", "rarer words become <unk>");
  group.add_with_default("--max-vocab", o.max_vocab, "N", "words at most, in each language");
  group.add_with_default("--seed", o.task.seed, "N", "of everything random");
}

void add_model_options(CLI::App& app, Options& o) {
  Group group(app, "Model");
  group.add_with_default("--attention", o.attention, "KIND", "additive (Bahdanau 2015) or none")
      ->check(CLI::IsMember({"additive", "none"}));
  group.add("--embed", o.embed, "N", "embedding width [32 for dates, 256 for text]")
      ->check(above_zero);
  group.add("--hidden", o.hidden, "N", "state width [64 for dates, 256 for text]")
      ->check(above_zero);
  group.add("--dropout", o.dropout, "P", "probability [0 for dates, 0.3 for text]")
      ->check(CLI::Range(0.0, 0.9));
}

void add_training_options(CLI::App& app, Options& o) {
  Group group(app, "Training");
  group.add("--epochs", o.epochs, "N", "passes over the training data [3 for dates, 15 for text]")
      ->check(above_zero);
  group.add("--max-seconds", o.max_seconds, "S", "end training after so long [no limit]")
      ->check(above_zero);
  group.add_with_default("--batch", o.batch, "N", "sentences in a batch")->check(above_zero);
  group.add("--lr", o.lr, "X", "learning rate at the start [4e-3 for dates, 1e-3 for text]")
      ->check(above_zero);
  group.add("--label-smoothing", o.label_smoothing, "E", "[0 for dates, 0.1 for text]")
      ->check(CLI::Range(0.0, 0.9));
  group.add_with_default("--clip", o.clip, "X", "gradient norm at most; 0: any")
      ->check(CLI::Range(0.0, 1e9));
  group
      .add("--threads", o.threads, "N",
           "[1 for dates, one a processor for text]; any number gives the same results")
      ->check(above_zero);
  group.add("--save", o.save, "FILE",
            "the best model goes here [TASK.safetensors]; all that\n"
            "going on needs is in FILE.last, also after Ctrl-C");
  group.flag("--resume", o.resume, "go on from FILE.last");
  group.add("--log", o.log, "FILE", "a row a validation: .csv, or JSON lines");
  group.add("--curve", o.curve, "FILE", "how it learned, as SVG [curve.svg]");
  group.flag("--smoke", o.smoke, "a few seconds of training; fails unless it learned");
}

void add_use_options(CLI::App& app, Options& o) {
  Group group(app, "Use");
  group.add("--load", o.load, "FILE", "use this model instead of training one")
      ->excludes("--save")
      ->excludes("--resume")
      ->excludes("--smoke");
  group.add("--text", o.text, "LINE", "translate this line; may be given again")
      ->allow_extra_args(false);
  group.add("--input", o.input, "FILE", "translate this file, line by line; -: standard input");
  group.add("--output", o.output, "FILE", "where its translations go [standard output]")
      ->needs("--input");
  group.add("--heatmap", o.heatmap, "FILE",
            "where it looked, as SVG [attention.svg after training]:\n"
            "for the first line of --text, --input or the test set");
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
}

// What does not follow from one option alone.
void check_together(const Options& o) {
  if (o.beam > 0 && o.beam < o.n_best)
    throw CLI::ValidationError(
        fmt::format("--n-best {} needs a --beam of at least that", o.n_best));
  if (o.trains() && o.attention == "none" && !o.heatmap.empty())
    throw CLI::ValidationError("--heatmap draws attention, and --attention none has none");
}

// The command as a shell would need it, and --resume.
std::string resume_command(int argc, char** argv) {
  std::string command;
  bool resumes = false;
  for (int i = 0; i < argc; ++i) {
    std::string word = argv[i];
    resumes |= word == "--resume";
    if (word.empty() ||
        word.find_first_not_of("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                               "0123456789-_=+./,:@%") != std::string::npos) {
      for (std::size_t at = 0; (at = word.find('\'', at)) != std::string::npos; at += 4)
        word.replace(at, 1, R"('\'')");
      word = "'" + word + "'";
    }
    command += (i > 0 ? " " : "") + word;
  }
  return resumes ? command : command + " --resume";
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Learns to translate with a GRU encoder-decoder, with additive attention or without.\n"
      "With no options: human dates to ISO dates; some seconds.\n\n"
      "  translate --data DIR --source de --target en --save model.safetensors\n"
      "  translate --load model.safetensors --input de.txt --output en.txt\n"
      "  translate --load model.safetensors --text 'ein hund .'"};
  app.get_formatter()->column_width(26);
  add_data_options(app, o);
  add_model_options(app, o);
  add_training_options(app, o);
  add_use_options(app, o);
  try {
    app.parse(argc, argv);
    check_together(o);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error) == 0 ? 0 : usage_exit_code);
  }
  o.task.dates = o.data.empty();
  o.resume_command = resume_command(argc, argv);
  return o;
}

// The two kinds of task want different sizes; what was given on the command line stays.
void fill_defaults(Options& o) {
  const bool dates = o.task.dates;
  const auto fill = [&](auto& value, auto for_dates, auto for_text) {
    using T = std::decay_t<decltype(value)>;
    if (value <= T(0)) value = static_cast<T>(dates ? for_dates : for_text);
  };
  fill(o.embed, 32, 256);
  fill(o.hidden, 64, 256);
  fill(o.epochs, 3, 15);
  fill(o.lr, 4e-3, 1e-3);
  fill(o.beam, std::max<std::int64_t>(1, o.n_best), std::max<std::int64_t>(5, o.n_best));
  // So little work for one step that a second thread costs more than it brings.
  if (o.threads == 0) o.threads = dates ? 1 : fovea::num_threads();
  // Here 0 is a choice.
  if (o.dropout < 0) o.dropout = dates ? 0.0 : 0.3;
  if (o.label_smoothing < 0) o.label_smoothing = dates ? 0.0 : 0.1;
  if (!o.trains() || o.smoke) return;
  const bool attends = o.attention != "none";
  if (o.save.empty()) o.save = o.task.name() + (attends ? "" : "-none") + ".safetensors";
  if (o.curve.empty()) o.curve = "curve.svg";
  if (o.heatmap.empty() && attends) o.heatmap = "attention.svg";
}
