// Source: Papineni et al., "BLEU: a method for automatic evaluation of machine translation", 2002;
// details (nearest reference length, smoothing) as in Post, "A call for clarity in reporting BLEU
// scores", 2018.
#include <fovea/core/error.h>
#include <fovea/nn/data/bleu.h>
#include <fovea/nn/data/text.h>

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <unordered_map>

namespace fovea::nn::data {
namespace {

using NgramCounts = std::unordered_map<std::string, std::int64_t>;

// Words contain no blanks, so words joined by blanks identify an n-gram uniquely.
NgramCounts count_ngrams(std::span<const std::string> words, std::size_t n) {
  NgramCounts counts;
  for (std::size_t at = 0; at + n <= words.size(); ++at)
    ++counts[detokenize(words.subspan(at, n), Unit::words)];
  return counts;
}

// For every n-gram its largest count in any one reference.
NgramCounts greatest_counts(std::span<const Tokens> references, std::size_t n) {
  NgramCounts greatest;
  for (const Tokens& reference : references)
    for (const auto& [ngram, count] : count_ngrams(reference, n))
      greatest[ngram] = std::max(greatest[ngram], count);
  return greatest;
}

// The reference length nearest to the hypothesis length; of two equally near ones the shorter.
std::int64_t nearest_length(std::int64_t length, std::span<const Tokens> references) {
  const auto key = [length](const Tokens& reference) {
    const auto own = static_cast<std::int64_t>(reference.size());
    return std::pair(std::abs(own - length), own);
  };
  return key(*std::min_element(references.begin(), references.end(),
                               [&](const Tokens& a, const Tokens& b) { return key(a) < key(b); }))
      .second;
}

void add_sentence(const Tokens& hypothesis, std::span<const Tokens> references, BleuCounts& sums) {
  const auto length = static_cast<std::int64_t>(hypothesis.size());
  sums.hypothesis_length += length;
  sums.reference_length += nearest_length(length, references);
  for (std::size_t n = 1; n <= BleuCounts::max_order; ++n) {
    const NgramCounts allowed = greatest_counts(references, n);
    for (const auto& [ngram, count] : count_ngrams(hypothesis, n)) {
      const auto found = allowed.find(ngram);
      if (found != allowed.end()) sums.matches[n - 1] += std::min(count, found->second);
      sums.totals[n - 1] += count;
    }
  }
}

double brevity_penalty(const BleuCounts& counts) {
  if (counts.hypothesis_length >= counts.reference_length) return 1;
  if (counts.hypothesis_length == 0) return 0;
  return std::exp(1 - static_cast<double>(counts.reference_length) /
                          static_cast<double>(counts.hypothesis_length));
}

}  // namespace

Bleu bleu_from_counts(const BleuCounts& counts, Smoothing smoothing) {
  Bleu bleu{.brevity_penalty = brevity_penalty(counts), .counts = counts};
  const bool any_match = std::any_of(counts.matches.begin(), counts.matches.end(),
                                     [](std::int64_t matches) { return matches > 0; });
  if (!any_match) return bleu;  // no smoothing for a translation without any match
  double log_sum = 0, half = 1;
  for (std::size_t i = 0; i < BleuCounts::max_order; ++i) {
    if (counts.totals[i] == 0) return bleu;
    auto matches = static_cast<double>(counts.matches[i]);
    if (counts.matches[i] == 0 && smoothing == Smoothing::exponential) matches = half /= 2;
    bleu.precisions[i] = 100 * matches / static_cast<double>(counts.totals[i]);
    log_sum += std::log(bleu.precisions[i]);  // log(0) = -inf makes the score 0
  }
  bleu.score = bleu.brevity_penalty * std::exp(log_sum / BleuCounts::max_order);
  return bleu;
}

Bleu corpus_bleu(std::span<const std::string> hypotheses,
                 std::span<const std::vector<std::string>> references, Smoothing smoothing) {
  if (references.empty()) value_error("corpus_bleu", "0 references: must be at least 1");
  for (const auto& lines : references)
    if (lines.size() != hypotheses.size())
      value_error("corpus_bleu", "{} hypotheses and {} references: must be equal",
                  hypotheses.size(), lines.size());
  BleuCounts sums;
  std::vector<Tokens> own(references.size());  // the references of one hypothesis
  for (std::size_t i = 0; i < hypotheses.size(); ++i) {
    for (std::size_t r = 0; r < own.size(); ++r) own[r] = tokenize(references[r][i], Unit::words);
    add_sentence(tokenize(hypotheses[i], Unit::words), own, sums);
  }
  return bleu_from_counts(sums, smoothing);
}

Bleu corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
                 Smoothing smoothing) {
  const std::vector<std::string> only(references.begin(), references.end());
  return corpus_bleu(hypotheses, std::span(&only, 1), smoothing);
}

std::string Bleu::str() const {
  const double ratio = counts.reference_length == 0
                           ? 0
                           : static_cast<double>(counts.hypothesis_length) /
                                 static_cast<double>(counts.reference_length);
  return fmt::format(
      "BLEU = {:.2f}, {:.1f}/{:.1f}/{:.1f}/{:.1f} (BP={:.3f}, ratio={:.3f}, hyp_len={}, "
      "ref_len={})",
      score, precisions[0], precisions[1], precisions[2], precisions[3], brevity_penalty, ratio,
      counts.hypothesis_length, counts.reference_length);
}

}  // namespace fovea::nn::data
