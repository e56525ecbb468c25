// Errors of sentiment for invalid checkpoints.
#include <fovea/core/random.h>
#include <fovea/tests/support/thread_bits.h>

#include "hostile_checkpoint.h"
#include "sentiment_model.h"

using namespace fovea;

namespace {

std::filesystem::path saved(const test::Folder& folder, const std::string& name) {
  Options o;
  o.model.model = name;
  o.model.embed = 16, o.model.hidden = 12, o.model.layers = 2, o.model.heads = 2;
  fill_defaults(o);
  Rng rng(1);
  const SentimentModel model(vocab_of({{"a fine film", 1}, {"no fine film", 0}}, o), o, rng);
  model.save(folder / "good.safetensors");
  return folder / "good.safetensors";
}

void load(const std::filesystem::path& path) {
  Rng rng(1);
  SentimentModel::load(path, rng);
}

}  // namespace

TEST_CASE("sentiment: hostile options") {
  for (const char* name : {"bow", "bilstm+selfattention", "transformer"}) {
    CAPTURE(name);
    const test::Folder folder("fovea-sentiment-load");
    const auto good = saved(folder, name);
    hostile::check_options(
        good, "options",
        {"model", "pooling", "bigrams", "embed", "hidden", "layers", "heads", "dropout", "data"},
        load);
    hostile::check_vocab(good, "vocab", load);
  }
}

TEST_CASE("sentiment: sizes in range that differ from the tensors are found without allocation") {
  const test::Folder folder("fovea-sentiment-load");
  const auto good = saved(folder, "bilstm");
  for (const char* key : {"embed", "hidden", "layers"}) {
    CAPTURE(key);
    const auto bad = folder / "bad.safetensors";
    hostile::change_option(good, bad, "options", [&](hostile::Json& o) {
      o[key] = std::string(key) == "layers" ? 128 : 65'536;
    });
    CHECK(hostile::refusal(bad, load) != "");
  }
  CHECK(test::message_of<Error>([] { load("/dev/zero"); }) ==
        "load: /dev/zero: must be a regular file");
}
