#include <fovea/core/kernels/parallel.h>
#include <fovea/core/rehearsal.h>
#include <fovea/core/storage.h>

#include <array>
#include <bit>
#include <cstdlib>
#include <mutex>
#include <new>
#include <sys/mman.h>
#include <utility>

namespace fovea {
namespace {

// Under a sanitizer every block comes from the system, so that a use after free is seen.
#ifdef FOVEA_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// Counters of tensor data. Relaxed: they are sums, not signals.
std::atomic<std::int64_t> live_bytes{0}, peak_bytes{0}, allocations{0};
std::atomic<std::int64_t> system_allocations{0}, system_bytes{0};

// What a thread has not yet added to them. An atomic addition costs as much as the rest of a small
// allocation, so small ones are counted here first: live and peak are exact to kSlack a thread.
constexpr std::int64_t kSlack = 16 << 10;
struct Uncounted {
  std::int64_t bytes = 0, allocations = 0;
};
constinit thread_local Uncounted uncounted;

void settle() {
  const std::int64_t change = std::exchange(uncounted.bytes, 0);
  const std::int64_t live = live_bytes.fetch_add(change, std::memory_order_relaxed) + change;
  allocations.fetch_add(std::exchange(uncounted.allocations, 0), std::memory_order_relaxed);
  std::int64_t peak = peak_bytes.load(std::memory_order_relaxed);
  while (live > peak && !peak_bytes.compare_exchange_weak(peak, live, std::memory_order_relaxed)) {
  }
}

void count(std::int64_t bytes, std::int64_t made) {
  uncounted.bytes += bytes;
  uncounted.allocations += made;
  if (uncounted.bytes > kSlack || uncounted.bytes < -kSlack) settle();
}

// `bytes` is a multiple of the alignment.
void* from_system(std::size_t bytes, std::size_t alignment) {
  void* data = std::aligned_alloc(alignment, bytes);
  if (data == nullptr) throw std::bad_alloc();
  system_allocations.fetch_add(1, std::memory_order_relaxed);
  system_bytes.fetch_add(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
  return data;
}

void give_back(void* data, std::size_t bytes) noexcept {
  system_bytes.fetch_sub(static_cast<std::int64_t>(bytes), std::memory_order_relaxed);
  std::free(data);
}

// First touch of a small page costs about 2 us here, twenty times what a huge page costs per byte.
constexpr std::size_t kHugePage = std::size_t{2} << 20;

void* huge_pages(std::size_t bytes) {
  bytes = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* data = from_system(bytes, kHugePage);
  madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

// Size classes: multiples of 64 up to 4096, then eight steps per doubling (at most 12.5 % is lost).
constexpr std::size_t kGrain = 64, kSmall = 4096;
constexpr int kSmallClasses = kSmall / kGrain, kSteps = 8, kClasses = kSmallClasses + 44 * kSteps;

struct SizeClass {
  int index;
  std::size_t capacity;
};

SizeClass size_class(std::size_t bytes) {
  if (bytes <= kSmall) {
    const std::size_t grains = bytes <= kGrain ? 1 : (bytes + kGrain - 1) / kGrain;
    return {static_cast<int>(grains) - 1, grains * kGrain};
  }
  const int exponent = std::bit_width(bytes - 1) - 1;  // 2^exponent < bytes <= 2^(exponent + 1)
  const std::size_t step = std::size_t{1} << (exponent - 3);
  const std::size_t steps = (bytes - (std::size_t{1} << exponent) + step - 1) / step;
  return {kSmallClasses + (exponent - 12) * kSteps + static_cast<int>(steps) - 1,
          (std::size_t{1} << exponent) + steps * step};
}

// A free block holds its place in a list. Lists of small blocks change hands whole, between a
// thread and the global pool, in constant time: the first block of each holds its length and the
// next list.
struct FreeBlock {
  FreeBlock* next;
  FreeBlock* next_list;
  std::size_t length;
};

struct FreeList {
  FreeBlock* first = nullptr;
  std::size_t length = 0;

  void push(void* data) {
    first = new (data) FreeBlock{first, nullptr, 0};
    ++length;
  }
  void* pop() {
    FreeBlock* block = first;
    if (block) {
      first = block->next;
      __builtin_prefetch(first, 1);  // the next pop() reads it, and it has long left the cache
      --length;
    }
    return block;
  }
};

// What all threads share. Never destroyed: tensors may outlive static destructors.
struct GlobalPool {
  std::mutex mutex;
  std::array<FreeList, kClasses> large{};
  std::array<FreeBlock*, kSmallClasses> small_lists{};
  std::byte* arena = nullptr;
  std::size_t arena_left = 0;

  // The smallest free block whose class is at most `widest`.
  void* take(int index, int widest, std::size_t* capacity) {
    for (int i = index; i <= widest && i < kClasses; ++i)
      if (void* data = large[static_cast<std::size_t>(i)].pop()) {
        *capacity = capacity_of(i);
        return data;
      }
    return nullptr;
  }

  void give_list(int index, FreeList& list) {
    if (list.first == nullptr) return;
    FreeBlock*& top = small_lists[static_cast<std::size_t>(index)];
    list.first->length = list.length;
    list.first->next_list = std::exchange(top, list.first);
    list = {};
  }

  FreeList take_list(int index) {
    FreeBlock*& top = small_lists[static_cast<std::size_t>(index)];
    if (top == nullptr) return {};
    FreeBlock* first = std::exchange(top, top->next_list);
    return {first, first->length};
  }

  void* carve(std::size_t bytes) {
    constexpr std::size_t kArena = std::size_t{32} << 20;
    if (bytes > kArena / 4) return huge_pages(bytes);
    if (bytes > arena_left) {
      arena = static_cast<std::byte*>(huge_pages(kArena));
      arena_left = kArena;
    }
    void* data = arena;
    arena += bytes;
    arena_left -= bytes;
    return data;
  }

  static std::size_t capacity_of(int index) {
    if (index < kSmallClasses) return static_cast<std::size_t>(index + 1) * kGrain;
    const int exponent = 12 + (index - kSmallClasses) / kSteps;
    const int steps = 1 + (index - kSmallClasses) % kSteps;
    return (std::size_t{1} << exponent) +
           static_cast<std::size_t>(steps) * (std::size_t{1} << (exponent - 3));
  }
};

GlobalPool& global_pool() {
  static GlobalPool* pool = new GlobalPool;
  return *pool;
}

// Small blocks of this thread: no lock, no atomics. A thread that frees more than it allocates
// hands lists on to the global pool, and when it ends all that it has.
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

// This thread's list; null while its last destructors run, since nobody would empty it then.
FreeList* cached_list(int index) {
  if (thread_cache.state == ThreadCache::State::closed) return nullptr;
  static thread_local ThreadCacheCloser closer;
  return &thread_cache.free[static_cast<std::size_t>(index)];
}

// What follows is out of line where it is not the usual path, which then saves no registers for it.

// A list of small blocks at a time, so that a thread rarely takes the lock.
[[gnu::noinline]] void* refill(int index, std::size_t capacity) {
  FreeList* cached = cached_list(index);
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  FreeList list = pool.take_list(index);
  if (list.first == nullptr) {
    const std::size_t run = capacity <= 512 ? 32 : 8;
    auto* first = static_cast<std::byte*>(pool.carve(capacity * run));
    for (std::size_t i = run; i > 0; --i) list.push(first + (i - 1) * capacity);
  }
  void* data = list.pop();
  if (cached) {
    *cached = list;
  } else {
    pool.give_list(index, list);
  }
  return data;
}

constexpr std::size_t kCacheBytes = std::size_t{1} << 20;  // what a thread keeps of a class at most

// The thread's first block, or one too many, or one of its last.
[[gnu::noinline]] void free_slowly(int index, std::size_t capacity, void* data) {
  FreeList one;
  FreeList* cached = cached_list(index);
  FreeList& list = cached ? *cached : one;
  list.push(data);
  if (cached && list.length * capacity <= kCacheBytes) return;
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  pool.give_list(index, list);
}

void* allocate_small(SizeClass wanted) {
  void* data = thread_cache.free[static_cast<std::size_t>(wanted.index)].pop();
  return data ? data : refill(wanted.index, wanted.capacity);
}

// A free block of up to class `widest`, or new memory.
[[gnu::noinline]] PoolBlock allocate_large(SizeClass wanted, int widest) {
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  PoolBlock block{nullptr, wanted.capacity};
  block.data = pool.take(wanted.index, widest, &block.capacity);
  if (block.data == nullptr) block.data = pool.carve(wanted.capacity);
  return block;
}

[[gnu::noinline]] void free_large(int index, void* data) {
  GlobalPool& pool = global_pool();
  const std::lock_guard lock(pool.mutex);
  pool.large[static_cast<std::size_t>(index)].push(data);
}

}  // namespace

PoolBlock pool_allocate(std::size_t bytes, Fit fit) {
  const SizeClass wanted = size_class(bytes);
  if (kSanitized) return {from_system(wanted.capacity, kGrain), wanted.capacity};
  if (wanted.index < kSmallClasses) return {allocate_small(wanted), wanted.capacity};
  return allocate_large(wanted, fit == Fit::exact ? wanted.index : wanted.index + kSteps);
}

void pool_free(void* data, std::size_t capacity) noexcept {
  if (kSanitized) return give_back(data, capacity);
  const int index = size_class(capacity).index;
  if (index < kSmallClasses) {
    FreeList& list = thread_cache.free[static_cast<std::size_t>(index)];
    const bool open = thread_cache.state == ThreadCache::State::open;
    if (open && list.length * capacity < kCacheBytes) return list.push(data);
    return free_slowly(index, capacity, data);
  }
  free_large(index, data);
}

void* Pooled::operator new(std::size_t bytes) { return pool_allocate(bytes, Fit::exact).data; }

void Pooled::operator delete(void* data, std::size_t bytes) noexcept {
  pool_free(data, size_class(bytes).capacity);
}

Storage* Storage::make(std::size_t bytes) {
  if (kernels::loops_left_out) [[unlikely]]
    return Rehearsal::make(bytes);
  const PoolBlock block = pool_allocate(sizeof(Storage) + bytes);
  count(static_cast<std::int64_t>(bytes), 1);
  return new (block.data) Storage(bytes, block.capacity);
}

void Storage::destroy() noexcept {
  if (capacity_ == 0) [[unlikely]]
    return Rehearsal::destroy(this);
  count(-static_cast<std::int64_t>(bytes_), 0);
  const std::size_t capacity = capacity_;
  this->~Storage();
  pool_free(this, capacity);
}

MemoryStats memory_stats() {
  settle();
  return {live_bytes, peak_bytes, allocations, system_allocations, system_bytes};
}

void reset_peak_memory() {
  settle();
  peak_bytes = live_bytes.load();
}

}  // namespace fovea
