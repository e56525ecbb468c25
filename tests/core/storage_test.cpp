// The pool: reuse, counters, and blocks that travel between threads.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/storage.h>

#include <cstring>
#include <thread>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

#ifdef FOVEA_SANITIZED
constexpr bool pooled = false;  // every block comes from malloc then
#else
constexpr bool pooled = true;
#endif

const std::size_t sizes[] = {0, 1, 63, 64, 65, 4096, 4097, 5000, 100'000, 3'000'001, 9'000'001};

}  // namespace

TEST_CASE("blocks are aligned, have the requested size, and do not overlap") {
  struct Block {
    void* data;
    std::size_t bytes;
  };
  std::vector<Block> blocks;
  for (const std::size_t bytes : sizes)
    for (int copy = 0; copy < 3; ++copy) {
      blocks.push_back({pool_allocate(bytes), bytes});
      CHECK(reinterpret_cast<std::uintptr_t>(blocks.back().data) % 64 == 0);
      std::memset(blocks.back().data, static_cast<int>(blocks.size()), bytes);
    }
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const auto* data = static_cast<const unsigned char*>(blocks[i].data);
    if (blocks[i].bytes == 0) continue;
    CHECK(data[0] == i + 1);
    CHECK(data[blocks[i].bytes - 1] == i + 1);
  }
  for (const Block& block : blocks) pool_free(block.data, block.bytes);
}

TEST_CASE("a freed block is used again") {
  if (!pooled) return;
  for (const std::size_t bytes : sizes) {
    void* const first = pool_allocate(bytes);
    pool_free(first, bytes);
    void* const second = pool_allocate(bytes);
    CHECK(second == first);
    pool_free(second, bytes);
  }
}

TEST_CASE("a freed block serves smaller requests and, merged with its neighbors, larger ones") {
  if (!pooled) return;
  constexpr std::size_t large = 60'000'000;
  void* const first = pool_allocate(large);
  pool_free(first, large);
  const std::int64_t before = memory_stats().system_allocations;
  void* const half = pool_allocate(large / 2);
  void* const third = pool_allocate(large / 3);
  pool_free(half, large / 2);
  pool_free(third, large / 3);
  void* const again = pool_allocate(large);
  CHECK(memory_stats().system_allocations == before);
  pool_free(again, large);
}

TEST_CASE("the counters count tensor data") {
  const MemoryStats before = memory_stats();
  reset_peak_memory();
  {
    const Tensor x = zeros({1000});
    const Tensor view = alias(x, {10, 100}, {100, 1});
    CHECK(memory_stats().live_bytes == before.live_bytes + 4000);
    const Tensor y = zeros({500}, DType::f64);
    CHECK(memory_stats().live_bytes == before.live_bytes + 8000);
  }
  const MemoryStats after = memory_stats();
  CHECK(after.live_bytes == before.live_bytes);
  CHECK(after.peak_bytes == before.live_bytes + 8000);
  CHECK(after.allocations == before.allocations + 2);
  reset_peak_memory();
  CHECK(memory_stats().peak_bytes == before.live_bytes);
}

TEST_CASE("a training loop takes no memory from the system after its first steps") {
  if (!pooled) return;
  Rng rng(1);
  Tensor w = randn({64, 64}, rng), b = randn({64}, rng);
  w.set_requires_grad();
  b.set_requires_grad();
  const auto step = [&](std::int64_t batch) {
    const Tensor y = tanh(linear(randn({batch, 64}, rng), w, b));
    mean(y * y).backward();
    w.zero_grad();
    b.zero_grad();
  };
  for (const std::int64_t batch : {40, 24, 33, 40}) step(batch);
  const MemoryStats before = memory_stats();
  for (int i = 0; i < 50; ++i) step(24 + i % 17);
  CHECK(memory_stats().system_allocations == before.system_allocations);
  CHECK(memory_stats().live_bytes == before.live_bytes);
}

TEST_CASE("blocks that one thread allocates and another frees are reused") {
  if (!pooled) return;
  constexpr int blocks = 5000;
  const auto round = [] {  // a short-lived thread allocates, this one frees; then the reverse
    std::vector<Tensor> made;
    std::thread([&] {
      for (int i = 0; i < blocks; ++i) made.push_back(zeros({i % 700}));
    }).join();
    made.clear();
    for (int i = 0; i < blocks; ++i) made.push_back(zeros({i % 700}));
    std::thread([&] { made.clear(); }).join();
  };
  for (int i = 0; i < 3; ++i) round();
  const std::int64_t before = memory_stats().system_bytes;
  for (int i = 0; i < 30; ++i) round();
  CHECK(memory_stats().system_bytes == before);
}

TEST_CASE("the cache of a thread that only frees is bounded") {
  if (!pooled) return;
  constexpr int rounds = 200;
  std::vector<Tensor> parcel;
  std::atomic<bool> full = false;
  std::thread producer([&] {
    for (int i = 0; i < rounds; ++i) {
      while (full) std::this_thread::yield();
      for (int k = 0; k < 1000; ++k) parcel.push_back(zeros({200}));
      full = true;
    }
  });
  std::int64_t early = 0;
  for (int i = 0; i < rounds; ++i) {
    while (!full) std::this_thread::yield();
    parcel.clear();
    if (i == rounds / 10) early = memory_stats().system_bytes;
    full = false;
  }
  producer.join();
  CHECK(memory_stats().system_bytes <= early + (std::int64_t{32} << 20));  // one arena
}

TEST_CASE("many threads at once") {
  std::vector<std::thread> threads;
  std::atomic<int> wrong = 0;
  for (int t = 0; t < 4; ++t)
    threads.emplace_back([&wrong, t] {
      std::vector<Tensor> mine;
      for (int i = 0; i < 3000; ++i) {
        mine.push_back(full({1 + i % 2000}, t));
        if (i % 3 == 0) mine.erase(mine.begin() + i % static_cast<int>(mine.size()));
      }
      for (const Tensor& x : mine)
        for (const float value : x.to_vector<float>()) wrong += value != static_cast<float>(t);
    });
  for (std::thread& thread : threads) thread.join();
  CHECK(wrong == 0);
}
