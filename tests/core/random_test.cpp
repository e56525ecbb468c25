#include <fovea/core/error.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/philox.h>
#include <fovea/core/random.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <numeric>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

struct KnownAnswer {
  kernels::PhiloxBlock counter;
  uint32_t key[2];
  kernels::PhiloxBlock output;
};

std::vector<double> normals(Rng rng, std::size_t n) {
  std::vector<double> values(n);
  rng.fill_normal(values);
  return values;
}

}  // namespace

// The three lines "philox4x32 10" of kat_vectors in the authors' Random123 library.
TEST_CASE("philox equals the published test vectors") {
  const KnownAnswer answers[] = {
      {{{0, 0, 0, 0}}, {0, 0}, {{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}}},
      {{{0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}},
       {0xffffffff, 0xffffffff},
       {{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}}},
      {{{0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}},
       {0xa4093822, 0x299f31d0},
       {{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}}}};
  for (const KnownAnswer& answer : answers) {
    const auto block = kernels::philox4x32(answer.counter, answer.key[0], answer.key[1]);
    for (int w = 0; w < 4; ++w) CHECK(block.word[w] == answer.output.word[w]);
  }
}

TEST_CASE("philox: a batch has the same words as single blocks") {
  const kernels::PhiloxOrigin origin{.seed = 0x299f31d0a4093822,
                                     .stream = 0x0370734413198a2e,
                                     .block = 0xfffffff0};  // the carry into the second word
  uint32_t words[4 * kernels::kPhiloxBatch];
  kernels::philox_blocks(origin, 5, words);
  for (uint64_t b = 0; b < kernels::kPhiloxBatch; ++b) {
    const auto block = kernels::philox_block(origin, 5 + b);
    for (uint64_t w = 0; w < 4; ++w) CHECK(words[4 * b + w] == block.word[w]);
  }
}

// Computed in Python from the definitions: integers for the draws, 40 digits for the quantiles.
TEST_CASE("Rng: draws, uniform and normal numbers equal their definitions") {
  const uint64_t draws[] = {0x77f5493b9ceaf053, 0x5742b3d712bf50ad, 0x53ba6cfdfcdb2127,
                            0x744e06fb838f5a6e, 0xa8875dcbd36c0225, 0xc609a5599a4d6d99};
  const double uniforms[] = {0.4685865183391049, 0.34086154938517876, 0.32706338120338474,
                             0.4543156017348883, 0.6583155272123093,  0.7735846847302149};
  const double quantiles[] = {-0.07882346885253179, -0.41011294279565147, -0.44803662789792775,
                              -0.11476523741853367, 0.40787023580530973,  0.7507043067685636};
  Rng raw(42), uniform(42), normal(42);
  for (int i = 0; i < 6; ++i) {
    CHECK(raw.next_u64() == draws[i]);
    CHECK(uniform.uniform() == uniforms[i]);
    CHECK(normal.normal() == doctest::Approx(quantiles[i]).epsilon(1e-15));
  }
}

// Computed with 50 digits; 2^-53 is the smallest p of Rng::normal.
TEST_CASE("normal_quantile: center and both tails") {
  const struct {
    double p, z;
  } points[] = {{0x1p-53, -8.209536151601387},    {1e-14, -7.650628092935269},
                {1e-11, -6.706023155495136},      {2e-11, -6.604077590405634},
                {1e-5, -4.264890793922825},       {0.074, -1.4466320671589785},
                {0.0751, -1.43882539275254},      {0.3, -0.5244005127080408},
                {0.4999, -0.00025066283008800747}};
  for (const auto& [p, z] : points) {
    CHECK(normal_quantile(p) == doctest::Approx(z).epsilon(3e-15));
    CHECK(normal_quantile(1 - p) == doctest::Approx(-z).epsilon(p < 1e-6 ? 1e-2 : 1e-11));
  }
  CHECK(normal_quantile(0.5) == 0.0);
}

// "The same on every platform" means the same bits.
TEST_CASE("Rng: normal numbers have these bits on every platform") {
  uint64_t hash = 1469598103934665603u;  // FNV-1a over 10,000 numbers, tails included
  for (const double z : normals(Rng(1), 10000)) {
    hash = (hash ^ std::bit_cast<uint64_t>(z)) * 1099511628211u;
  }
  CHECK(hash == 9484050337925521387u);
}

TEST_CASE("Rng: normal numbers have the distribution's probabilities") {
  constexpr std::size_t n = 200000;
  std::vector<double> z = normals(Rng(7), n);
  std::sort(z.begin(), z.end());
  double largest_gap = 0;  // Kolmogorov-Smirnov: the bound is exceeded with probability 1e-6
  for (std::size_t i = 0; i < n; ++i) {
    const double expected = 0.5 * std::erfc(-z[i] / std::sqrt(2.0));
    largest_gap = std::max(largest_gap, std::abs((static_cast<double>(i) + 0.5) / n - expected));
  }
  CHECK(largest_gap < 2.7 / std::sqrt(n));
}

TEST_CASE("Rng: below is unbiased, stays in range and names a bad argument") {
  Rng rng(3);
  std::vector<int> counts(7);
  for (int i = 0; i < 70000; ++i) ++counts[static_cast<std::size_t>(rng.below(7))];
  double chi_squared = 0;
  for (const int count : counts) chi_squared += (count - 10000.0) * (count - 10000.0) / 10000.0;
  CHECK(chi_squared < 38.3);  // 6 degrees of freedom: exceeded with probability 1e-6
  CHECK(rng.below(1) == 0);
  const int64_t large = int64_t{3} << 61;  // 3/4 of the range: some draws are rejected
  for (int i = 0; i < 100; ++i) CHECK(rng.below(large) < large);
  CHECK_THROWS_WITH_AS(rng.below(0), "Rng::below: n = 0: must be at least 1", ValueError);
}

TEST_CASE("Rng: a fill equals one call per element, from any position, in both precisions") {
  for (const std::size_t n : {0u, 1u, 2u, 7u, 8192u, 20001u}) {
    Rng one_by_one(11), at_once(11), single(11);
    CHECK(one_by_one.next_u64() == at_once.next_u64());  // an odd position
    single.next_u64();
    std::vector<double> values(n);
    std::vector<float> rounded(n);
    at_once.fill_normal(values, 1.0, 2.0);
    single.fill_normal(rounded, 1.0, 2.0);
    for (std::size_t i = 0; i < n; ++i) {
      REQUIRE(values[i] == one_by_one.normal(1.0, 2.0));
      REQUIRE(rounded[i] == static_cast<float>(values[i]));
    }
    CHECK(at_once.state() == one_by_one.state());
    CHECK(single.state() == one_by_one.state());
    CHECK(at_once.next_u64() == one_by_one.next_u64());
  }
}

TEST_CASE("Rng: a uniform fill stays within its bounds") {
  std::vector<float> values(100000);
  Rng(5).fill_uniform(values);
  CHECK(*std::min_element(values.begin(), values.end()) >= 0.0f);
  CHECK(*std::max_element(values.begin(), values.end()) < 1.0f);
  const double mean = std::accumulate(values.begin(), values.end(), 0.0) / 100000;
  CHECK(std::abs(mean - 0.5) < 5 * std::sqrt(1.0 / 12 / 100000));
  std::vector<double> wide(1000);
  Rng(5).fill_uniform(wide, -3.0, 5.0);
  for (const double x : wide) CHECK((x >= -3.0 && x < 5.0));
}

TEST_CASE("Rng: a fill does not depend on the number of threads") {
  const int before = kernels::num_threads();
  kernels::set_num_threads(1);
  const std::vector<double> alone = normals(Rng(9), 50000);
  for (const int threads : {2, 3, 8}) {
    kernels::set_num_threads(threads);
    CHECK(normals(Rng(9), 50000) == alone);
  }
  kernels::set_num_threads(before);
}

TEST_CASE("Rng: the state determines the generator") {
  Rng rng(13);
  for (const int draws : {0, 1, 2, 5}) {
    for (int i = 0; i < draws; ++i) rng.next_u64();
    Rng copy(rng.state());
    Rng other(99);
    other.set_state(rng.state());
    Rng ahead = rng;
    for (int i = 0; i < 5; ++i) {
      const uint64_t draw = ahead.next_u64();
      CHECK(copy.next_u64() == draw);
      CHECK(other.next_u64() == draw);
    }
  }
}

TEST_CASE("Rng: reserved words are not drawn again") {
  Rng rng(17);
  rng.next_u64();
  const kernels::PhiloxOrigin first = rng.reserve(5);  // two blocks
  const kernels::PhiloxOrigin second = rng.reserve(0);
  CHECK(first.block == 1);
  CHECK(second.block == 3);
  CHECK(rng.state().position == 6);
  const auto block = kernels::philox_block(second, 0);
  CHECK(rng.next_u64() == (block.word[0] | uint64_t{block.word[1]} << 32));
  CHECK_THROWS_WITH_AS(rng.reserve(-1), "Rng::reserve: words = -1: must not be negative",
                       ValueError);
}

TEST_CASE("Rng: a fork depends on seed, stream and id, not on the position") {
  Rng rng(19);
  const Rng before = rng.fork(4);
  rng.next_u64();
  CHECK(rng.fork(4).state() == before.state());
  CHECK(rng.fork(5).state() != before.state());
  CHECK(Rng(20).fork(4).state() != before.state());
  CHECK(before.fork(4).state() != before.state());
  Rng child = before, parent(19);
  CHECK(child.next_u64() != parent.next_u64());
}

TEST_CASE("Rng: shuffle gives every order equally often") {
  Rng rng(23);
  std::vector<int> counts(6);
  for (int i = 0; i < 60000; ++i) {
    std::vector<int> order = {0, 1, 2};
    rng.shuffle(order);
    ++counts[static_cast<std::size_t>(2 * order[0] + (order[1] > order[2]))];
  }
  double chi_squared = 0;
  for (const int count : counts) chi_squared += (count - 10000.0) * (count - 10000.0) / 10000.0;
  CHECK(chi_squared < 35.9);  // 5 degrees of freedom: exceeded with probability 1e-6
  std::vector<int> none;
  rng.shuffle(none);
  CHECK(none.empty());
}
