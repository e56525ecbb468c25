// Alignment files in Pharaoh format: one line per sentence pair, with links "2-0": token 2 of the
// source is aligned with token 0 of the target. Tokens are the model's (words, characters or BPE
// subwords), counted from 0, without <bos> and <eos>.
#pragma once

#include "translator.h"

struct Link {
  std::int64_t source, target;
};
using Links = std::vector<Link>;  // of one sentence pair

/// The links of every pair. Error with file and line for a missing or extra line, for an invalid
/// link, and for a token index out of range.
std::vector<Links> read_links(const std::filesystem::path& path, const Tokenizer& tokenizer,
                              const fovea::nn::data::ParallelText& pairs);

/// The links as a matrix of 0 and 1: (B, T, S), for the batch of the pairs `rows`.
fovea::Tensor links_of(const std::vector<Links>& links, const fovea::nn::data::Ids& rows,
                       const fovea::nn::data::TranslationBatch& batch);

/// The source token of largest weight for each target token with nonzero weights; the first if
/// several are equal.
Links links_of(const Alignment& alignment);

/// The same links, one line per pair.
std::string as_pharaoh(const std::vector<Alignment>& alignments);
/// One JSON object per line: "source" and "target", both with <eos>, and "weights", one row per
/// target token.
std::string as_json_lines(const std::vector<Alignment>& alignments);
