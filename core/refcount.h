// Counters that avoid atomic operations while the program has one thread, and RefCount, the number
// of owners of an object.
#pragma once

#include <atomic>
#include <cstdint>

#if __has_include(<sys/single_threaded.h>)
#include <sys/single_threaded.h>
#endif

namespace fovea {

/// Whether no second thread exists. An atomic read-modify-write takes a quarter of the time of a
/// small op, so plain additions are used until OpenMP starts its threads (at the first large op),
/// as in std::shared_ptr.
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

/// A reference count; starts at one owner.
class RefCount {
 public:
  void add() { increment(n_); }

  /// Releases one reference; true for the last one: the caller then destroys the object.
  bool drop() {
    // The last owner needs no atomic read-modify-write: no other thread can access the count.
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
