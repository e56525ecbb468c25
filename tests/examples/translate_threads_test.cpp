// Training steps with the code of translate: the complete checkpoint has the same bits for any
// number of threads.
#include <fovea/core/random.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/tests/support/thread_bits.h>

#include "training.h"

using namespace fovea;

namespace {

#ifdef FOVEA_SANITIZED
constexpr std::int64_t pairs = 24, width = 16;
#else
constexpr std::int64_t pairs = 96, width = 96;  // large enough for the kernels to use threads
#endif

std::string made_up_line(Rng& rng) {
  std::string line = "w0";
  for (std::int64_t left = 3 + rng.below(20); left > 0; --left)
    line += fmt::format(" w{}", rng.below(900));
  return line;
}

nn::data::ParallelText made_up_text(std::int64_t count, Rng& rng) {
  nn::data::ParallelText text;
  for (std::int64_t i = 0; i < count; ++i) {
    text.source.push_back(made_up_line(rng));
    text.target.push_back(made_up_line(rng));
  }
  return text;
}

Options sizes(const std::string& model) {
  Options o;
  o.task.dates = false;
  o.model = model;
  o.min_count = 1;
  o.embed = width;
  o.hidden = width + 8;
  o.layers = 2;
  o.heads = 4;
  o.ffn = 2 * width;
  o.dropout = 0.2;
  o.epochs = 1;
  o.average = 1;
  return o;
}

// Three batches, then a greedy search.
void check(Options o) {
  const test::Folder folder("fovea-translate-threads");
  o.save = folder / "model.safetensors";
  if (o.batch_tokens == 0) o.batch = pairs / 3;
  fill_defaults(o);
  Rng text(3);
  Corpus corpus;
  corpus.train = made_up_text(pairs, text);
  corpus.validation = made_up_text(3, text);
  corpus.metric = "bleu";
  const Tokenizer tokenizer(corpus, o);
  const Pairs examples(tokenizer, corpus.train);
  test::check_same_for_any_threads([&] {
    Rng rng(5);
    Translator translator(tokenizer, o, rng);
    const optim::TrainingResult result = train_model(translator, corpus, examples, o, rng);
    NamedTensors left = test::checkpoint(o.last());
    append(left, "result", test::figures(result));
    return left;
  });
}

}  // namespace

TEST_CASE("translate: a GRU with and without attention does not depend on threads") {
  for (const std::string& name : nn::attention_names()) {
    CAPTURE(name);
    Options o = sizes("rnn");
    o.attention = name;
    o.hidden = width;  // a multiple of the heads
    check(o);
  }
}

TEST_CASE("translate: other options of a GRU do not depend on threads") {
  Options fed = sizes("rnn");
  fed.attention = "general";
  fed.attention_weights = "sparsemax";
  fed.input_feeding = true;
  check(fed);
  Options covered = sizes("rnn");
  covered.coverage = true;
  covered.coverage_loss = 0.5;
  check(covered);
}

TEST_CASE("translate: a Transformer does not depend on threads") {
  Options o = sizes("transformer");
  o.attention_dropout = 0.1;
  o.batch_tokens = pairs * 8;
  check(o);
}
