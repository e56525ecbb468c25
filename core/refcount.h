// Counters that are cheap as long as the program has one thread; RefCount: how many owners an
// object has.
#pragma once

#include <atomic>
#include <cstdint>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace fovea {

/// Whether no second thread exists. OpenMP makes its threads for the first large op. An atomic
/// read-modify-write costs a quarter of a small op, and nobody needs it before: until then plain
/// additions do, as std::shared_ptr does it.
inline bool single_threaded() {
#if __has_include(<sys/single_threaded.h>)
  return __libc_single_threaded != 0;
#else
  return false;
#endif
}

inline void increment(std::atomic<std::uint32_t>& counter) {
  if (single_threaded()) {
    counter.store(counter.load(std::memory_order_relaxed) + 1, std::memory_order_relaxed);
  } else {
    counter.fetch_add(1, std::memory_order_relaxed);
  }
}

/// Starts at one owner.
class RefCount {
 public:
  void add() { increment(n_); }

  /// Gives up one owner's share; true for the last, who then destroys the object.
  bool drop() {
    // The last owner needs no atomic read-modify-write: nobody else can touch the count.
    const std::uint32_t owners = n_.load(std::memory_order_acquire);
    if (owners == 1) return true;
    if (!single_threaded()) return n_.fetch_sub(1, std::memory_order_acq_rel) == 1;
    n_.store(owners - 1, std::memory_order_relaxed);
    return false;
  }

  bool is_shared() const { return n_.load(std::memory_order_acquire) > 1; }

 private:
  std::atomic<std::uint32_t> n_{1};
};

}  // namespace fovea
