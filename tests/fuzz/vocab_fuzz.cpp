// Vocab: from JSON, or from the tokens of a text.
// Properties: to_json() and from_json() are inverses; ids and tokens are too.
#include <fovea/nn/data/vocab.h>

#include "fuzz_target.h"

using namespace fovea;
using namespace fovea::nn::data;

namespace {

void check(const Vocab& vocab) {
  const std::string json = vocab.to_json();
  const Vocab again = Vocab::from_json(json);
  fuzz::require(again.to_json() == json && again.size() == vocab.size(), "JSON and back");
  Tokens tokens;
  for (std::int64_t id = 0; id < vocab.size(); ++id) {
    tokens.push_back(vocab.token(id));
    const std::int64_t found = again.id(vocab.token(id));
    fuzz::require(found == (id <= Vocab::eos ? Vocab::unk : id), "the id of a token");
  }
  fuzz::require(vocab.encode(tokens).size() == tokens.size(), "one id per token");
  fuzz::require(!fuzz::accepts([&] { (void)vocab.token(vocab.size()); }), "no further id");
  vocab.decode(Ids{2, 1, 0, 3, 9});
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const unsigned mode = in.below(3);
  if (mode == 0) {
    fuzz::accepts([&] { check(Vocab::from_json(in.rest())); });
    return 0;
  }
  TokenCounts counts;
  const VocabOptions options{.min_count = 1 + in.below(3), .max_size = 4 + in.below(8)};
  const std::string text(in.rest());
  count_tokens({&text, 1}, mode == 1 ? Unit::words : Unit::characters, counts);
  check(Vocab(counts, options));
  return 0;
}
