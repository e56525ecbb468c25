// SentencePieceBpe: files in the format of tok512.bin, or pieces as lines; and texts to split.
// Property: if every byte has a piece, decode(encode(text)) gives the text.
#include <fovea/nn/data/pieces.h>

#include "fuzz_target.h"
#include <fmt/format.h>

using namespace fovea;
using nn::data::Ids;
using nn::data::SentencePieceBpe;

namespace {

// Three special tokens, a piece for each byte, and the lines; the score of each is its index.
SentencePieceBpe pieces_of(fuzz::Input& in) {
  std::vector<SentencePieceBpe::Piece> pieces{{"<unk>", 0}, {"<s>", 0}, {"</s>", 0}};
  for (int byte = 0; byte < 256; ++byte) pieces.push_back({fmt::format("<0x{:02X}>", byte), 0});
  while (!in.rest().empty())
    if (const std::string_view line = in.until('\n'); !line.empty())
      pieces.push_back({std::string(line), static_cast<float>(in.rest().size() % 5)});
  return SentencePieceBpe(std::move(pieces));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const unsigned mode = in.below(4);
  if (mode == 0) {
    const std::string_view text = in.until('\n');
    const SentencePieceBpe pieces = pieces_of(in);
    fuzz::require(pieces.decode(pieces.encode(text)) == text, "decoding restores the text");
    return 0;
  }
  const std::string text(in.until(mode == 1 ? '\n' : '\0'));
  fuzz::accepts([&] {
    const SentencePieceBpe pieces = SentencePieceBpe::parse(in.rest(), "input");
    for (const std::int64_t id : pieces.encode(text))
      fuzz::require(id >= 0 && id < pieces.size(), "an id of a piece");
    pieces.decode(Ids{0, 1, 2});
    fuzz::require(!fuzz::accepts([&] { (void)pieces.piece(pieces.size()); }), "no further id");
  });
  return 0;
}
