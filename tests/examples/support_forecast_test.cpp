// The batches of the dry run, and the error if a training does not fit into memory.
#include <fovea/core/error.h>
#include <fovea/core/random.h>
#include <fovea/examples/support/forecast.h>
#include <fovea/tests/support/compare.h>

#include <iostream>
#include <sstream>

#include <doctest/doctest.h>

namespace data = fovea::nn::data;
using fovea::nn::inspect::CostLedger;
using fovea::test::message_of;

namespace {

// 4 MB without activations; the peak is in backward.
CostLedger some_cost() {
  return {.parameters = 250'000,
          .parameter_bytes = 1'000'000,
          .gradient_bytes = 1'000'000,
          .optimizer_bytes = 2'000'000,
          .saved_bytes = 6'000'000,
          .forward_peak_bytes = 9'000'000,
          .backward_peak_bytes = 10'500'000,
          .update_peak_bytes = 4'000'000};
}

std::vector<support::Choice> no_choices(std::int64_t) { return {}; }

}  // namespace

TEST_CASE("the batches with the longest sides are among those that are dry-run") {
  std::vector<data::PairLength> lengths(1000, {.target = 5, .source = 5});
  lengths[123].target = 50;
  lengths[456].source = 70;
  const data::BucketOptions options{.batch_size = 16, .seed = 3};
  const auto found = support::largest_batches(lengths, options, 4);
  CHECK(found.size() <= 12);
  bool has_target = false, has_source = false;
  for (const support::BatchIndex& index : found) {
    CHECK((index.epoch >= 0 && index.epoch < 4));
    const auto batches = data::bucketed_batches(lengths, index.epoch, options);
    for (const std::int64_t row : batches.at(static_cast<std::size_t>(index.batch)))
      has_target |= row == 123, has_source |= row == 456;
  }
  CHECK(has_target);
  CHECK(has_source);
}

TEST_CASE("short sequences in large batches are among them too") {
  std::vector<data::PairLength> lengths(64, {.target = 2, .source = 2});
  lengths.resize(80, {.target = 40, .source = 40});
  const data::BucketOptions options{.batch_size = 1000, .max_tokens = 200};
  std::size_t largest = 0;
  for (const support::BatchIndex& index : support::largest_batches(lengths, options, 1))
    largest = std::max(largest, data::bucketed_batches(lengths, index.epoch, options)
                                    .at(static_cast<std::size_t>(index.batch))
                                    .size());
  CHECK(largest > 20);
}

TEST_CASE("the most expensive batch may not be the largest by any single measure") {
  // One sequence per batch. The last is not the largest by source, target, sum or product.
  const std::vector<data::PairLength> lengths{{.target = 20, .source = 200},
                                              {.target = 100, .source = 10},
                                              {.target = 60, .source = 150},
                                              {.target = 95, .source = 90}};
  const data::BucketOptions options{.batch_size = 1};
  const auto batches = data::bucketed_batches(lengths, 0, options);
  bool has_last = false;
  for (const support::BatchIndex& index : support::largest_batches(lengths, options, 1))
    has_last |= batches.at(static_cast<std::size_t>(index.batch))[0] == 3;
  CHECK(has_last);
}

TEST_CASE("nearly the most expensive batch is found for any cost per source and target token") {
  fovea::Rng rng(5);
  std::vector<data::PairLength> lengths;
  for (int i = 0; i < 3000; ++i)
    lengths.push_back({.target = 1 + rng.below(40), .source = 1 + rng.below(60)});
  const data::BucketOptions options{.batch_size = 32, .max_tokens = 600, .pool_batches = 3};
  const auto found = support::largest_batches(lengths, options, 2);
  for (const double target_costs : {0.1, 0.5, 2.0, 3.0, 8.0, 40.0}) {
    const auto cost_of = [&](const data::Ids& rows) {
      double cost = 0;
      for (const std::int64_t row : rows) {
        const data::PairLength& length = lengths[static_cast<std::size_t>(row)];
        cost +=
            static_cast<double>(length.source) + target_costs * static_cast<double>(length.target);
      }
      return cost;
    };
    double most = 0, most_found = 0;
    for (const std::int64_t epoch : {0, 1})
      for (const data::Ids& rows : data::bucketed_batches(lengths, epoch, options))
        most = std::max(most, cost_of(rows));
    for (const support::BatchIndex& index : found)
      most_found =
          std::max(most_found, cost_of(data::bucketed_batches(lengths, index.epoch, options)
                                           .at(static_cast<std::size_t>(index.batch))));
    CAPTURE(target_costs);
    CHECK(most_found >= 0.98 * most);
  }
}

TEST_CASE("no epochs: the first is examined") {
  const std::vector<data::PairLength> lengths(5, {.target = 2, .source = 2});
  CHECK(support::largest_batches(lengths, {}, 0).size() == 1);
}

TEST_CASE("a number is halved until it fits") {
  const auto tenfold = [](std::int64_t value) { return 10 * value; };
  const auto fits = support::halved("--batch", 17, 45, tenfold);
  REQUIRE(fits.size() == 1);
  CHECK(fits[0].option == "--batch 4");
  CHECK(fits[0].peak_bytes == 40);
  const auto never = support::halved("--batch", 17, 5, tenfold);
  REQUIRE(never.size() == 1);
  CHECK(never[0].option == "--batch 1");
  CHECK(never[0].peak_bytes == 10);
  CHECK(support::halved("--batch", 1, 5, tenfold).empty());
  const auto at_least_four = [](std::int64_t value) {
    if (value < 4) fovea::value_error("model", "{} is too narrow", value);
    return 10 * value;
  };
  CHECK(support::halved("--hidden", 17, 5, at_least_four).at(0).option == "--hidden 4");
  CHECK(support::halved("--hidden", 7, 5, at_least_four).empty());
  CHECK(support::halved("--batch", 0, 5, tenfold).empty());
}

TEST_CASE("the error has the required memory, the limit and the alternatives") {
  const auto choices = [](std::int64_t limit) -> std::vector<support::Choice> {
    CHECK(limit == 8'000'000);
    return {{"--batch 8", 7'900'000}, {"--hidden 1", 8'100'000}};
  };
  CHECK(message_of<fovea::ValueError>(
            [&] { support::may_train(some_cost(), {.limit = 8'000'000}, choices); }) ==
        "memory: training needs 10.5 MB in the backward of its largest batch (1.00 MB parameters, "
        "1.00 MB gradients, 2.00 MB optimizer state, 6.00 MB saved for backward), but "
        "--memory-limit is 8.00 MB\n"
        "Settings that need less memory:\n"
        "  --batch 8                7.90 MB\n"
        "  --hidden 1               8.10 MB: still too large");
}

TEST_CASE("the limit itself fits, and the default is the available memory") {
  CHECK(support::may_train(some_cost(), {.limit = 10'500'000}, no_choices));
  CHECK_THROWS_AS(support::may_train(some_cost(), {.limit = 10'499'999}, no_choices),
                  fovea::ValueError);
  CHECK(support::available_memory() > 0);
  CHECK(support::bytes_for_tensors(964'000'000) == 800'000'000);
  CHECK(support::bytes_for_tensors(1'000'000) == 1);
  CostLedger giant = some_cost();
  giant.backward_peak_bytes = std::int64_t{1} << 60;
  const std::string message =
      message_of<fovea::ValueError>([&] { support::may_train(giant, {}, no_choices); });
  CHECK(message.find("but the available memory is ") != std::string::npos);
}

TEST_CASE("--dry-run prints the ledger and does not train; error if training does not fit") {
  const auto shown = [](const support::MemoryOptions& options, bool& trains) {
    const std::ostringstream text;
    std::streambuf* before = std::cout.rdbuf(text.rdbuf());
    std::string refusal;
    try {
      trains = support::may_train(some_cost(), options, no_choices);
    } catch (const fovea::ValueError& error) {
      refusal = error.what();
    }
    std::cout.rdbuf(before);
    return text.str() + refusal;
  };
  bool trains = true;
  std::string text = shown({.dry_run = true, .limit = 20'000'000}, trains);
  CHECK_FALSE(trains);
  CHECK(text.find(some_cost().table()) != std::string::npos);
  CHECK(text.find("20.0 MB") != std::string::npos);
  CHECK(shown({.limit = 20'000'000}, trains).empty());
  CHECK(trains);
  text = shown({.dry_run = true, .limit = 8'000'000}, trains);
  CHECK(text.find(some_cost().table()) != std::string::npos);
  CHECK(text.find("but --memory-limit is 8.00 MB") != std::string::npos);
}

TEST_CASE("a validation may exceed the limit") {
  CostLedger cost = some_cost();
  cost.validation_peak_bytes = 20'000'000;
  CHECK(message_of<fovea::ValueError>([&] {
          support::may_train(cost, {.limit = 15'000'000}, no_choices);
        }).find("needs 20.0 MB in a validation (") != std::string::npos);
}
