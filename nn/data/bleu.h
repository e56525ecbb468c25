// BLEU-4: n-gram precision of translations against references.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

namespace fovea::nn::data {

/// The precision of an n-gram order without a match.
///   none         0: the score is 0
///   exponential  the k-th such order counts as 1 / 2^k matches (mteval-v13a, sacreBLEU's `exp`)
enum class Smoothing : std::uint8_t { none, exponential };

/// The counts for BLEU, summed over a corpus; index n - 1 is for n-grams.
struct BleuCounts {
  static constexpr std::size_t max_order = 4;

  std::array<std::int64_t, max_order> matches{};  // n-grams of the hypotheses found in references
  std::array<std::int64_t, max_order> totals{};   // n-grams of the hypotheses
  std::int64_t hypothesis_length = 0;             // in words
  std::int64_t reference_length = 0;              // of the reference nearest in length
};

/// BLEU = 100 BP (p_1 p_2 p_3 p_4)^(1/4),  BP = min(1, exp(1 - reference / hypothesis length)).
struct Bleu {
  double score = 0;                                        // 0 .. 100
  std::array<double, BleuCounts::max_order> precisions{};  // p_n = 100 matches / totals
  double brevity_penalty = 0;
  BleuCounts counts;

  /// One line as multi-bleu.perl prints it.
  std::string str() const;
};

Bleu bleu_from_counts(const BleuCounts& counts, Smoothing smoothing = Smoothing::none);

/// One reference per hypothesis. Words are separated by blanks: the text must be tokenized, as for
/// multi-bleu.perl and sacreBLEU's `--tokenize none`.
Bleu corpus_bleu(std::span<const std::string> hypotheses, std::span<const std::string> references,
                 Smoothing smoothing = Smoothing::none);

/// Several references: `references[r][i]` is the r-th reference of hypothesis i. Matches of an
/// n-gram are clipped at its largest count in any one reference.
Bleu corpus_bleu(std::span<const std::string> hypotheses,
                 std::span<const std::vector<std::string>> references,
                 Smoothing smoothing = Smoothing::none);

}  // namespace fovea::nn::data
