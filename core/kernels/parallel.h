// Loops over several threads whose results do not depend on the number of threads.
//
// A range is split into chunks of `grain` elements; the split depends on n and grain only, threads
// only decide who runs a chunk. A reduction writes one partial result per chunk (chunk index =
// begin / grain, chunk_count() of them) and adds them in chunk order afterwards.
#pragma once

#include <fovea/core/kernels/float_mode.h>

#include <algorithm>
#include <cstdint>
#include <span>
#include <type_traits>
#include <vector>

namespace fovea::kernels {

// Number of threads that parallel_for may use. The default is OpenMP's: OMP_NUM_THREADS or the
// processors available to this process. set_num_threads(n) clamps n to 1 .. max_threads; more than
// that overflow OpenMP's stack. In the child of a fork() after parallel work there is one thread,
// regardless of this setting.
inline constexpr int max_threads = 1024;
int num_threads();
void set_num_threads(int n);

// Pins thread i to the i-th processor available to this process; false if that is impossible (more
// threads than processors, or not Linux). For benchmarks, once, at the start. Never done by
// default: it pins the calling thread too, and two pinned processes would share one processor while
// another is idle.
bool pin_threads();

// While true, the loops below do nothing on this thread. Only a DryRun (core/dry_run.h) sets it: it
// runs everything in a training step except the computation of values.
inline thread_local constinit bool dry_run = false;

constexpr int64_t chunk_count(int64_t n, int64_t grain) { return (n + grain - 1) / grain; }

namespace detail {
using ChunkFn = void (*)(void* f, int64_t begin, int64_t end);
void run_chunks(int64_t n, int64_t grain, ChunkFn fn, void* f);

// Tasks in starting order; group i is order[first[i]] ... order[first[i + 1] - 1].
struct Queue {
  std::vector<int64_t> order, first{0};
};
// Number of tasks that together cost about min_work, on average.
int64_t chunk_size(std::span<const int64_t> costs, int64_t min_work);
// True if equal numbers of tasks per thread cost about the same.
bool shares_are_even(std::span<const int64_t> costs);
Queue most_expensive_first(std::span<const int64_t> costs, int64_t min_work);
using TaskFn = void (*)(void* f, int64_t task);
void run_queue(const Queue& queue, TaskFn fn, void* f);
bool in_parallel();
}  // namespace detail

// f(), as parallel_for runs a single chunk of n elements, with less overhead: for small ops.
template <class F>
[[gnu::always_inline]] inline void one_chunk(int64_t n, F&& f) {
  if (n <= 0 || dry_run) return;
  const FloatMode mode;
  f();
}

// Calls f(begin, end) once for every chunk [i * grain, min(n, (i + 1) * grain)), grain >= 1. Runs
// on the calling thread, chunk after chunk, if there is a single chunk or thread, or if called from
// inside another parallel_for. If chunks throw, parallel_for throws the exception of the first of
// them (in chunk order); whether the chunks after it have run is unspecified.
template <class F>
void parallel_for(int64_t n, int64_t grain, F&& f) {
  if (n <= 0 || dry_run) return;
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

// Calls f(task) once for every task. `costs`: one per task, in any unit; tasks that cost less than
// `min_work` are grouped. If equal shares cost about the same, each thread gets one, as in
// parallel_for, and reuses its caches between calls. Otherwise a thread that is done takes the next
// tasks, and expensive tasks start before those of half their cost. Each task must write to its own
// memory: the order is unspecified. Exceptions as in parallel_for.
template <class F>
void parallel_tasks(std::span<const int64_t> costs, int64_t min_work, F&& f) {
  if (dry_run) return;
  const auto n = static_cast<int64_t>(costs.size());
  const int64_t grain = detail::chunk_size(costs, min_work);
  if (n <= grain || detail::in_parallel() || detail::shares_are_even(costs)) {
    parallel_for(n, grain, [&f](int64_t task, int64_t end) {
      for (; task < end; ++task) f(task);
    });
  } else {
    using Callable = std::remove_reference_t<F>;
    const detail::TaskFn call = [](void* g, int64_t task) { (*static_cast<Callable*>(g))(task); };
    detail::run_queue(detail::most_expensive_first(costs, min_work), call,
                      const_cast<std::remove_const_t<Callable>*>(&f));
  }
}

}  // namespace fovea::kernels
