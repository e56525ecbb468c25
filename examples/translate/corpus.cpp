#include "corpus.h"

namespace data = fovea::nn::data;

Corpus load_corpus(const Options& options) {
  if (options.is_dates()) {
    const std::int64_t train = options.smoke ? 2000 : 20'000;
    data::TaskSplits dates = data::make_dates({.train = train, .seed = options.seed});
    return {std::move(dates.train), std::move(dates.validation), std::move(dates.test),
            data::Unit::characters, "exact_match"};
  }
  const auto read = [&](const std::string& split) {
    const std::string stem = split + ".lc.norm.tok.";
    return data::read_parallel(options.data / (stem + options.source),
                               options.data / (stem + options.target));
  };
  return {read("train"), read("val"), read("test_2016_flickr"), data::Unit::words, "bleu"};
}
