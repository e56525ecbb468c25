#include <fovea/core/kernels/parallel.h>

#include <omp.h>
#include <pthread.h>
#if defined(__linux__)
#include <sched.h>
#endif

#include <atomic>
#include <bit>
#include <exception>
#include <mutex>
#include <numeric>
#include <vector>

namespace fovea::kernels {
namespace {

int allowed(int n) { return std::clamp(n, 1, max_threads); }

std::atomic<int>& thread_limit() {
  static std::atomic<int> limit{allowed(omp_get_max_threads())};
  return limit;
}

std::atomic<bool> pool_disabled{false};

// In the child of a fork(), OpenMP's threads are gone and its runtime would wait for them: the
// child uses one thread.
void disable_pool() {
  pool_disabled = true;
  thread_limit() = 1;
}

// Registered at the first parallel region: a process that forks earlier keeps all threads.
void watch_for_fork() {
  static const int registered = pthread_atfork(nullptr, nullptr, disable_pool);
  static_cast<void>(registered);
}

// Carries an exception out of the parallel region, where OpenMP would terminate. Of several, the
// one of the lowest chunk wins.
class FirstFailure {
 public:
  template <class F>
  void watch(int64_t chunk, F f) {
    try {
      f();
    } catch (...) {
      keep(chunk, std::current_exception());
    }
  }
  void rethrow() const {
    if (error_) std::rethrow_exception(error_);
  }

 private:
  void keep(int64_t chunk, std::exception_ptr error) {
    const std::lock_guard lock(mutex_);
    if (error_ && chunk_ <= chunk) return;
    chunk_ = chunk;
    error_ = std::move(error);
  }

  std::mutex mutex_;
  int64_t chunk_ = 0;
  std::exception_ptr error_;
};

// Chunks [next, end) not yet taken, on a separate cache line.
struct alignas(64) Part {
  std::atomic<int64_t> next{0};
  int64_t end = 0;
};
constexpr int kMaxParts = 16;  // with more threads, several share a part

// f(chunk) for every chunk, on all threads. One part per thread, the same in every operation, for
// cache reuse; idle threads take chunks from other parts. The team always has num_threads()
// members: libgomp destroys the threads that a smaller team leaves out.
template <class F>
void share_out(int64_t chunks, int parts, const F& f) {
  const int count = std::min(parts, kMaxParts);
  Part all[kMaxParts];
  for (int i = 0; i < count; ++i) {
    all[i].next.store(chunks * i / count, std::memory_order_relaxed);
    all[i].end = chunks * (i + 1) / count;
  }
  watch_for_fork();
#pragma omp parallel num_threads(num_threads())
  {
    const FloatMode mode;  // per thread
    for (int turn = 0; turn < count; ++turn) {
      Part& part = all[(omp_get_thread_num() + turn) % count];
      for (int64_t chunk; (chunk = part.next.fetch_add(1, std::memory_order_relaxed)) < part.end;)
        f(chunk);
    }
  }
}

#if defined(__linux__)
std::vector<int> allowed_processors() {
  std::vector<int> processors;
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof(set), &set) != 0) return processors;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu)
    if (CPU_ISSET(cpu, &set)) processors.push_back(cpu);
  return processors;
}

bool pin_this_thread(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  return pthread_setaffinity_np(pthread_self(), sizeof(set), &set) == 0;
}
#endif

}  // namespace

int num_threads() { return thread_limit().load(std::memory_order_relaxed); }

void set_num_threads(int n) {
  thread_limit().store(pool_disabled ? 1 : allowed(n), std::memory_order_relaxed);
}

bool pin_threads() {
#if defined(__linux__)
  const std::vector<int> processors = allowed_processors();
  const int threads = num_threads();
  if (pool_disabled) return false;
  watch_for_fork();
  if (static_cast<std::size_t>(threads) > processors.size()) return false;
  std::atomic<bool> pinned{true};
#pragma omp parallel num_threads(threads)
  if (!pin_this_thread(processors[static_cast<std::size_t>(omp_get_thread_num())])) pinned = false;
  return pinned;
#else
  return false;
#endif
}

namespace detail {

bool in_parallel() { return omp_in_parallel() != 0; }

void run_chunks(int64_t n, int64_t grain, ChunkFn fn, void* f) {
  FirstFailure failure;
  share_out(chunk_count(n, grain), num_threads(), [&](int64_t chunk) {
    const int64_t begin = chunk * grain;
    failure.watch(chunk, [&] { fn(f, begin, std::min(n, begin + grain)); });
  });
  failure.rethrow();
}

int64_t chunk_size(std::span<const int64_t> costs, int64_t min_work) {
  const auto n = static_cast<int64_t>(costs.size());
  const int64_t sum = std::accumulate(costs.begin(), costs.end(), int64_t{0});
  return std::clamp<int64_t>(min_work * n / std::max<int64_t>(1, sum), 1, std::max<int64_t>(1, n));
}

bool shares_are_even(std::span<const int64_t> costs) {
  constexpr double tolerance = 1.04;
  const auto threads = static_cast<std::size_t>(num_threads());
  const std::size_t busy = std::min(threads, costs.size());
  const double fair = std::accumulate(costs.begin(), costs.end(), 0.0) / static_cast<double>(busy);
  const auto border = [&](std::size_t i) {
    return costs.begin() + static_cast<std::ptrdiff_t>(i * costs.size() / threads);
  };
  for (std::size_t i = 0; i < threads; ++i)
    if (std::accumulate(border(i), border(i + 1), 0.0) > tolerance * fair) return false;
  return true;
}

Queue most_expensive_first(std::span<const int64_t> costs, int64_t min_work) {
  Queue queue;
  queue.order.resize(costs.size());
  std::iota(queue.order.begin(), queue.order.end(), int64_t{0});
  const auto cost = [costs](int64_t task) { return costs[static_cast<std::size_t>(task)]; };
  // Neighbors of equal size stay together: they often read the same data.
  const auto size = [cost](int64_t task) {
    return std::bit_width(static_cast<uint64_t>(cost(task)));
  };
  std::stable_sort(queue.order.begin(), queue.order.end(),
                   [size](int64_t a, int64_t b) { return size(a) > size(b); });
  int64_t sum = 0, end = 0;
  for (const int64_t task : queue.order) {
    sum += cost(task);
    ++end;
    if (sum < min_work) continue;
    queue.first.push_back(end);
    sum = 0;
  }
  if (queue.first.back() != end) queue.first.push_back(end);
  return queue;
}

void run_queue(const Queue& queue, TaskFn fn, void* f) {
  FirstFailure failure;
  share_out(static_cast<int64_t>(queue.first.size()) - 1, 1, [&](int64_t group) {
    const auto begin = queue.first.begin() + group;
    for (int64_t i = begin[0]; i < begin[1]; ++i) {
      const int64_t task = queue.order[static_cast<std::size_t>(i)];
      failure.watch(task, [&] { fn(f, task); });
    }
  });
  failure.rethrow();
}

}  // namespace detail
}  // namespace fovea::kernels
