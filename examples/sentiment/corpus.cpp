#include "corpus.h"

#include <fovea/core/error.h>
#include <fovea/nn/data/text.h>

#include "reviews.h"

namespace data = fovea::nn::data;
namespace fs = std::filesystem;

namespace {

Reviews built_in(std::span<const ReviewFamily> families) {
  Reviews reviews;
  for (const ReviewFamily& family : families)
    for (std::string_view left = family.lines; !left.empty();) {
      const std::size_t end = std::min(left.find('\n'), left.size());
      const std::string_view line = left.substr(0, end);
      left.remove_prefix(std::min(end + 1, left.size()));
      if (line.size() > 2) reviews.push_back({std::string(line.substr(2)), line[0] == '+' ? 1 : 0});
    }
  return reviews;
}

Review review_of(const std::string& line, const fs::path& file, std::size_t number) {
  const std::size_t tab = line.rfind('\t');
  const std::string label = tab == std::string::npos ? "" : line.substr(tab + 1);
  if (label != "0" && label != "1")
    fovea::format_error("load_corpus", "{}:{}: '{}': must be SENTENCE<TAB>LABEL with label 0 or 1",
                        file.string(), number, line.substr(0, 60));
  const std::string text = line.substr(0, tab);
  if (data::tokenize(text, data::Unit::words).empty())
    fovea::format_error("load_corpus", "{}:{}: sentence is empty", file.string(), number);
  return {text, label == "1" ? 1 : 0};
}

void append_reviews(const fs::path& file, Reviews& reviews) {
  const data::Lines lines = data::read_lines(file);
  if (lines.empty()) fovea::format_error("load_corpus", "{} is empty", file.string());
  for (std::size_t i = 0; i < lines.size(); ++i)
    reviews.push_back(review_of(lines[i], file, i + 1));
}

}  // namespace

Corpus load_corpus(const Options& options) {
  if (options.data.empty())
    return {built_in(training_reviews()), built_in(validation_reviews()), built_in(test_reviews()),
            "test"};
  Corpus corpus;
  if (options.trains()) append_reviews(options.data / "train.tsv", corpus.train);
  if (options.trains() && options.phrases)
    append_reviews(options.data / "train_phrases.tsv.gz", corpus.train);
  append_reviews(options.data / "dev.tsv", corpus.validation);
  corpus.test = corpus.validation;
  corpus.tested_on = "dev";
  return corpus;
}
