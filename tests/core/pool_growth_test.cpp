// The memory of the pool is bounded for every sequence of shapes, and a steady state takes no
// memory from the system. The tensors are never written: address space is enough for the counters.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/storage.h>

#include <algorithm>
#include <cmath>
#include <random>
#include <thread>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

constexpr std::int64_t KiB = 1 << 10, MiB = 1 << 20;

#ifdef FOVEA_SANITIZED
constexpr bool pooled = false;  // every block comes from malloc then
#else
constexpr bool pooled = true;
#endif

Tensor bytes(std::int64_t n) { return empty({n}, DType::boolean); }

std::vector<Tensor> tensors(std::int64_t count, std::int64_t n) {
  std::vector<Tensor> all;
  for (std::int64_t i = 0; i < count; ++i) all.push_back(bytes(n));
  return all;
}

// system_bytes beyond 1.5 times the peak of the tensors, with `header` bytes for each of `count`.
std::int64_t excess(std::int64_t count = 0) {
  static std::int64_t highest = 0;  // the pool may still hold the memory of an earlier case
  const MemoryStats now = memory_stats();
  highest = std::max(highest, now.peak_bytes + count * 128);
  return now.system_bytes - (highest + highest / 2);
}

constexpr std::int64_t always_held = 64 * MiB;

// Lengths between `low` and `high`, the same for the same seed.
std::vector<std::int64_t> lengths(int count, std::int64_t low, std::int64_t high, unsigned seed) {
  std::mt19937 random(seed);
  std::vector<std::int64_t> all;
  for (int i = 0; i < count; ++i)
    all.push_back(low + static_cast<std::int64_t>(random()) % (high - low + 1));
  return all;
}

// A step as in training on sequences of `length`: temporaries of several sizes, freed in reverse
// order, and a state that lives from the first step on.
struct Step {
  std::vector<Tensor> state;
  void operator()(std::int64_t length) {
    std::vector<Tensor> live;
    for (int layer = 0; layer < 6; ++layer) {
      live.push_back(bytes(length * 6 * KiB));
      live.push_back(bytes(length * length * 4));
      live.push_back(bytes(length * 24 * KiB));
      const Tensor gone = bytes(length * 12 * KiB);
      if (state.size() < 12) state.push_back(bytes(2 * MiB));
    }
    while (!live.empty()) {
      const Tensor gradient = bytes(static_cast<std::int64_t>(live.back().numel()));
      live.pop_back();
    }
  }
};

}  // namespace

TEST_CASE("growing, shrinking, doubling and alternating lengths") {
  if (!pooled) return;
  std::vector<std::vector<std::int64_t>> patterns(5);
  for (std::int64_t i = 0; i < 400; ++i) patterns[0].push_back(600 + i);
  for (std::int64_t i = 0; i < 400; ++i) patterns[1].push_back(1000 - i);
  for (std::int64_t n = 8; n <= 1024; n *= 2) patterns[2].push_back(n);
  for (std::int64_t i = 0; i < 100; ++i) patterns[3].push_back(i % 2 ? 20 + i : 900 + i);
  patterns[4] = lengths(400, 1, 1000, 1);
  for (const auto& pattern : patterns) {
    CAPTURE(pattern.front());
    Step step;
    reset_peak_memory();
    for (const std::int64_t length : pattern) {
      step(length);
      REQUIRE(excess() <= always_held);
    }
  }
}

TEST_CASE("lengths within a previous range take no memory from the system") {
  if (!pooled) return;
  Step step;
  for (const std::int64_t length : lengths(200, 100, 1000, 2)) step(length);
  step(1000);
  const std::int64_t before = memory_stats().system_allocations;
  for (const std::int64_t length : lengths(400, 100, 1000, 3)) step(length);
  CHECK(memory_stats().system_allocations == before);
}

TEST_CASE("phases of blocks of one size each share their memory") {
  if (!pooled) return;
  reset_peak_memory();
  const auto round = [] {
    for (const std::int64_t size : {5 * KiB, 48 * KiB, 700 * KiB, 3 * MiB, 33 * MiB, 150 * MiB})
      tensors(300 * MiB / size, size);
  };
  round();
  CHECK(excess() <= always_held);
  const std::int64_t before = memory_stats().system_allocations;
  for (int i = 0; i < 5; ++i) round();
  CHECK(memory_stats().system_allocations == before);
}

TEST_CASE("small tensors of many sizes") {
  if (!pooled) return;
  reset_peak_memory();
  for (std::int64_t size = 512; size <= 4032; size += 64) {
    tensors(200 * MiB / size, size);
    REQUIRE(excess(200 * MiB / 512) <= always_held);
  }
}

TEST_CASE("long-lived tensors between temporaries") {
  if (!pooled) return;
  std::vector<Tensor> kept;
  reset_peak_memory();
  for (std::int64_t i = 1; i <= 60; ++i) {
    const std::int64_t size = i * 37 * KiB;
    std::vector<Tensor> temporaries = tensors(100, size);
    for (std::size_t k = 0; k < temporaries.size(); k += 10) kept.push_back(temporaries[k]);
    if (kept.size() > 100) kept.erase(kept.begin(), kept.begin() + 20);
    temporaries.clear();
    REQUIRE(excess() <= always_held);
  }
}

TEST_CASE("gaps that fit no later tensor") {
  if (!pooled) return;
  constexpr std::int64_t most = 600 * MiB;
  std::vector<Tensor> kept;
  std::int64_t live = 0;
  reset_peak_memory();
  for (std::int64_t size = MiB; size <= 32 * MiB; size *= 2) {
    const std::vector<Tensor> filled = tensors((most - live) / size, size);
    for (std::size_t i = 0; i < filled.size(); i += 2) kept.push_back(filled[i]), live += size;
    REQUIRE(excess() <= always_held);
  }
}

TEST_CASE("random sizes and lifetimes") {
  if (!pooled) return;
  std::mt19937 random(4);
  std::uniform_real_distribution<double> exponent(10, 23);
  std::vector<Tensor> live(400);
  reset_peak_memory();
  const auto replace = [&](double shift) {
    live[random() % live.size()] =
        bytes(static_cast<std::int64_t>(std::exp2(exponent(random) + shift)));
  };
  for (int i = 0; i < 60'000; ++i) replace(i / 60'000.0);
  CHECK(excess() <= always_held);
}

TEST_CASE("several threads at once") {
  if (!pooled) return;
  reset_peak_memory();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([t] {
      Step step;
      for (std::int64_t i = 0; i < 150; ++i) step(t % 2 ? 300 + i : 450 - i);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(excess() <= always_held);
}

TEST_CASE("training on batches of increasing length") {
  if (!pooled) return;
  Rng rng(1);
  Tensor w = randn({64, 256}, rng).set_requires_grad(), m, v;
  const auto step = [&](std::int64_t length) {
    const Tensor x = randn({8 * length, 64}, rng);
    mean(tanh(matmul(x, w))).backward();
    if (!m.defined()) m = zeros(w.shape()), v = zeros(w.shape());  // during the step, as in optim
    adam_step(w, w.grad(), m, v, {}, 1);
    w.zero_grad();
  };
  reset_peak_memory();
  for (std::int64_t length = 1; length <= 1000; length += 13) step(length);
  CHECK(excess() <= always_held);
  const std::int64_t before = memory_stats().system_allocations;
  for (std::int64_t length = 1000; length > 0; length -= 41) step(length);
  CHECK(memory_stats().system_allocations == before);
}

TEST_CASE("the pool works after a failed request to the system") {
  if (!pooled) return;
  const MemoryStats before = memory_stats();
  CHECK_THROWS_AS(bytes(std::int64_t{1} << 47), ShapeError);
  const Tensor x = bytes(5 * MiB);
  CHECK(x.numel() == 5 * MiB);
  CHECK(memory_stats().live_bytes == before.live_bytes + 5 * MiB);
}
