// SubwordNmtBpe: codes files, words to split, texts to learn from.
// Properties: str() and parse() are inverses; joining the subwords of a line gives its words; the
// subwords equal those of a reference that applies merge after merge to the whole word.
#include <fovea/nn/data/bpe.h>

#include <algorithm>

#include "fuzz_target.h"

using namespace fovea;
using namespace fovea::nn::data;

namespace {

// Reference: repeatedly join all occurrences of the first applicable merge of the list.
Tokens reference_pieces(const std::vector<SubwordNmtBpe::Merge>& merges, std::string_view word) {
  Tokens pieces = tokenize(word, Unit::characters);
  if (pieces.empty()) return pieces;
  pieces.back() += "</w>";
  while (true) {
    const auto occurs = [&](const SubwordNmtBpe::Merge& merge) {
      for (std::size_t i = 0; i + 1 < pieces.size(); ++i)
        if (pieces[i] == merge.first && pieces[i + 1] == merge.second) return true;
      return false;
    };
    const auto best = std::find_if(merges.begin(), merges.end(), occurs);
    if (best == merges.end()) break;
    for (std::size_t i = 0; i + 1 < pieces.size(); ++i)
      if (pieces[i] == best->first && pieces[i + 1] == best->second) {
        pieces[i] += pieces[i + 1];
        pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(i) + 1);
      }
  }
  pieces.back().resize(pieces.back().size() - std::string_view("</w>").size());
  for (std::size_t i = 0; i + 1 < pieces.size(); ++i) pieces[i] += "@@";
  return pieces;
}

void check_line(const SubwordNmtBpe& bpe, std::string_view line) {
  const Tokens words = tokenize(line, Unit::words);
  for (const std::string& word : words)
    if (word.size() <= 24 && bpe.merges().size() <= 16)  // the reference is slow
      fuzz::require(bpe.encode_word(word) == reference_pieces(bpe.merges(), word),
                    "the pieces of the definition");
  const bool marked = std::any_of(words.begin(), words.end(), [](const std::string& word) {
    return word.ends_with("@@");  // could be a subword
  });
  const std::string joined = SubwordNmtBpe::join(bpe.encode(line));
  fuzz::require(marked || joined == detokenize(words, Unit::words),
                "joined subwords give the words");
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  const unsigned mode = in.below(4);
  if (mode == 0) {  // learn from a text
    const std::int64_t min_count = 1 + in.below(2), merges = in.below(16);
    const Lines lines{std::string(in.rest())};
    const SubwordNmtBpe bpe = SubwordNmtBpe::learn({&lines, 1}, merges, min_count);
    fuzz::require(std::ssize(bpe.merges()) <= merges, "at most the requested number of merges");
    check_line(bpe, in.rest());
    return 0;
  }
  const std::string_view line = in.until('\n');
  const std::string codes = (mode == 1 ? "" : "#version: 0.2\n") + std::string(in.rest());
  fuzz::accepts([&] {
    const SubwordNmtBpe bpe = SubwordNmtBpe::parse(codes, "input");
    fuzz::require(SubwordNmtBpe::parse(bpe.str(), "written").merges() == bpe.merges(),
                  "codes and back");
    check_line(bpe, line);
  });
  return 0;
}
