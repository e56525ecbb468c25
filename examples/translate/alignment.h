// Alignments in files, in Pharaoh's format: a line a sentence pair, of links "2-0": token 2 of the
// source and token 0 of the target belong together. Tokens are the model's own (words, characters
// or pieces), counted from 0; <bos> and <eos> are none of them.
#pragma once

#include "translator.h"

struct Link {
  std::int64_t source, target;
};
using Links = std::vector<Link>;  // of one pair

/// The links of every pair. Error that names the file and the line: for one too few or too many,
/// for what is no link, and for a token that the pair does not have.
std::vector<Links> read_links(const std::filesystem::path& path, const Speller& speller,
                              const fovea::nn::data::ParallelText& pairs);

/// 1 where there is a link: (B, T, S) of the batch of the pairs numbered `rows`.
fovea::Tensor links_of(const std::vector<Links>& links, const fovea::nn::data::Ids& rows,
                       const fovea::nn::data::TranslationBatch& batch);

/// Each target token's most looked-at source token, if it looked at any. Of equal ones the first.
Links links_of(const Alignment& alignment);

/// A line of such links a pair.
std::string as_pharaoh(const std::vector<Alignment>& alignments);
/// A JSON object a line: "source" and "target", both with <eos>, and "weights", a row a target
/// token.
std::string as_json_lines(const std::vector<Alignment>& alignments);
