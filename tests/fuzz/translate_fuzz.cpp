// translate: loading and using a checkpoint, alignment links, and a command line.
#include <fovea/core/random.h>

#include "alignment.h"
#include "checkpoint_input.h"
#include "command_line_input.h"
#include "fuzz_target.h"
#include "scratch.h"
#include "translator.h"

using namespace fovea;
namespace data = fovea::nn::data;

namespace {

const fuzz::ScratchFolder& folder() {
  static const fuzz::ScratchFolder folder;
  return folder;
}

void load(fuzz::Input& in) {
  const auto path = folder().write("model.safetensors", fuzz::checkpoint_of(in));
  fuzz::accepts([&] {
    Rng rng(1);
    const Translator translator = Translator::load(path, rng);
    const std::vector<std::string> lines{"a b", "", "c"};
    fuzz::require(translator.translate(lines, {.beam = 2}).size() == lines.size(),
                  "a result a line");
  });
}

void read(fuzz::Input& in) {
  static const data::ParallelText pairs{{"a b c", "d"}, {"x", "y z"}};
  static const Tokenizer tokenizer = [] {
    Options options;
    options.min_count = 1;
    options.max_vocab = 100;
    return Tokenizer({pairs, {}, {}, data::Unit::words, "bleu"}, options);
  }();
  const auto path = folder().write("links", in.rest());
  std::vector<Links> links;
  if (!fuzz::accepts([&] { links = read_links(path, tokenizer, pairs); })) return;
  fuzz::require(links.size() == 2, "links for each pair");
  for (const Link& link : links[0])
    fuzz::require(link.source >= 0 && link.source < 3 && link.target == 0, "a link in its pair");
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
