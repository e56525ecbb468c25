// Machine translation: a GRU encoder-decoder with attention (Bahdanau et al. 2015) or without, or a
// Transformer (Vaswani et al. 2017).
//
//   translate                          human dates to ISO dates: of 1,000 test dates 100.0, 100.0
//                                      and 99.9 % are correct for --seed 1, 2, 3, after 6 s
//   translate --attention none         the same without attention: 0.0, 0.9 and 4.2 %, after 3 s
//                                      (--epochs 5: 1.3 % after 5 s)          one core, AMD EPYC
//   translate --model transformer      99.7, 99.8 and 99.4 %, after 25 s
//   translate --data DIR --source de --target en --save model.safetensors
//   translate --model transformer --data DIR --source en --target de --bpe-merges 10000
//   translate --load model.safetensors --input de.txt --output en.txt
//   translate --load model.safetensors --input de.txt --target-text en.txt --align links.txt
//   translate --smoke                  runs for seconds and checks the loss; run by ctest
//
// Read after 02_attention_by_hand. New here: modules, batches of sequences with different lengths,
// the trainer, beam search. In order: corpus.h (data), tokenizer.h (lines to ids), model.h,
// translator.h (tokenizer and model), training.h.
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/threads.h>
#include <fovea/examples/support/forecast.h>
#include <fovea/examples/support/program.h>
#include <fovea/examples/support/training.h>
#include <fovea/nn/inspect/terminal.h>
#include <fovea/optim/interrupt.h>

#include <cmath>
#include <iostream>
#include <optional>
#include <unistd.h>

#include "report.h"
#include <fmt/core.h>

namespace {

namespace data = fovea::nn::data;
namespace inspect = fovea::nn::inspect;
namespace optim = fovea::optim;

SearchOptions search_of(const Options& o) {
  return {.beam = o.beam,
          .length_penalty = o.length_penalty,
          .n_best = o.n_best,
          .max_length = o.max_length,
          .replace_unknown = !o.keep_unknown};
}

// "a transformer", "an rnn with additive attention"
std::string name_of(const Model& model) {
  const ModelOptions& o = model.options();
  if (o.kind != "rnn") return "a " + o.kind;
  return (model.attends() ? fmt::format("an rnn with {} attention", o.attention)
                          : "an rnn without attention") +
         (o.coverage ? ", coverage" : "") + (o.input_feeding ? ", input feeding" : "");
}

// Translates --text to standard output, and --input to --output unless --target-text is given.
void translate_given(const Translator& translator, const Options& options,
                     const std::vector<std::string>& input) {
  const SearchOptions search = search_of(options);
  std::cout << inspect::terminal_text(translate_lines(translator, options.text, search),
                                      STDOUT_FILENO);
  if (!options.target_text.empty()) return;
  const std::string translated = translate_lines(translator, input, search);
  if (options.output.empty()) {
    std::cout << inspect::terminal_text(translated, STDOUT_FILENO);
  } else {
    fovea::write_file_atomically(options.output, translated);
  }
}

void measure(const Translator& translator, const Corpus& corpus, const SearchOptions& search,
             Metrics& figures) {
  figures.metric = corpus.metric;
  figures.score = score(translator, corpus, corpus.test, search);
  figures.loss = mean_loss(translator, corpus.test);
  std::cout << fmt::format("test {} {:.2f}  loss {:.4f}  parameters {}", corpus.metric,
                           figures.score, figures.loss, translator.parameter_count());
  if (figures.seconds > 0) std::cout << fmt::format("  training {:.1f} s", figures.seconds);
  std::cout << '\n';
}

// The first lines of --text, or else of --input, or else of the test set.
std::vector<std::string> lines_to_draw(const Options& options,
                                       const std::vector<std::string>& input,
                                       const Corpus& corpus) {
  constexpr std::size_t enough = 10;
  for (const auto* lines : {&options.text, &input, &corpus.test.source}) {
    std::vector<std::string> chosen;
    for (const std::string& line : *lines)
      if (line.find_first_not_of(" \t") != std::string::npos && chosen.size() < enough)
        chosen.push_back(line);
    if (!chosen.empty()) return chosen;
  }
  fovea::value_error("heatmap", "there is no line for the attention weights");
}

// --input with --target-text, or else the given lines with their translations, or else the test
// set.
data::ParallelText pairs_to_align(const Translator& translator, const Options& options,
                                  const std::vector<std::string>& input, const Corpus& corpus) {
  if (!options.target_text.empty()) {
    data::ParallelText pairs{input, support::read_input(options.target_text)};
    if (pairs.source.size() != pairs.target.size())
      fovea::value_error("--target-text",
                         "{} has {} lines: must have {}, the number of lines of --input",
                         options.target_text.string(), pairs.target.size(), pairs.source.size());
    return pairs;
  }
  data::ParallelText pairs{options.text, {}};
  pairs.source.insert(pairs.source.end(), input.begin(), input.end());
  if (options.text.empty() && options.input.empty()) return corpus.test;
  SearchOptions search = search_of(options);
  search.n_best = 1;
  for (const auto& found : translator.translate(pairs.source, search))
    pairs.target.push_back(found[0].text);
  return pairs;
}

void write_alignments(const Translator& translator, const data::ParallelText& pairs,
                      const Options& options) {
  const std::vector<Alignment> found =
      translator.align(pairs.source, pairs.target, options.max_length);
  if (!options.align.empty()) {
    fovea::write_file_atomically(options.align, as_pharaoh(found));
    support::print_written(options.align, "largest attention weight of each target token");
  }
  if (options.align_weights.empty()) return;
  fovea::write_file_atomically(options.align_weights, as_json_lines(found));
  support::print_written(options.align_weights, "attention weights of each target token");
}

// All outputs of a trained or loaded translator. An empty corpus is not evaluated.
void use(const Translator& translator, const Corpus& corpus, const Options& options,
         Metrics figures) {
  const std::vector<std::string> input = support::read_input(options.input);
  translate_given(translator, options, input);
  SearchOptions search = search_of(options);
  search.n_best = 1;
  if (!corpus.test.source.empty()) {
    measure(translator, corpus, search, figures);
    if (!options.smoke) show_examples(translator, corpus, search);
  }
  if (!options.json.empty()) write_json(figures, translator, options.json);
  if (options.aligns())
    write_alignments(translator, pairs_to_align(translator, options, input, corpus), options);
  if (!options.heatmap.empty()) {
    write_heatmap(translator, lines_to_draw(options, input, corpus)[0], search, options.heatmap);
    support::print_written(options.heatmap, "attention weights");
  }
  if (!options.report.empty()) {
    const std::vector<std::string> lines = lines_to_draw(options, input, corpus);
    write_explorer(translator, lines, search, options.report);
    support::print_written(options.report, "attention weights of every layer, for a browser");
  }
  if (options.smoke && !(figures.loss < 1.0))
    fovea::raise<fovea::Error>("smoke", "loss = {:.3f}: must be below 1", figures.loss);
}

// False for --dry-run. Error if the training does not fit into memory.
bool may_train(const inspect::CostLedger& cost, const Tokenizer& tokenizer, const Corpus& corpus,
               const Pairs& pairs, const Options& options) {
  const auto peak_with = [&](std::int64_t Options::*option) {
    return [&, option](std::int64_t value) {
      Options less = options;
      less.*option = value;
      return forecast(tokenizer, corpus, pairs, less).peak_bytes();
    };
  };
  return support::may_train(cost, options.memory, [&](std::int64_t limit) {
    std::vector<support::Choice> choices;
    const auto halve = [&](const char* name, std::int64_t Options::*option) {
      for (auto& choice : support::halved(name, options.*option, limit, peak_with(option)))
        choices.push_back(std::move(choice));
    };
    if (options.model == "rnn" && !options.recompute) {
      Options less = options;
      less.recompute = true;
      choices.push_back({"--recompute", forecast(tokenizer, corpus, pairs, less).peak_bytes()});
    }
    halve("--batch", &Options::batch);
    halve("--batch-tokens", &Options::batch_tokens);
    if (options.model == "rnn") halve("--hidden", &Options::hidden);
    if (options.model == "transformer") halve("--layers", &Options::layers);
    return choices;
  });
}

int train_and_use(Options options) {
  fill_defaults(options);
  check_outputs(options);
  fovea::set_num_threads(options.threads);
  const Corpus corpus = load_corpus(options);
  const Tokenizer tokenizer(corpus, options);
  Pairs pairs(tokenizer, corpus.train);
  if (!options.guided_alignment.empty())
    pairs.links = read_links(options.guided_alignment, tokenizer, corpus.train);
  const inspect::CostLedger cost =
      support::timed([&] { return forecast(tokenizer, corpus, pairs, options); });
  if (!may_train(cost, tokenizer, corpus, pairs, options)) return 0;
  fovea::Rng rng(options.task.seed);
  Translator translator(tokenizer, options, rng);
  std::cerr << fmt::format("{}: {} training pairs, {} of {} parameters\n", options.task.name(),
                           corpus.train.size(), name_of(translator.model()),
                           translator.model().module().parameter_count());
  std::optional<optim::InterruptGuard> guard(std::in_place);  // until everything is saved
  const optim::TrainingLock lock =
      support::begin_training(options.save, options.last(), options.resume);
  const optim::TrainingResult result = train_model(translator, corpus, pairs, options, rng, &lock);
  const std::int64_t peak_bytes = fovea::memory_stats().peak_bytes;
  // Otherwise the trainer has written it, with the id that --resume checks.
  if (!options.save.empty() && std::isnan(result.last.best)) translator.save(options.save);
  if (!options.curve.empty()) write_curve(result, corpus.metric, options.curve);
  if (result.stopped_by == optim::StoppedBy::interrupt) {
    support::print_resume_command(result.last.step, options.save.empty() ? "" : options.last(),
                                  options.resume_command);
    return support::interrupted_exit_code(result.signal);
  }
  // Everything is saved: a signal after the training ends the program now.
  if (const int signal = optim::interrupt_signal()) return support::interrupted_exit_code(signal);
  guard.reset();
  use(translator, corpus, options,
      {.seconds = result.last.seconds,
       .tokens_per_second = result.last.tokens_per_second,
       .stopped_by = support::name_of(result.stopped_by),
       .forecast_peak_bytes = cost.peak_bytes(),
       .peak_bytes = peak_bytes});
  if (!options.curve.empty()) support::print_written(options.curve, "learning curve");
  if (!options.save.empty()) support::print_written(options.save, "the model, for --load");
  return 0;
}

int load_and_use(Options options) {
  fovea::Rng rng(0);  // for initial values, which the file's values replace
  Translator translator = Translator::load(options.load[0], rng);
  for (std::size_t i = 1; i < options.load.size(); ++i) translator.add(options.load[i], rng);
  options.task = translator.task();
  check_outputs(options);
  fill_defaults(options);
  fovea::set_num_threads(options.threads);
  if ((options.draws() || options.aligns()) && !translator.attends())
    fovea::value_error("load", "{}: model without attention has no weights to {}",
                       options.load[0].string(), options.draws() ? "draw" : "align with");
  if (options.keep_unknown && !translator.attends())
    fovea::value_error("--keep-unknown", "{}: model without attention always keeps <unk>",
                       options.load[0].string());
  const bool only_lines = !options.text.empty() || !options.input.empty();
  const bool measured = !only_lines || !options.data.empty();
  use(translator, measured ? load_corpus(options) : Corpus{}, options, {});
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("translate", [&] {
    const Options options = parse_options(argc, argv);
    return options.trains() ? train_and_use(options) : load_and_use(options);
  });
}
