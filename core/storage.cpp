#include <fovea/core/dry_run.h>
#include <fovea/core/heap_detail.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/storage.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <limits>
#include <mutex>
#include <new>
#include <pthread.h>
#include <sys/sysinfo.h>
#include <utility>
#include <vector>

namespace fovea {
namespace {

// Under AddressSanitizer every block comes from the system, so that a use after free is detected.
#ifdef FOVEA_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Counters of tensor data; relaxed, because no other memory depends on them.
std::atomic<std::int64_t> live_bytes{0}, peak_bytes{0}, allocations{0};

// Changes of this thread that are not yet in the counters: an atomic addition costs as much as the
// rest of a small allocation. Live and peak bytes are exact to kSlack per thread.
constexpr std::int64_t kSlack = 16 << 10;
struct PendingCounts {
  std::int64_t bytes = 0, allocations = 0;
};
constinit thread_local PendingCounts pending_counts;

void flush_counts() {
  const std::int64_t change = std::exchange(pending_counts.bytes, 0);
  const std::int64_t live = live_bytes.fetch_add(change, std::memory_order_relaxed) + change;
  allocations.fetch_add(std::exchange(pending_counts.allocations, 0), std::memory_order_relaxed);
  std::int64_t peak = peak_bytes.load(std::memory_order_relaxed);
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

void count(std::int64_t bytes, std::int64_t made) {
  pending_counts.bytes += bytes;
  pending_counts.allocations += made;
  if (pending_counts.bytes > kSlack || pending_counts.bytes < -kSlack) flush_counts();
}

void* from_system(std::size_t bytes) {
  const std::size_t capacity = size_class(bytes).capacity;
  void* data = capacity > system_memory() ? nullptr : std::aligned_alloc(kGrain, capacity);
  if (data == nullptr) throw std::bad_alloc();
  return data;
}

// A free small block is a list node. Whole lists move between a thread and the global pool in
// constant time: the first block of a list has its length and a link to the next list.
struct FreeBlock {
  FreeBlock* next;
  FreeBlock* next_list;  // next_list and length: only in the first block of a list in the pool
  std::size_t length;
};

struct FreeList {
  FreeBlock* first = nullptr;
  std::size_t length = 0;

  void push(void* data) {
    auto* block = new (data) FreeBlock;
    block->next = std::exchange(first, block);
    ++length;
  }
  void* pop() {
    FreeBlock* block = first;
    if (block) {
      first = block->next;
      __builtin_prefetch(first, 1);  // for the next pop(): likely not in the cache
      --length;
    }
    return block;
  }
};

// Shared by all threads. Never destroyed, because tensors may outlive static destructors.
struct GlobalPool {
  std::mutex mutex;
  Heap heap;
  std::array<FreeBlock*, kSmallClasses> small_lists{};
  std::array<std::vector<std::byte*>, kSmallClasses> slabs;  // contain the small blocks

  void give_list(int index, FreeList& list) {
    if (list.first == nullptr) return;
    FreeBlock*& top = small_lists[static_cast<std::size_t>(index)];
    list.first->length = list.length;
    list.first->next_list = std::exchange(top, list.first);
    heap.count_in_use(-bytes_of(index, list.length));
    list = {};
  }

  FreeList take_list(int index) {
    FreeBlock*& top = small_lists[static_cast<std::size_t>(index)];
    if (top == nullptr) return {};
    FreeBlock* first = std::exchange(top, top->next_list);
    heap.count_in_use(bytes_of(index, first->length));
    return {first, first->length};
  }

  void* take_block(std::size_t bytes) {
    if (void* data = heap.take(bytes)) return data;
    if (heap.must_give_back(bytes)) free_slabs();
    return heap.take_from_system(bytes);
  }

  FreeList cut_slab(int index);
  void free_slabs();
  void free_slabs(int index);

  static std::size_t capacity_of(int index) { return static_cast<std::size_t>(index + 1) * kGrain; }
  static std::int64_t bytes_of(int index, std::size_t length) {
    return static_cast<std::int64_t>(capacity_of(index) * length);
  }
  static std::size_t blocks_in_slab(int index) {
    return std::max<std::size_t>(8, (std::size_t{16} << 10) / capacity_of(index));
  }
};

GlobalPool& global_pool() {
  static auto* pool = new GlobalPool;
  return *pool;
}

// Locked across fork(): otherwise the child could inherit a lock held by a missing thread.
// Registered before main(): another thread may be in fork() when the pool is first used.
void unlock_pool() { global_pool().mutex.unlock(); }
[[maybe_unused]] const int pool_locked_across_fork =
    pthread_atfork([] { global_pool().mutex.lock(); }, unlock_pool, unlock_pool);

// Free small blocks of this thread: no lock, no atomics. Lists above kCacheBytes move to the global
// pool, and all lists when the thread ends.
struct ThreadCache {
  enum class State : unsigned char { fresh, open, closed };
  std::array<FreeList, kSmallClasses> free{};
  State state = State::fresh;
};
constinit thread_local ThreadCache thread_cache;

struct ThreadCacheCloser {
  ThreadCacheCloser() { thread_cache.state = ThreadCache::State::open; }
  ~ThreadCacheCloser() {
    GlobalPool& pool = global_pool();
    const std::lock_guard lock(pool.mutex);
    for (int i = 0; i < kSmallClasses; ++i)
      pool.give_list(i, thread_cache.free[static_cast<std::size_t>(i)]);
    thread_cache.state = ThreadCache::State::closed;
  }
};

// This thread's list; null after the cache was emptied at the end of the thread.
FreeList* cached_list(int index) {
  if (thread_cache.state == ThreadCache::State::closed) return nullptr;
  static thread_local ThreadCacheCloser closer;
  return &thread_cache.free[static_cast<std::size_t>(index)];
}

FreeList GlobalPool::cut_slab(int index) {
  const std::size_t blocks = blocks_in_slab(index), capacity = capacity_of(index);
  auto* slab = static_cast<std::byte*>(take_block(blocks * capacity));
  slabs[static_cast<std::size_t>(index)].push_back(slab);
  FreeList list;
  for (std::size_t i = blocks; i > 0; --i) list.push(slab + (i - 1) * capacity);
  return list;
}

// Turns completely free slabs into large blocks. Visits all free small blocks of this thread and of
// the pool, so it is only called before the heap would return memory to the system.
void GlobalPool::free_slabs() {
  for (int i = 0; i < kSmallClasses; ++i) {
    give_list(i, thread_cache.free[static_cast<std::size_t>(i)]);
    free_slabs(i);
  }
}

void GlobalPool::free_slabs(int index) {
  std::vector<std::byte*>& starts = slabs[static_cast<std::size_t>(index)];
  FreeBlock* lists = std::exchange(small_lists[static_cast<std::size_t>(index)], nullptr);
  if (lists == nullptr) return;
  std::sort(starts.begin(), starts.end());
  const auto slab_of = [&](FreeBlock* block) {
    const auto next =
        std::upper_bound(starts.begin(), starts.end(), reinterpret_cast<std::byte*>(block));
    return static_cast<std::size_t>(next - starts.begin()) - 1;
  };
  std::vector<std::size_t> n_free(starts.size());
  for (FreeBlock* list = lists; list; list = list->next_list)
    for (FreeBlock* block = list; block; block = block->next) ++n_free[slab_of(block)];

  FreeList rest;
  const auto keep_rest = [&] {
    heap.count_in_use(bytes_of(index, rest.length));  // cancels the subtraction in give_list()
    give_list(index, rest);
  };
  for (FreeBlock *list = lists, *next_list = nullptr; list; list = next_list) {
    next_list = list->next_list;
    for (FreeBlock *block = list, *next = nullptr; block; block = next) {
      next = block->next;
      if (n_free[slab_of(block)] == blocks_in_slab(index)) continue;
      rest.push(block);
      if (rest.length >= blocks_in_slab(index)) keep_rest();
    }
  }
  keep_rest();
  std::vector<std::byte*> in_use;
  for (std::size_t i = 0; i < starts.size(); ++i) {
    if (n_free[i] == blocks_in_slab(index)) {
      heap.count_in_use(bytes_of(index, n_free[i]));
      heap.free(starts[i]);
    } else {
      in_use.push_back(starts[i]);
    }
  }
  starts = std::move(in_use);
}

// The slow paths are out of line, so that the fast paths save no registers for them.

// Takes a whole list of small blocks, so that a thread rarely locks.
[[gnu::noinline]] void* refill(int index) {
  FreeList* cached = cached_list(index);
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  FreeList list = pool.take_list(index);
  if (list.first == nullptr) list = pool.cut_slab(index);
  void* data = list.pop();
  if (cached) {
    *cached = list;
  } else {
    pool.give_list(index, list);
  }
  return data;
}

constexpr std::size_t kCacheBytes = 256 << 10;  // limit of a thread's cache per size class

// The cache is not open yet, full, or closed.
[[gnu::noinline]] void free_slowly(int index, void* data) {
  const std::size_t capacity = GlobalPool::capacity_of(index);
  FreeList one;
  FreeList* cached = cached_list(index);
  FreeList& list = cached ? *cached : one;
  list.push(data);
  if (cached && list.length * capacity <= kCacheBytes) return;
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  pool.give_list(index, list);
}

[[gnu::noinline]] void* allocate_large(std::size_t bytes) {
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  return pool.take_block(bytes);
}

[[gnu::noinline]] void free_large(void* data) noexcept {
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  pool.heap.free(data);
}

// The size class of `bytes` <= kSmall.
int small_class(std::size_t bytes) { return static_cast<int>((bytes - (bytes > 0)) / kGrain); }

}  // namespace

void* pool_allocate(std::size_t bytes) {
  if (kSanitized) return from_system(bytes);
  if (bytes > kSmall) return allocate_large(bytes);
  const int index = small_class(bytes);
  void* data = thread_cache.free[static_cast<std::size_t>(index)].pop();
  return data ? data : refill(index);
}

void pool_free(void* data, std::size_t bytes) noexcept {
  if (kSanitized) return std::free(data);
  if (bytes > kSmall) return free_large(data);
  const int index = small_class(bytes);
  FreeList& list = thread_cache.free[static_cast<std::size_t>(index)];
  const bool open = thread_cache.state == ThreadCache::State::open;
  if (open && list.length * GlobalPool::capacity_of(index) < kCacheBytes) return list.push(data);
  free_slowly(index, data);
}

Storage* Storage::make(std::size_t bytes) {
  if (kernels::dry_run) [[unlikely]]
    return DryRun::make(bytes);
  void* data = pool_allocate(sizeof(Storage) + bytes);
  count(static_cast<std::int64_t>(bytes), 1);
  return new (data) Storage(bytes, false);
}

void Storage::destroy() noexcept {
  if (reserved_only_) [[unlikely]]
    return DryRun::destroy(this);
  const std::size_t bytes = bytes_;
  count(-static_cast<std::int64_t>(bytes), 0);
  this->~Storage();
  pool_free(this, sizeof(Storage) + bytes);
}

std::size_t system_memory() {
  static const std::size_t bytes = [] {
    struct sysinfo info {};
    if (sysinfo(&info) != 0) return std::numeric_limits<std::size_t>::max();
    return (std::size_t{info.totalram} + info.totalswap) * info.mem_unit;
  }();
  return bytes;
}

MemoryStats memory_stats() {
  flush_counts();
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  return {live_bytes, peak_bytes, allocations, pool.heap.system_allocations(), pool.heap.held()};
}

void reset_peak_memory() {
  flush_counts();
  peak_bytes = live_bytes.load();
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  pool.heap.reset_peak();
}

}  // namespace fovea
