// Batches of sequences of unequal length: which go together, in which order, and as one matrix.
#pragma once

#include <fovea/core/tensor.h>
#include <fovea/nn/data/vocab.h>

#include <cstdint>
#include <span>
#include <vector>

namespace fovea::nn::data {

/// Sequences as one matrix, the short ones filled up at their ends.
struct PaddedBatch {
  Ids ids = {};                 // (B, T) row-major
  Ids lengths = {};             // (B) without padding
  std::int64_t batch_size = 0;  // B
  std::int64_t max_len = 0;     // T, the longest of this batch

  Tensor tensor() const { return from_data(ids, {batch_size, max_len}); }  // (B, T) i64
};

/// The sequences numbered `rows`, in that order.
PaddedBatch pad_rows(std::span<const Ids> sequences, std::span<const std::int64_t> rows,
                     std::int64_t padding = Vocab::pad);

/// Sentence pairs as a decoder is taught with them: what it reads is what it must say, one step
/// late.
struct TranslationBatch {
  PaddedBatch source;         // x_1 .. x_S <eos>
  PaddedBatch target_input;   // <bos> y_1 .. y_T
  PaddedBatch target_output;  // y_1 .. y_T <eos>
};

/// `sources` and `targets` are plain token ids, without <bos> and <eos>.
TranslationBatch translation_batch(std::span<const Ids> sources, std::span<const Ids> targets,
                                   std::span<const std::int64_t> rows);

/// How long the two sides of a sentence pair are.
struct PairLength {
  std::int64_t target = 0;  // compared first: a decoder's step costs more than an encoder's
  std::int64_t source = 0;

  auto operator<=>(const PairLength&) const = default;
};

std::vector<PairLength> pair_lengths(std::span<const Ids> sources, std::span<const Ids> targets);

struct BucketOptions {
  std::int64_t batch_size = 64;
  /// A bound besides batch_size, unless 0: pairs times the longest side among them, <eos> counted:
  /// so much of a matrix is filled. Long pairs then come in small batches, short ones in large
  /// ones. (A pair that is longer comes alone.)
  std::int64_t max_tokens = 0;
  std::int64_t pool_batches = 50;  // so many batches' worth of pairs are sorted together
  std::uint64_t seed = 1;
};

/// One epoch: every pair once, in batches of pairs of similar length, `batch_size` each and the
/// last of the sorted ones smaller; or fewer, so that `max_tokens` holds. The pairs are shuffled,
/// cut into pools, each pool sorted by length and cut into batches, and the batches shuffled. Equal
/// (lengths, options, epoch) give equal batches on every platform: to go on from batch k of an
/// epoch, make the epoch again and skip k.
std::vector<Ids> bucketed_batches(std::span<const PairLength> lengths, std::int64_t epoch,
                                  const BucketOptions& options = {});

/// Every pair once, sorted by length: the least padding, for evaluation. The batches hold the
/// pairs' numbers, which put results back in order.
std::vector<Ids> sorted_batches(std::span<const PairLength> lengths, std::int64_t batch_size);

}  // namespace fovea::nn::data
