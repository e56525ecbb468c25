#include "options.h"

#include <CLI/CLI.hpp>

namespace {

// The two kinds of task want different sizes; what was given on the command line stays.
void fill_defaults(Options& o) {
  const bool dates = o.is_dates();
  const auto fill = [](auto& value, auto unset, auto ours) {
    if (value == static_cast<std::decay_t<decltype(value)>>(unset)) value = ours;
  };
  fill(o.embed, 0, dates ? 32 : 256);
  fill(o.hidden, 0, dates ? 64 : 256);
  fill(o.epochs, 0, dates ? 6 : 15);
  fill(o.lr, 0.0, dates ? 4e-3 : 1e-3);
  fill(o.beam, 0, dates ? 1 : 5);
  fill(o.dropout, -1.0, dates ? 0.0 : 0.3);
  fill(o.label_smoothing, -1.0, dates ? 0.0 : 0.1);
  if (dates && o.trains() && o.heatmap.empty()) o.heatmap = "attention.svg";
  if (o.trains() && o.curve.empty()) o.curve = "curve.svg";
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Learns to translate with a GRU encoder-decoder, with additive attention or without.\n"
      "Without options: human dates to ISO dates."};
  app.add_option("--data", o.data, "folder with {train,val,test_2016_flickr}.lc.norm.tok.LANG")
      ->check(CLI::ExistingDirectory);
  app.add_option("--source", o.source, "source language")->capture_default_str();
  app.add_option("--target", o.target, "target language")->capture_default_str();
  app.add_option("--min-count", o.min_count, "rarer words become <unk>")->capture_default_str();
  app.add_option("--max-vocab", o.max_vocab, "words at most, each language")->capture_default_str();
  app.add_option("--attention", o.attention, "mechanism")
      ->check(CLI::IsMember({"additive", "none"}))
      ->capture_default_str();
  app.add_option("--embed", o.embed, "embedding width")->check(CLI::PositiveNumber);
  app.add_option("--hidden", o.hidden, "state width")->check(CLI::PositiveNumber);
  app.add_option("--dropout", o.dropout, "probability")->check(CLI::Range(0.0, 0.9));
  app.add_option("--epochs", o.epochs, "passes over the training data")->check(CLI::PositiveNumber);
  app.add_option("--max-seconds", o.max_seconds, "training time at most");
  app.add_option("--batch", o.batch, "sentences in a batch")->check(CLI::PositiveNumber);
  app.add_option("--lr", o.lr, "learning rate")->check(CLI::PositiveNumber);
  app.add_option("--label-smoothing", o.label_smoothing, "epsilon")->check(CLI::Range(0.0, 0.9));
  app.add_option("--clip", o.clip, "gradient norm at most; 0: no clipping")->capture_default_str();
  app.add_option("--seed", o.seed, "of everything random")->capture_default_str();
  app.add_option("--threads", o.threads, "0: all processors")->check(CLI::NonNegativeNumber);
  app.add_flag("--resume", o.resume, "go on from FILE.last, where --save FILE is given");
  app.add_option("--log", o.log, "training log, .csv or .jsonl");
  app.add_option("--beam", o.beam, "hypotheses; 1: greedy")->check(CLI::PositiveNumber);
  app.add_option("--length-penalty", o.length_penalty, "alpha")->capture_default_str();
  app.add_option("--n-best", o.n_best, "translations of each line of --text and --input")
      ->check(CLI::PositiveNumber);
  app.add_flag("--keep-unknown", o.keep_unknown, "print <unk>; else the word it looked at most");
  auto* save = app.add_option("--save", o.save, "write the best model here (FILE.last: the last)");
  app.add_option("--load", o.load, "do not train: read this model")
      ->check(CLI::ExistingFile)
      ->excludes(save);
  app.add_option("--input", o.input, "translate this file, line by line")->check(CLI::ExistingFile);
  app.add_option("--output", o.output,
                 "where the translations of --input go (else: standard output)");
  app.add_option("--text", o.text, "translate this line");
  app.add_option("--heatmap", o.heatmap, "attention of one translation as SVG");
  app.add_option("--curve", o.curve, "training curve as SVG");
  app.add_option("--json", o.json, "write every final figure here");
  app.add_flag("--smoke", o.smoke, "a few seconds of training; fails unless it learned");
  try {
    app.parse(argc, argv);
  } catch (const CLI::ParseError& error) {
    std::exit(app.exit(error));
  }
  if (o.resume && o.save.empty()) std::exit(app.exit(CLI::RequiresError("--resume", "--save")));
  fill_defaults(o);
  return o;
}
