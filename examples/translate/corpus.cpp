#include "corpus.h"

#include <fovea/core/error.h>

namespace data = fovea::nn::data;
namespace fs = std::filesystem;

namespace {

Corpus make_dates(const Task& task, bool smoke) {
  const std::int64_t train = smoke ? 2000 : 20'000;
  data::TaskSplits dates = data::make_dates({.train = train, .seed = task.seed});
  return {std::move(dates.train), std::move(dates.validation), std::move(dates.test),
          data::Unit::characters, "exact_match"};
}

data::ParallelText read_pair(const fs::path& source, const fs::path& target) {
  data::ParallelText text = data::read_parallel(source, target);
  if (text.size() == 0)
    fovea::value_error("load_corpus", "{} and {} are empty", source.string(), target.string());
  return text;
}

// Multi30k's names, or else plain ones.
data::ParallelText read_split(const fs::path& folder, const Task& task, const std::string& multi30k,
                              const std::string& plain) {
  const std::string preprocessed = multi30k + ".lc.norm.tok.";
  if (fs::exists(folder / (preprocessed + task.source)))
    return read_pair(folder / (preprocessed + task.source), folder / (preprocessed + task.target));
  const fs::path source = folder / (plain + "." + task.source);
  if (!fs::exists(source))
    fovea::value_error("load_corpus", "neither {} nor {}{} is in {}", source.filename().string(),
                       preprocessed, task.source, folder.string());
  return read_pair(source, folder / (plain + "." + task.target));
}

}  // namespace

Corpus load_corpus(const Options& options) {
  const Task& task = options.task;
  if (task.dates && !options.data.empty())
    fovea::value_error("load_corpus", "this model translates dates, not the text in {}",
                       options.data.string());
  if (task.dates) return make_dates(task, options.smoke);
  if (options.data.empty())
    fovea::value_error("load_corpus",
                       "this model translates {} to {}: give it --text or --input, or --data to be "
                       "measured",
                       task.source, task.target);
  if (!fs::is_directory(options.data))
    fovea::value_error("load_corpus", "--data {}: there is no such folder", options.data.string());
  const auto read = [&](const char* multi30k, const char* plain) {
    return read_split(options.data, task, multi30k, plain);
  };
  return {read("train", "train"), read("val", "val"), read("test_2016_flickr", "test"),
          data::Unit::words, "bleu"};
}
