#include <fovea/core/error.h>
#include <fovea/core/random.h>
#include <fovea/nn/data/batching.h>

#include <algorithm>
#include <limits>
#include <numeric>

#include <doctest/doctest.h>

using namespace fovea::nn::data;

namespace {

std::vector<PairLength> random_lengths(std::int64_t count) {
  fovea::Rng rng(3);
  std::vector<PairLength> lengths;
  for (std::int64_t i = 0; i < count; ++i)
    lengths.push_back({.target = 1 + rng.below(40), .source = 1 + rng.below(40)});
  return lengths;
}

// Whether every index below `count` occurs exactly once.
bool is_partition(const std::vector<Ids>& batches, std::int64_t count) {
  Ids all;
  for (const Ids& batch : batches) all.insert(all.end(), batch.begin(), batch.end());
  std::sort(all.begin(), all.end());
  Ids wanted(static_cast<std::size_t>(count));
  std::iota(wanted.begin(), wanted.end(), 0);
  return all == wanted;
}

// The share of a target matrix that is padding.
double padding(const std::vector<Ids>& batches, const std::vector<PairLength>& lengths) {
  double cells = 0, tokens = 0;
  for (const Ids& batch : batches) {
    std::int64_t longest = 0;
    for (const std::int64_t row : batch) {
      const std::int64_t length = lengths[static_cast<std::size_t>(row)].target;
      longest = std::max(longest, length);
      tokens += static_cast<double>(length);
    }
    cells += static_cast<double>(longest * std::ssize(batch));
  }
  return 1 - tokens / cells;
}

}  // namespace

TEST_CASE("batching: rows become one matrix, padded at the end") {
  const std::vector<Ids> sequences = {{7, 8, 9}, {}, {5}};
  const PaddedBatch batch = pad_rows(sequences, Ids{2, 0, 1});
  CHECK(batch.batch_size == 3);
  CHECK(batch.max_len == 3);
  CHECK(batch.lengths == Ids{1, 3, 0});
  CHECK(batch.ids == Ids{5, 0, 0, 7, 8, 9, 0, 0, 0});
  CHECK(batch.tensor().shape() == fovea::Shape{3, 3});
  CHECK(batch.tensor().to_vector<std::int64_t>() == batch.ids);
  CHECK(pad_rows(sequences, Ids{2, 0}, -100).ids == Ids{5, -100, -100, 7, 8, 9});
  CHECK(pad_rows(sequences, Ids{1}).max_len == 0);
  CHECK(pad_rows(sequences, Ids{1}).tensor().shape() == fovea::Shape{1, 0});
  CHECK(pad_rows(sequences, Ids{}).batch_size == 0);
  CHECK_THROWS_WITH_AS(pad_rows(sequences, Ids{0, 3}),
                       "batching: row = 3: must be below 3 sequences", fovea::IndexError);
  CHECK_THROWS_AS(pad_rows(sequences, Ids{-1}), fovea::IndexError);
}

TEST_CASE("batching: the decoder input is the target, shifted by one step") {
  const std::vector<Ids> sources = {{4, 5}, {6}}, targets = {{7}, {8, 9}};
  const TranslationBatch batch = translation_batch(sources, targets, Ids{1, 0});
  CHECK(batch.source.ids == Ids{6, Vocab::eos, Vocab::pad, 4, 5, Vocab::eos});
  CHECK(batch.source.lengths == Ids{2, 3});
  CHECK(batch.target_input.ids == Ids{Vocab::bos, 8, 9, Vocab::bos, 7, Vocab::pad});
  CHECK(batch.target_output.ids == Ids{8, 9, Vocab::eos, 7, Vocab::eos, Vocab::pad});
  CHECK(batch.target_input.lengths == batch.target_output.lengths);
  CHECK_THROWS_WITH_AS(translation_batch(sources, std::vector<Ids>{{1}}, Ids{0}),
                       "translation_batch: 2 sources and 1 targets: must be equal",
                       fovea::ValueError);
  CHECK_THROWS_AS(translation_batch(sources, targets, Ids{2}), fovea::IndexError);
}

TEST_CASE("batching: an epoch holds every pair once, in batches of one size") {
  for (const std::int64_t count : {0, 1, 63, 64, 65, 1000}) {
    CAPTURE(count);
    const auto batches =
        bucketed_batches(random_lengths(count), 0, {.batch_size = 64, .pool_batches = 3});
    CHECK(is_partition(batches, count));
    CHECK(std::ssize(batches) == (count + 63) / 64);
    CHECK(std::count_if(batches.begin(), batches.end(),
                        [](const Ids& batch) { return batch.size() < 64; }) <= 1);
  }
}

TEST_CASE("batching: epochs and seeds differ, and each is reproducible") {
  const auto lengths = random_lengths(500);
  const auto epoch = bucketed_batches(lengths, 4, {.batch_size = 16, .seed = 9});
  CHECK(epoch == bucketed_batches(lengths, 4, {.batch_size = 16, .seed = 9}));
  CHECK(epoch != bucketed_batches(lengths, 5, {.batch_size = 16, .seed = 9}));
  CHECK(epoch != bucketed_batches(lengths, 4, {.batch_size = 16, .seed = 10}));
}

TEST_CASE("batching: the order is the same on every platform") {
  const std::vector<PairLength> lengths = {{3, 1}, {1, 2}, {2, 2}, {1, 1}, {3, 2}, {2, 1}};
  const std::vector<Ids> expected = {{5, 2}, {3, 1}, {0, 4}};
  CHECK(bucketed_batches(lengths, 0, {.batch_size = 2, .seed = 1}) == expected);
}

TEST_CASE("batching: buckets save padding") {
  const auto lengths = random_lengths(5000);
  const double single = padding(bucketed_batches(lengths, 0, {.pool_batches = 1}), lengths);
  const double pooled = padding(bucketed_batches(lengths, 0, {.pool_batches = 20}), lengths);
  const double sorted = padding(sorted_batches(lengths, 64), lengths);
  CHECK(single > 0.4);
  CHECK(pooled < 0.05);
  CHECK(sorted < 0.02);
}

TEST_CASE("batching: with max_tokens, long pairs are in small batches") {
  const auto lengths = random_lengths(3000);
  std::int64_t longest = 0;
  for (const PairLength& pair : lengths) longest = std::max({longest, pair.source, pair.target});
  const BucketOptions options{.batch_size = 200, .max_tokens = 40 * (longest + 1)};
  const auto batches = bucketed_batches(lengths, 0, options);
  CHECK(is_partition(batches, 3000));
  std::int64_t most_pairs = 0, nearly_full = 0;
  for (const Ids& batch : batches) {
    std::int64_t widest = 0;
    for (const std::int64_t row : batch) {
      const PairLength& pair = lengths[static_cast<std::size_t>(row)];
      widest = std::max({widest, pair.source + 1, pair.target + 1});
    }
    const std::int64_t tokens = widest * std::ssize(batch);
    CHECK(tokens <= options.max_tokens);
    CHECK(std::ssize(batch) <= 200);
    nearly_full += tokens > options.max_tokens * 9 / 10 || batch.size() == 200;
    most_pairs = std::max(most_pairs, static_cast<std::int64_t>(batch.size()));
  }
  CHECK(nearly_full > std::ssize(batches) * 8 / 10);
  CHECK(most_pairs > 50);
  // A pair longer than the limit is a batch of its own.
  CHECK(bucketed_batches(lengths, 0, {.max_tokens = 1}).size() == 3000);
  CHECK_THROWS_WITH_AS(bucketed_batches(lengths, 0, {.max_tokens = -1}),
                       "bucketed_batches: max_tokens = -1: must not be negative",
                       fovea::ValueError);
}

TEST_CASE("batching: batches of an epoch do not come in order of length") {
  const auto lengths = random_lengths(2000);
  Ids first_targets;
  for (const Ids& batch : bucketed_batches(lengths, 0, {.batch_size = 20}))
    first_targets.push_back(lengths[static_cast<std::size_t>(batch[0])].target);
  CHECK_FALSE(std::is_sorted(first_targets.begin(), first_targets.end()));
}

TEST_CASE("batching: sorted batches go by target, then source, then number") {
  const std::vector<PairLength> lengths = {{3, 1}, {1, 2}, {3, 1}, {1, 1}};
  CHECK(sorted_batches(lengths, 3) == std::vector<Ids>{{3, 1, 0}, {2}});
  CHECK(sorted_batches({}, 3).empty());
}

TEST_CASE("batching: lengths of pairs") {
  const std::vector<Ids> sources = {{4, 5}, {}}, targets = {{7}, {8, 9}};
  CHECK(pair_lengths(sources, targets) == std::vector<PairLength>{{1, 2}, {2, 0}});
  CHECK_THROWS_AS(pair_lengths(sources, std::vector<Ids>{}), fovea::ValueError);
}

TEST_CASE("batching: invalid sizes, and very large sizes") {
  const auto lengths = random_lengths(10);
  CHECK_THROWS_WITH_AS(bucketed_batches(lengths, 0, {.batch_size = 0}),
                       "bucketed_batches: batch_size = 0: must be positive", fovea::ValueError);
  CHECK_THROWS_WITH_AS(bucketed_batches(lengths, 0, {.pool_batches = -1}),
                       "bucketed_batches: pool_batches = -1: must be positive", fovea::ValueError);
  CHECK_THROWS_AS(sorted_batches(lengths, 0), fovea::ValueError);
  const std::int64_t huge = std::numeric_limits<std::int64_t>::max();
  CHECK(bucketed_batches(lengths, 0, {.batch_size = huge, .pool_batches = huge}).size() == 1);
  CHECK(bucketed_batches(lengths, 0, {.batch_size = 1, .pool_batches = huge}).size() == 10);
  CHECK(sorted_batches(lengths, huge).size() == 1);
}
