// Loops over several threads whose results do not depend on how many threads there are.
//
// A range is cut into chunks of `grain` elements; the cuts depend on n and grain alone, and threads
// only decide who runs a chunk. A kernel that reduces writes one partial result per chunk
// (chunk index = begin / grain, chunk_count() of them) and adds them up in chunk order afterwards.
#pragma once

#include <fovea/core/kernels/float_mode.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace fovea::kernels {

// Threads that parallel_for may use. The default is OpenMP's: OMP_NUM_THREADS or the processors
// this process may run on. set_num_threads(n) takes the nearest number from 1 to max_threads; more
// than that overflow OpenMP's stack. In the child of a fork() after parallel work there is one
// thread, whatever is set.
inline constexpr int max_threads = 1024;
int num_threads();
void set_num_threads(int n);

// Ties thread i to the i-th processor this process may run on; false where that is impossible
// (more threads than processors, or not Linux). For benches, once, at the start. Never done
// unasked: it binds the calling thread too, and two pinned processes would share one processor
// while another idles.
bool pin_threads();

// While it is true, the loops below do nothing on this thread. Only a Rehearsal (core/rehearsal.h)
// sets it: it wants everything of a training step but its numbers.
inline thread_local constinit bool loops_left_out = false;

constexpr int64_t chunk_count(int64_t n, int64_t grain) { return (n + grain - 1) / grain; }

namespace detail {
using ChunkFn = void (*)(void* f, int64_t begin, int64_t end);
void run_chunks(int64_t n, int64_t grain, ChunkFn fn, void* f);

// Tasks in the order they are begun in; group i is order[first[i]] ... order[first[i + 1] - 1].
struct Queue {
  std::vector<int64_t> order, first{0};
};
// As many tasks as are worth a thread's while, on average.
int64_t grain_of(std::span<const int64_t> costs, int64_t worth);
// Whether as many tasks for each thread cost it much the same.
bool shares_are_even(std::span<const int64_t> costs);
Queue dear_first(std::span<const int64_t> costs, int64_t worth);
using TaskFn = void (*)(void* f, int64_t task);
void run_queue(const Queue& queue, TaskFn fn, void* f);
bool in_parallel();
}  // namespace detail

// f(), as parallel_for runs a single chunk of n elements: for small ops, where it costs less.
template <class F>
[[gnu::always_inline]] inline void one_chunk(int64_t n, F&& f) {
  if (n <= 0 || loops_left_out) return;
  const FloatMode mode;
  f();
}

// Calls f(begin, end) once for every chunk [i * grain, min(n, (i + 1) * grain)), grain >= 1.
// Runs on the calling thread, chunk after chunk, when there is a single chunk, one thread, or when
// called from inside another parallel_for. If chunks throw, the exception of the first of them (in
// chunk order) leaves parallel_for; whether the chunks after it have run is not defined.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0 || loops_left_out) return;
  const FloatMode mode;
  if (n <= grain) {
    f(int64_t{0}, n);
  } else if (num_threads() == 1 || detail::in_parallel()) {
    for (int64_t begin = 0; begin < n; begin += grain) f(begin, std::min(n, begin + grain));
  } else {
    using Callable = std::remove_reference_t<F>;
    const detail::ChunkFn call = [](void* g, int64_t begin, int64_t end) {
      (*static_cast<Callable*>(g))(begin, end);
    };
    detail::run_chunks(n, grain, call, const_cast<std::remove_const_t<Callable>*>(&f));
  }
}

// Calls f(task) once for every task. `costs`, in any unit, one a task: tasks that are not `worth` a
// thread's while are handed out together. Where even shares cost much the same, each thread gets
// one, as from parallel_for, and finds in its caches what it left there. Otherwise a thread that is
// done takes the next tasks, and dear ones are begun before those of half their cost. For tasks
// that write to places of their own, since nothing is said about their order. Exceptions as of
// parallel_for.
template <class F>
void parallel_tasks(std::span<const int64_t> costs, int64_t worth, F&& f) {
  if (loops_left_out) return;
  const auto n = static_cast<int64_t>(costs.size());
  const int64_t grain = detail::grain_of(costs, worth);
  if (n <= grain || detail::in_parallel() || detail::shares_are_even(costs)) {
    parallel_for(n, grain, [&f](int64_t task, int64_t end) {
      for (; task < end; ++task) f(task);
    });
  } else {
    using Callable = std::remove_reference_t<F>;
    const detail::TaskFn call = [](void* g, int64_t task) { (*static_cast<Callable*>(g))(task); };
    detail::run_queue(detail::dear_first(costs, worth), call,
                      const_cast<std::remove_const_t<Callable>*>(&f));
  }
}

}  // namespace fovea::kernels
