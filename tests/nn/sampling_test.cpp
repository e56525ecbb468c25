#include <fovea/nn/sampling.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::message_of;

namespace {

constexpr float infinity = std::numeric_limits<float>::infinity();

// Logits whose softmax is 0.1, 0.4, 0.2, 0.3.
Tensor four() {
  return from_data(std::vector<double>{std::log(0.1), std::log(0.4), std::log(0.2), std::log(0.3)},
                   {4});
}

void check_probabilities(const Tensor& logits, const SamplingOptions& options,
                         const std::vector<double>& expected) {
  const std::vector<double> found = sampling_probabilities(logits, options);
  REQUIRE(found.size() == expected.size());
  for (std::size_t i = 0; i < found.size(); ++i) {
    CAPTURE(i);
    CHECK(found[i] == doctest::Approx(expected[i]).epsilon(1e-12));
    CHECK((found[i] == 0) == (expected[i] == 0));
  }
}

}  // namespace

TEST_CASE("probabilities by hand") {
  check_probabilities(four(), {}, {0.1, 0.4, 0.2, 0.3});
  check_probabilities(four(), {.top_k = 2}, {0, 4 / 7.0, 0, 3 / 7.0});
  check_probabilities(four(), {.top_k = 9}, {0.1, 0.4, 0.2, 0.3});
  check_probabilities(four(), {.top_p = 0.65}, {0, 4 / 7.0, 0, 3 / 7.0});
  check_probabilities(four(), {.top_p = 0.75}, {0, 4 / 9.0, 2 / 9.0, 3 / 9.0});
  check_probabilities(four(), {.top_p = 0.01}, {0, 1, 0, 0});  // one stays at least
  // Of the three most likely, 4/9, 3/9 and 2/9, two sum to 0.7: top_p applies after top_k.
  check_probabilities(four(), {.top_k = 3, .top_p = 0.7}, {0, 4 / 7.0, 0, 3 / 7.0});
  check_probabilities(four(), {.temperature = 0.5},
                      {0.01 / 0.3, 0.16 / 0.3, 0.04 / 0.3, 0.09 / 0.3});
  check_probabilities(four(), {.temperature = 0}, {0, 1, 0, 0});
}

TEST_CASE("ties go to the earlier token; -inf has probability 0") {
  const Tensor ties = tensor({1, 3, 3, 3, -infinity});
  check_probabilities(ties, {.temperature = 0}, {0, 1, 0, 0, 0});
  check_probabilities(ties, {.top_k = 2}, {0, 0.5, 0.5, 0, 0});
  check_probabilities(tensor({0, 0, -infinity}), {.top_p = 0.5}, {1, 0, 0});
  check_probabilities(tensor({0, 0, -infinity}), {.temperature = 1e-3}, {0.5, 0.5, 0});
}

TEST_CASE("extreme temperatures stay finite") {
  check_probabilities(tensor({1000, -1000, 0}), {.temperature = 1e-300}, {1, 0, 0});
  check_probabilities(tensor({1000, -1000, 0}), {.temperature = 1e300}, {1 / 3., 1 / 3., 1 / 3.});
}

// With N draws the statistic sum (found - expected)^2 / expected has mean 3 for four tokens, and is
// above 16.3 once in a thousand seeds.
TEST_CASE("samples have the frequencies of their probabilities") {
  Rng rng(5);
  const int draws = 20'000;
  std::vector<int> counts(4, 0);
  for (int i = 0; i < draws; ++i) ++counts[static_cast<std::size_t>(sample(four(), {}, rng))];
  const double expected[] = {0.1, 0.4, 0.2, 0.3};
  double chi_square = 0;
  for (std::size_t v = 0; v < 4; ++v) {
    const double difference = counts[v] - draws * expected[v];
    chi_square += difference * difference / (draws * expected[v]);
  }
  CHECK(chi_square < 16.3);
  CHECK(chi_square > 0.02);  // nor too good to be chance
}

TEST_CASE("equal seeds give equal samples; greedy search draws no random values") {
  const auto drawn = [](std::uint64_t seed) {
    Rng rng(seed);
    std::vector<std::int64_t> tokens;
    for (int i = 0; i < 50; ++i) tokens.push_back(sample(four(), {.top_p = 0.95}, rng));
    return tokens;
  };
  CHECK(drawn(1) == drawn(1));
  CHECK(drawn(1) != drawn(2));
  Rng rng(3);
  CHECK(sample(four(), {.temperature = 0}, rng) == 1);
  CHECK(rng.state().position == 0);
  sample(four(), {}, rng);
  CHECK(rng.state().position == 1);
}

TEST_CASE("a batch equals its rows one after another") {
  Rng one(7), other(7);
  const Tensor logits = randn({5, 9}, one);
  other.set_state(one.state());
  const Tensor tokens = sample_rows(logits, {}, one);
  CHECK(tokens.dtype() == DType::i64);
  for (std::int64_t b = 0; b < 5; ++b) {
    const auto row = logits.to_vector<double>();
    const std::vector<double> values(row.begin() + b * 9, row.begin() + (b + 1) * 9);
    CHECK(tokens.data<std::int64_t>()[b] == sample(from_data(values, {9}), {}, other));
  }
}

TEST_CASE("errors") {
  Rng rng(1);
  const auto message = [&](const Tensor& logits, const SamplingOptions& options) {
    return message_of<ValueError>([&] { sample(logits, options, rng); });
  };
  CHECK(message(four(), {.temperature = -1}) ==
        "sample: temperature = -1: must be at least 0 and finite");
  CHECK(message(four(), {.top_k = -1}) == "sample: top_k = -1: must be 0 (all) or above");
  CHECK(message(four(), {.top_p = 0}) == "sample: top_p = 0: must be above 0 and at most 1");
  CHECK_THROWS_AS(sample(four(), {.top_p = 1.1}, rng), ValueError);
  CHECK_THROWS_AS(sample(four(), {.temperature = std::nan("")}, rng), ValueError);
  CHECK(message(tensor({0, std::nanf("")}), {}) ==
        "sample: logit of token 1 = nan: must not be NaN or +inf");
  CHECK_THROWS_AS(sample(tensor({0, infinity}), {}, rng), ValueError);
  CHECK(message(tensor({-infinity, -infinity}), {}) ==
        "sample: all 2 logits = -inf: must have at least one finite logit");
  CHECK(message_of<ShapeError>([&] {
          sample(zeros({2, 3}), {}, rng);
        }) == "sample: logits (2, 3): must be (V)");
  CHECK_THROWS_AS(sample(zeros({0}), {}, rng), ShapeError);
  CHECK_THROWS_AS(sample_rows(zeros({3}), {}, rng), ShapeError);
}
