// Batches of sequences of different lengths: grouping, order and padding.
#pragma once

#include <fovea/core/tensor.h>
#include <fovea/nn/data/vocab.h>

#include <cstdint>
#include <span>
#include <vector>

namespace fovea::nn::data {

/// Sequences as one matrix, padded at the end.
struct PaddedBatch {
  Ids ids = {};                 // (B, T) row-major
  Ids lengths = {};             // (B) without padding
  std::int64_t batch_size = 0;  // B
  std::int64_t max_len = 0;     // T, the longest of this batch

  Tensor tensor() const { return from_data(ids, {batch_size, max_len}); }  // (B, T) i64
};

/// The sequences with the indices `rows`, in that order.
PaddedBatch pad_rows(std::span<const Ids> sequences, std::span<const std::int64_t> rows,
                     std::int64_t padding = Vocab::pad);

/// Sentence pairs for training a decoder with teacher forcing: its input is the expected output,
/// shifted by one step.
struct TranslationBatch {
  PaddedBatch source;         // x_1 .. x_S <eos>
  PaddedBatch target_input;   // <bos> y_1 .. y_T
  PaddedBatch target_output;  // y_1 .. y_T <eos>
};

/// `sources` and `targets` are plain token ids, without <bos> and <eos>.
TranslationBatch translation_batch(std::span<const Ids> sources, std::span<const Ids> targets,
                                   std::span<const std::int64_t> rows);

/// The lengths of the two sentences of a pair.
struct PairLength {
  std::int64_t target = 0;  // compared first: a decoder's step costs more than an encoder's
  std::int64_t source = 0;

  auto operator<=>(const PairLength&) const = default;
};

std::vector<PairLength> pair_lengths(std::span<const Ids> sources, std::span<const Ids> targets);

struct BucketOptions {
  std::int64_t batch_size = 64;
  /// A second limit besides batch_size, unless 0: pairs times the longest side among them with
  /// <eos>, the size of the padded matrix. Long pairs then get small batches, short pairs large
  /// ones. (A pair longer than the limit is a batch of its own.)
  std::int64_t max_tokens = 0;
  std::int64_t pool_batches = 50;  // size of the pools that are sorted, in batches
  std::uint64_t seed = 1;
};

/// One epoch: every pair once, in batches of pairs of similar length, of `batch_size` pairs (the
/// last of the sorted batches may be smaller), or fewer to satisfy `max_tokens`. The pairs are
/// shuffled and split into pools, each pool is sorted by length and split into batches, and the
/// batches are shuffled. Equal (lengths, options, epoch) give equal batches on every platform: to
/// resume at batch k of an epoch, generate the epoch again and skip k batches.
std::vector<Ids> bucketed_batches(std::span<const PairLength> lengths, std::int64_t epoch,
                                  const BucketOptions& options = {});

/// Every pair once, sorted by length: the least padding, for evaluation. The batches hold the
/// indices of the pairs, by which results can be put back in order.
std::vector<Ids> sorted_batches(std::span<const PairLength> lengths, std::int64_t batch_size);

}  // namespace fovea::nn::data
