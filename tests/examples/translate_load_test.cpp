// Errors of translate for invalid checkpoints.
#include <fovea/core/random.h>
#include <fovea/tests/support/thread_bits.h>

#include "hostile_checkpoint.h"
#include "translator.h"

using namespace fovea;

namespace {

Corpus small_corpus() {
  Corpus corpus;
  for (const char* line : {"a b c d", "a b c", "d e f a"}) {
    corpus.train.source.push_back(line);
    corpus.train.target.push_back(line);
  }
  return corpus;
}

Options small_options(const std::string& model) {
  Options o;
  o.task.dates = false;
  o.model = model;
  o.min_count = 1;
  o.embed = 16, o.hidden = 24, o.layers = 2, o.heads = 2, o.ffn = 20;
  fill_defaults(o);
  return o;
}

std::filesystem::path saved(const test::Folder& folder, const Options& o) {
  Rng rng(1);
  const Translator translator(Tokenizer(small_corpus(), o), o, rng);
  translator.save(folder / "good.safetensors");
  return folder / "good.safetensors";
}

void load(const std::filesystem::path& path) {
  Rng rng(1);
  Translator::load(path, rng);
}

}  // namespace

TEST_CASE("translate: hostile options of a recurrent model") {
  const test::Folder folder("fovea-translate-load");
  Options o = small_options("rnn");
  o.attention = "multihead";
  const auto good = saved(folder, o);
  hostile::check_options(good, "options",
                         {"embed_dim", "dropout", "hidden_size", "attention", "heads", "unit",
                          "dates", "source", "target", "seed"},
                         load);
  hostile::check_vocab(good, "source_vocab", load);
  hostile::check_vocab(good, "target_vocab", load);
}

TEST_CASE("translate: hostile options of a transformer") {
  const test::Folder folder("fovea-translate-load");
  const auto good = saved(folder, small_options("transformer"));
  hostile::check_options(good, "options",
                         {"embed_dim", "dropout", "layers", "heads", "ffn", "attention_dropout",
                          "unit", "dates", "source", "target", "seed"},
                         load);
}

TEST_CASE("translate: sizes in range that differ from the tensors are found without allocation") {
  const test::Folder folder("fovea-translate-load");
  const auto bad = folder / "bad.safetensors";
  const auto good = saved(folder, small_options("transformer"));
  const auto with = [&](const char* key, std::int64_t value) {
    hostile::change_option(good, bad, "options", [&](hostile::Json& o) { o[key] = value; });
    return hostile::refusal(bad, load);
  };
  CHECK(with("embed_dim", 65'536).find("has shape (10, 16) in the file and (10, 65536) here") !=
        std::string::npos);
  CHECK(with("ffn", 65'536).find("linear1.weight") != std::string::npos);
  CHECK(with("layers", 100).find("is missing in the file") != std::string::npos);
  CHECK(with("layers", 1).find("is in the file only") != std::string::npos);
  CHECK(with("heads", 5).find("5") != std::string::npos);
}

TEST_CASE("translate: only regular files are read") {
  CHECK(test::message_of<Error>([] { load("/dev/zero"); }) ==
        "load: /dev/zero: must be a regular file");
  CHECK(test::message_of<Error>([] { load("/tmp"); }) == "load: /tmp: must be a regular file");
}
