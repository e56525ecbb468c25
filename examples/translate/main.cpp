// Learns to translate: a GRU encoder-decoder that attends (Bahdanau et al. 2015), or does not.
//
//   translate                          human dates to ISO dates
//   translate --attention none         the same without attention
//   translate --data DIR --source de --target en --save model.safetensors
//   translate --load model.safetensors --input de.txt --output en.txt
//   translate --smoke                  seconds, asserts that it learned; run by ctest
#include <fovea/core/error.h>
#include <fovea/core/threads.h>

#include <iostream>

#include "report.h"
#include <fmt/core.h>

namespace {

SearchOptions search_of(const Options& o) {
  return {.beam = o.beam,
          .length_penalty = o.length_penalty,
          .n_best = o.n_best,
          .replace_unknown = !o.keep_unknown};
}

const char* name_of(fovea::optim::StoppedBy reason) {
  constexpr const char* names[] = {"epochs", "time", "patience", "interrupt"};
  return names[static_cast<int>(reason)];
}

// Trains a new translator, saves it, and draws how it learned.
Translator train_new(const Corpus& corpus, const Options& options, fovea::Rng& rng,
                     Figures& figures) {
  Translator translator(corpus, options, rng);
  figures.parameters = translator.model().parameter_count();
  std::cerr << fmt::format("{} training pairs, {} parameters, attention: {}\n", corpus.train.size(),
                           figures.parameters, options.attention);
  const fovea::optim::TrainingResult result = teach(translator, corpus, options, rng);
  figures.train_seconds = result.last.seconds;
  figures.tokens_per_second = result.last.tokens_per_second;
  figures.stopped_by = name_of(result.stopped_by);
  if (!options.save.empty()) translator.save(options.save);
  if (!options.curve.empty()) write_curve(result, corpus.metric, options.curve);
  if (result.stopped_by == fovea::optim::StoppedBy::interrupt && !options.save.empty())
    std::cerr << "\ninterrupted; go on with the same command and --resume\n";
  return translator;
}

void evaluate(const Translator& translator, const Corpus& corpus, const Options& options,
              Figures& figures) {
  figures.metric = corpus.metric;
  figures.parameters = translator.model().parameter_count();
  figures.score = score(translator, corpus, corpus.test, search_of(options));
  figures.loss = mean_loss(translator, corpus.test);
  std::cout << fmt::format("test {} {:.2f}  loss {:.3f}  parameters {}  training {:.0f} s\n",
                           corpus.metric, figures.score, figures.loss, figures.parameters,
                           figures.train_seconds);
}

int run(Options options) {
  if (options.threads > 0) fovea::set_num_threads(options.threads);
  if (options.smoke) {
    options.epochs = 4;
    options.heatmap.clear();
    options.curve.clear();
  }
  fovea::Rng rng(options.seed);
  Figures figures;
  const bool only_files = !options.trains() && (!options.text.empty() || !options.input.empty());
  const Corpus corpus = only_files ? Corpus{} : load_corpus(options);
  const Translator translator = options.trains() ? train_new(corpus, options, rng, figures)
                                                 : Translator::load(options.load, rng);
  const SearchOptions search = search_of(options);
  translate_files(translator, options, search);
  if (!only_files) {
    evaluate(translator, corpus, options, figures);
    show_examples(translator, corpus, search);
    if (!options.json.empty()) write_json(figures, options);
  }
  const std::string drawn = !options.text.empty()        ? options.text
                            : corpus.test.source.empty() ? std::string()
                                                         : corpus.test.source[0];
  if (!options.heatmap.empty() && !drawn.empty())
    write_heatmap(translator, drawn, search, options.heatmap);
  if (options.smoke && !(figures.loss < 1.0)) {
    std::cerr << "smoke: it did not learn\n";
    return 1;
  }
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  try {
    return run(parse_options(argc, argv));
  } catch (const std::exception& error) {
    std::cerr << "translate: " << error.what() << '\n';
    return 1;
  }
}
