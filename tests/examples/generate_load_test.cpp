// Errors of generate for invalid checkpoints.
#include <fovea/tests/support/thread_bits.h>

#include "characters.h"
#include "hostile_checkpoint.h"

using namespace fovea;

TEST_CASE("generate: hostile options") {
  const test::Folder folder("fovea-generate-load");
  Options o;
  o.layers = 2, o.width = 16, o.heads = 2, o.context = 8, o.window = 4;
  LanguageModel model = new_model(o, "abcdefghij\n");
  const auto good = folder / "good.safetensors";
  save_model(model, good);
  hostile::check_options(
      good, "model", {"vocab", "d_model", "nhead", "num_layers", "max_len", "window"}, load_model);
  hostile::check_vocab(good, "characters", load_model);
  const auto bad = folder / "bad.safetensors";
  for (const auto& [key, value] :
       std::map<std::string, int>{{"d_model", 65'536}, {"num_layers", 128}, {"nhead", 3}}) {
    CAPTURE(key);
    hostile::change_option(good, bad, "model", [&](hostile::Json& json) { json[key] = value; });
    CHECK(hostile::refusal(bad, load_model) != "");
  }
  CHECK(test::message_of<Error>([] { load_model("/dev/zero"); }) ==
        "load: /dev/zero: must be a regular file");
}
