// sentiment: loading and using a checkpoint, reviews with labels, words of a line, and a command
// line.
#include <fovea/core/random.h>

#include "checkpoint_input.h"
#include "command_line_input.h"
#include "fuzz_target.h"
#include "scratch.h"
#include "sentiment_model.h"
#include "words.h"

using namespace fovea;

namespace {

const fuzz::ScratchFolder& folder() {
  static const fuzz::ScratchFolder folder;
  return folder;
}

void load(fuzz::Input& in) {
  const auto path = folder().write("model.safetensors", fuzz::checkpoint_of(in));
  fuzz::accepts([&] {
    Rng rng(1);
    const SentimentModel model = SentimentModel::load(path, rng);
    fuzz::require(model.positive({"a b", ""}).size() == 2, "one result per line");
    model.explain("b c a");
  });
}

void read(fuzz::Input& in) {
  folder().write("dev.tsv", in.rest());
  folder().write("train.tsv", in.rest());
  Options options;
  options.data = folder().path();
  fuzz::accepts([&] {
    const Corpus corpus = load_corpus(options);
    for (const Review& review : corpus.train)
      fuzz::require(review.label == 0 || review.label == 1, "a label is 0 or 1");
  });
  for (const std::string& word : words_of(in.rest())) fuzz::require(!word.empty(), "a word");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  fuzz::Input in(bytes, size);
  const unsigned mode = in.below(3);
  if (mode == 0) load(in);
  if (mode == 1) read(in);
  if (mode == 2) fuzz::parse_words<Options>(in, declare_options);
  return 0;
}
