#include <fovea/core/kernels/parallel.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <mutex>
#include <stdexcept>
#include <string>
#include <thread>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea::kernels;

namespace {

using Chunks = std::vector<std::pair<int64_t, int64_t>>;

Chunks chunks_of(int64_t n, int64_t grain) {
  std::mutex mutex;
  Chunks chunks;
  parallel_for(n, grain, [&](int64_t begin, int64_t end) {
    const std::lock_guard lock(mutex);
    chunks.emplace_back(begin, end);
  });
  std::sort(chunks.begin(), chunks.end());
  return chunks;
}

// Restores the number of threads when a test case ends.
struct Threads {
  int before = num_threads();
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
};

}  // namespace

TEST_CASE("parallel_for: chunks depend on n and grain, not on the number of threads") {
  for (const int threads : {1, 2, 3, 4, 8}) {
    const Threads guard(threads);
    CHECK(chunks_of(10, 4) == Chunks{{0, 4}, {4, 8}, {8, 10}});
    CHECK(chunks_of(8, 4) == Chunks{{0, 4}, {4, 8}});
    CHECK(chunks_of(3, 4) == Chunks{{0, 3}});
    CHECK(chunks_of(3, 1) == Chunks{{0, 1}, {1, 2}, {2, 3}});
    CHECK(chunks_of(0, 4).empty());
    CHECK(chunks_of(-1, 4).empty());
    CHECK(chunks_of(1000, 7).size() == static_cast<std::size_t>(chunk_count(1000, 7)));
  }
}

TEST_CASE("parallel_for: a call from inside another runs on the thread that makes it") {
  const Threads guard(4);
  std::vector<int> counts(64);
  parallel_for(8, 1, [&](int64_t outer, int64_t) {
    CHECK(detail::in_parallel());
    parallel_for(8, 1, [&](int64_t inner, int64_t) {
      ++counts[static_cast<std::size_t>(8 * outer + inner)];
    });
  });
  CHECK(std::all_of(counts.begin(), counts.end(), [](int n) { return n == 1; }));
}

TEST_CASE("parallel_for: the exception of the first chunk that throws reaches the caller") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads guard(threads);
    const auto run = [] {
      parallel_for(100, 1, [](int64_t i, int64_t) {
        if (i >= 40) throw std::runtime_error("chunk " + std::to_string(i));
      });
    };
    CHECK_THROWS_WITH_AS(run(), "chunk 40", std::runtime_error);
    CHECK(chunks_of(5, 2).size() == 3);  // and the threads still work
  }
}

TEST_CASE("parallel_for: at least one thread, and accepts a const callable") {
  const Threads guard(0);
  CHECK(num_threads() == 1);
  set_num_threads(2);
  std::atomic<int64_t> sum = 0;
  const auto add = [&](int64_t begin, int64_t end) {
    for (; begin < end; ++begin) sum += begin;
  };
  parallel_for(100, 9, add);
  CHECK(sum == 4950);
}

TEST_CASE("parallel_for: nobody waits for a chunk that takes long") {
  const Threads guard(2);
  constexpr int64_t chunks = 20;
  std::atomic<int64_t> done = 0;
  bool others_done = false;
  parallel_for(chunks, 1, [&](int64_t chunk, int64_t) {
    if (chunk == 0) {
      const auto patience = std::chrono::steady_clock::now() + std::chrono::seconds(30);
      while (done < chunks - 1 && std::chrono::steady_clock::now() < patience)
        std::this_thread::yield();
      others_done = done == chunks - 1;
    } else {
      ++done;
    }
  });
  CHECK(others_done);
}

TEST_CASE("parallel_tasks: each task once, whatever the costs and the number of threads") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads guard(threads);
    for (const int64_t worth : {0, 1, 10, 1000})
      for (const std::vector<int64_t>& costs :
           {std::vector<int64_t>{}, {7}, {0, 0, 0}, {1, 50, 3, 3, 200, 0, 9}, {5, 5, 5, 5}}) {
        std::vector<int> counts(costs.size());
        parallel_tasks(costs, worth,
                       [&](int64_t task) { ++counts[static_cast<std::size_t>(task)]; });
        CHECK(counts == std::vector<int>(costs.size(), 1));
      }
  }
}

TEST_CASE("parallel_tasks: expensive tasks first, equal ones in order, small ones grouped") {
  const std::vector<int64_t> costs{3, 100, 2, 90, 65, 1, 40, 127};
  const detail::Queue queue = detail::most_expensive_first(costs, 41);
  CHECK(queue.order == std::vector<int64_t>{1, 3, 4, 7, 6, 0, 2, 5});
  CHECK(queue.first == std::vector<int64_t>{0, 1, 2, 3, 4, 6, 8});
  CHECK(detail::most_expensive_first({}, 1).first == std::vector<int64_t>{0});
}

TEST_CASE("parallel_tasks: even shares stay with their threads") {
  const Threads guard(2);
  CHECK(detail::shares_are_even(std::vector<int64_t>{5, 5, 5, 5, 5, 5}));
  CHECK(detail::shares_are_even(std::vector<int64_t>{1, 9, 9, 1}));
  CHECK(detail::shares_are_even(std::vector<int64_t>{7}));
  CHECK_FALSE(detail::shares_are_even(std::vector<int64_t>{1, 2, 3, 4}));
  CHECK(detail::chunk_size(std::vector<int64_t>{5, 5, 5, 5}, 10) == 2);
  CHECK(detail::chunk_size(std::vector<int64_t>{0, 0}, 10) == 2);
  CHECK(detail::chunk_size(std::vector<int64_t>{50, 50}, 10) == 1);
}

TEST_CASE("parallel_tasks: the exception of the lowest task that throws reaches the caller") {
  for (const int threads : {1, 2, 3, 8}) {
    const Threads guard(threads);
    const std::vector<int64_t> costs(100, 1);
    const auto run = [&] {
      parallel_tasks(costs, 1, [](int64_t i) {
        if (i >= 40) throw std::runtime_error("task " + std::to_string(i));
      });
    };
    CHECK_THROWS_WITH_AS(run(), "task 40", std::runtime_error);
  }
}

TEST_CASE("pin_threads: fails for more threads than processors") {
  const Threads guard(1 << 20);
  CHECK_FALSE(pin_threads());
}
