#include <fovea/core/error.h>
#include <fovea/core/random.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/data/batching.h>

#include <algorithm>
#include <numeric>

namespace fovea::nn::data {
namespace {

Ids counting_up_to(std::size_t count) {
  Ids numbers(count);
  std::iota(numbers.begin(), numbers.end(), 0);
  return numbers;
}

void sort_by_length(std::span<std::int64_t> rows, std::span<const PairLength> lengths) {
  std::stable_sort(rows.begin(), rows.end(), [&](std::int64_t a, std::int64_t b) {
    return lengths[static_cast<std::size_t>(a)] < lengths[static_cast<std::size_t>(b)];
  });
}

// Calls use(chunk) for chunks of `size` items; the last one may be smaller.
template <class F>
void for_each_chunk(std::span<std::int64_t> items, std::int64_t size, F use) {
  while (!items.empty()) {
    const std::size_t count = std::min(items.size(), static_cast<std::size_t>(size));
    use(items.first(count));
    items = items.subspan(count);
  }
}

void append_batches(std::span<std::int64_t> rows, std::int64_t batch_size,
                    std::vector<Ids>& batches) {
  for_each_chunk(rows, batch_size, [&](std::span<std::int64_t> batch) {
    batches.emplace_back(batch.begin(), batch.end());
  });
}

// The same, each batch within BucketOptions::max_tokens.
void append_bounded_batches(std::span<const std::int64_t> rows, std::span<const PairLength> lengths,
                            const BucketOptions& options, std::vector<Ids>& batches) {
  Ids batch;
  std::int64_t longest = 0;
  for (const std::int64_t row : rows) {
    const PairLength& pair = lengths[static_cast<std::size_t>(row)];
    const std::int64_t with_it = std::max(longest, std::max(pair.source, pair.target) + 1);
    const std::int64_t count = std::ssize(batch) + 1;
    if (count > 1 && (count > options.batch_size || with_it > options.max_tokens / count)) {
      batches.push_back(std::move(batch));
      batch.clear();
      longest = 0;
    }
    batch.push_back(row);
    longest = std::max({longest, pair.source + 1, pair.target + 1});
  }
  if (!batch.empty()) batches.push_back(std::move(batch));
}

void check_positive(std::string_view op, std::string_view name, std::int64_t value) {
  if (value < 1) value_error(op, "{} = {}: must be positive", name, value);
}

void check_same_count(std::string_view op, std::span<const Ids> sources,
                      std::span<const Ids> targets) {
  if (sources.size() != targets.size())
    value_error(op, "{} sources and {} targets: must be equal", sources.size(), targets.size());
}

const Ids& row_of(std::span<const Ids> sequences, std::int64_t row) {
  if (row < 0 || row >= std::ssize(sequences))
    index_error("batching", "row = {}: must be below {} sequences", row, sequences.size());
  return sequences[static_cast<std::size_t>(row)];
}

}  // namespace

PaddedBatch pad_rows(std::span<const Ids> sequences, std::span<const std::int64_t> rows,
                     std::int64_t padding) {
  PaddedBatch batch;
  batch.batch_size = std::ssize(rows);
  for (const std::int64_t row : rows) {
    batch.lengths.push_back(std::ssize(row_of(sequences, row)));
    batch.max_len = std::max(batch.max_len, batch.lengths.back());
  }
  const std::int64_t ids = checked_mul("pad_rows", batch.batch_size, batch.max_len);
  batch.ids = checked_vector("pad_rows", "ids", ids, padding);
  auto out = batch.ids.begin();
  for (const std::int64_t row : rows) {
    const Ids& sequence = row_of(sequences, row);
    std::copy(sequence.begin(), sequence.end(), out);
    out += batch.max_len;
  }
  return batch;
}

TranslationBatch translation_batch(std::span<const Ids> sources, std::span<const Ids> targets,
                                   std::span<const std::int64_t> rows) {
  check_same_count("translation_batch", sources, targets);
  std::vector<Ids> source, input, output;
  for (const std::int64_t row : rows) {
    source.push_back(row_of(sources, row));
    source.back().push_back(Vocab::eos);
    output.push_back(row_of(targets, row));
    input.push_back(output.back());
    input.back().insert(input.back().begin(), Vocab::bos);
    output.back().push_back(Vocab::eos);
  }
  const Ids all = counting_up_to(rows.size());
  return {pad_rows(source, all), pad_rows(input, all), pad_rows(output, all)};
}

std::vector<PairLength> pair_lengths(std::span<const Ids> sources, std::span<const Ids> targets) {
  check_same_count("pair_lengths", sources, targets);
  std::vector<PairLength> lengths;
  for (std::size_t i = 0; i < sources.size(); ++i)
    lengths.push_back({.target = std::ssize(targets[i]), .source = std::ssize(sources[i])});
  return lengths;
}

std::vector<Ids> bucketed_batches(std::span<const PairLength> lengths, std::int64_t epoch,
                                  const BucketOptions& options) {
  check_positive("bucketed_batches", "batch_size", options.batch_size);
  check_positive("bucketed_batches", "pool_batches", options.pool_batches);
  if (options.max_tokens < 0)
    value_error("bucketed_batches", "max_tokens = {}: must not be negative", options.max_tokens);
  Rng rng = Rng(options.seed).fork(static_cast<std::uint64_t>(epoch));
  Ids rows = counting_up_to(lengths.size());
  rng.shuffle(rows);
  // A pool is at most all pairs; without this bound the product could overflow.
  const std::int64_t most = std::max<std::int64_t>(std::ssize(lengths), 1);
  const std::int64_t batch_size = std::min(options.batch_size, most);
  const std::int64_t pool_size = batch_size * std::min(options.pool_batches, most);
  std::vector<Ids> batches;
  for_each_chunk(rows, pool_size, [&](std::span<std::int64_t> pool) {
    sort_by_length(pool, lengths);
    if (options.max_tokens > 0) {
      append_bounded_batches(pool, lengths, options, batches);
    } else {
      append_batches(pool, batch_size, batches);
    }
  });
  rng.shuffle(batches);
  return batches;
}

std::vector<Ids> sorted_batches(std::span<const PairLength> lengths, std::int64_t batch_size) {
  check_positive("sorted_batches", "batch_size", batch_size);
  Ids rows = counting_up_to(lengths.size());
  sort_by_length(rows, lengths);
  std::vector<Ids> batches;
  append_batches(rows, batch_size, batches);
  return batches;
}

}  // namespace fovea::nn::data
