#include <fovea/core/refcount.h>

#include <atomic>
#include <thread>
#include <vector>

#include <doctest/doctest.h>

using fovea::RefCount;

TEST_CASE("RefCount: drop() is true for the last owner only") {
  RefCount count;
  CHECK_FALSE(count.is_shared());
  count.add();
  count.add();
  CHECK(count.is_shared());
  CHECK_FALSE(count.drop());
  CHECK(count.is_shared());
  CHECK_FALSE(count.drop());
  CHECK_FALSE(count.is_shared());
  CHECK(count.drop());
}

TEST_CASE("RefCount: correct with concurrent threads") {
  RefCount count;
  count.add();  // perhaps before the program's second thread
  std::atomic<bool> told{false};
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&count, &told] {
      for (int k = 0; k < 200000; ++k) {
        count.add();
        if (count.drop()) told = true;
      }
      count.add();
    });
  }
  for (std::thread& thread : threads) thread.join();
  CHECK_FALSE(told);
  for (int i = 0; i < 5; ++i) CHECK_FALSE(count.drop());
  CHECK(count.drop());
}
