// generate: loading and using a checkpoint of --save, or Llama weights with a tokenizer; and a
// command line.
#include "characters.h"
#include "checkpoint_input.h"
#include "command_line_input.h"
#include "fuzz_target.h"
#include "llama.h"
#include "scratch.h"

using namespace fovea;

namespace {

const fuzz::ScratchFolder& folder() {
  static const fuzz::ScratchFolder folder;
  return folder;
}

void generate_and_print(const LanguageModel& model) {
  GenerationOptions options;
  options.tokens = 3;
  generate_text(model, "ab", options, [](const std::string&) {});
}

// <unk>, <s>, </s> and five letters.
std::string tokenizer() {
  std::string bytes(4, '\0');
  for (const char* text : {"<unk>", "<s>", "</s>", " ", "a", "b", "c", "ab"}) {
    const std::string piece = text;
    bytes += std::string(4, '\0') + static_cast<char>(piece.size()) + std::string(3, '\0') + piece;
  }
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* bytes, std::size_t size) {
  fuzz::Input in(bytes, size);
  const unsigned mode = in.below(3);
  if (mode == 2) {
    fuzz::parse_words<Options>(in, declare_options);
    return 0;
  }
  const bool llama = mode == 1;
  const auto path = folder().write("stories260K.safetensors", fuzz::checkpoint_of(in));
  static const auto pieces = folder().write("tok512.bin", tokenizer());
  fuzz::accepts(
      [&] { generate_and_print(llama ? load_llama(folder().path()) : load_model(path)); });
  return 0;
}
