#include "corpus.h"

#include <fovea/core/error.h>
#include <fovea/nn/data/utf8.h>

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

const std::string preprocessing = ".lc.norm.tok.";  // part of the file names of Multi30k

struct Split {
  std::string multi30k, plain;
};
const Split train_split{"train", "train"}, validation_split{"val", "val"},
    test_split{"test_2016_flickr", "test"};

// Files with the names of Multi30k, or else with plain names.
data::ParallelText read_split(const fs::path& folder, const Task& task, const Split& split) {
  const std::string preprocessed = split.multi30k + preprocessing, &plain = split.plain;
  if (fs::exists(folder / (preprocessed + task.source)))
    return read_pair(folder / (preprocessed + task.source), folder / (preprocessed + task.target));
  const fs::path source = folder / (plain + "." + task.source);
  if (!fs::exists(source))
    fovea::value_error("load_corpus", "{} or {}{} is missing in {}", source.filename().string(),
                       preprocessed, task.source, folder.string());
  return read_pair(source, folder / (plain + "." + task.target));
}

}  // namespace

Corpus load_corpus(const Options& options) {
  const Task& task = options.task;
  for (const auto& [option, language] :
       {std::pair("--source", task.source), std::pair("--target", task.target)})
    if (data::find_invalid_utf8(language) != std::string::npos)  // saved in the model's metadata
      fovea::value_error(option, "language: must be valid UTF-8");
  if (task.dates && !options.data.empty())
    fovea::value_error("load_corpus", "model for dates cannot be evaluated on --data {}",
                       options.data.string());
  if (task.dates) return make_dates(task, options.smoke);
  if (options.data.empty())
    fovea::value_error("load_corpus",
                       "model for {} to {}: needs --text or --input, or --data for evaluation",
                       task.source, task.target);
  if (!fs::is_directory(options.data))
    fovea::value_error("load_corpus", "--data {}: directory does not exist", options.data.string());
  const auto read = [&](const Split& split) { return read_split(options.data, task, split); };
  return {read(train_split), read(validation_split), read(test_split), data::Unit::words, "bleu"};
}

std::vector<fs::path> corpus_files(const Options& options) {
  std::vector<fs::path> files;
  if (options.data.empty()) return files;
  for (const Split& split : {train_split, validation_split, test_split})
    for (const std::string& language : {options.task.source, options.task.target}) {
      files.push_back(options.data / (split.multi30k + preprocessing + language));
      files.push_back(options.data / (split.plain + "." + language));
    }
  return files;
}
