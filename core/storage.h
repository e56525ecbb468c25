// Storage: the reference-counted memory of a tensor, and the pool that it is allocated from.
//
// Blocks are 64-byte aligned. After its first steps a training loop takes no memory from the
// system. The memory of the pool is bounded: before it takes memory from the system it returns the
// largest free blocks, so that system_bytes <= 1.5 * (peak of the bytes in its blocks) + 64 MiB,
// with the peak since the last reset_peak_memory(). A block contains a tensor's data and a header
// of 64 bytes, or a node of the graph. A thread may cache 256 KiB of each of the 64 sizes up to
// 4 KiB, which count as blocks. Tests verify memory use with the counters below.
#pragma once

#include <fovea/core/refcount.h>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <utility>

namespace fovea {

/// Counts of the whole program. Those of tensor data are exact to 16 KiB per other thread.
struct MemoryStats {
  std::int64_t live_bytes;          ///< bytes of tensor data in use now
  std::int64_t peak_bytes;          ///< highest live_bytes since the last reset_peak_memory()
  std::int64_t allocations;         ///< tensor storages made since the start
  std::int64_t system_allocations;  ///< times the pool took memory from the system
  std::int64_t system_bytes;        ///< bytes that the pool holds from the system
};

MemoryStats memory_stats();
void reset_peak_memory();

/// Bytes of main memory and swap: the limit of one block, even if the system would provide more
/// address space.
std::size_t system_memory();

/// Allocates a block of at least `bytes` from the pool; free it with the same `bytes`.
void* pool_allocate(std::size_t bytes);
void pool_free(void* data, std::size_t bytes) noexcept;

/// Allocator for standard containers that uses the pool.
template <class T>
struct PoolAllocator {
  using value_type = T;
  PoolAllocator() = default;
  template <class U>
  PoolAllocator(const PoolAllocator<U>&) {}
  T* allocate(std::size_t n);
  void deallocate(T* data, std::size_t n) noexcept;
  bool operator==(const PoolAllocator&) const = default;
};

/// Base of objects allocated in the pool: `struct Node : Pooled`.
struct Pooled {
  static void* operator new(std::size_t bytes) { return pool_allocate(bytes); }
  static void operator delete(void* data, std::size_t bytes) noexcept { pool_free(data, bytes); }
};

/// One block: this header (a cache line), then the data. Shared by a tensor and its views.
class alignas(64) Storage {
 public:
  static Storage* make(std::size_t bytes);  ///< one reference; data not initialized

  std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }
  std::size_t bytes() const { return bytes_; }

  /// Number of writes; Saved compares it to detect that a saved tensor was overwritten.
  std::uint32_t version() const { return version_.load(std::memory_order_relaxed); }
  void bump_version() { increment(version_); }

  bool is_shared() const { return refs_.is_shared(); }
  void retain() { refs_.add(); }
  void release() noexcept {
    if (refs_.drop()) destroy();
  }

 private:
  friend class DryRun;  // makes storages of address space without memory

  Storage(std::size_t bytes, bool reserved_only) : reserved_only_(reserved_only), bytes_(bytes) {}
  void destroy() noexcept;

  RefCount refs_;
  std::atomic<std::uint32_t> version_{0};
  bool reserved_only_;
  std::size_t bytes_;
};

/// Owning pointer to anything with retain() and release().
template <class T>
class Ref {
 public:
  Ref() = default;
  static Ref adopt(T* p) { return Ref(p); }  ///< takes ownership of one reference
  static Ref share(T* p) {                   ///< adds a reference
    if (p) p->retain();
    return Ref(p);
  }
  Ref(const Ref& other) : p_(other.p_) {
    if (p_) p_->retain();
  }
  Ref(Ref&& other) noexcept : p_(std::exchange(other.p_, nullptr)) {}
  Ref& operator=(Ref other) noexcept {
    std::swap(p_, other.p_);
    return *this;
  }
  ~Ref() {
    if (p_) p_->release();
  }

  T* get() const { return p_; }
  T* operator->() const { return p_; }
  T& operator*() const { return *p_; }
  explicit operator bool() const { return p_ != nullptr; }
  bool operator==(const Ref&) const = default;
  T* detach() { return std::exchange(p_, nullptr); }  ///< the caller then owns the reference

 private:
  explicit Ref(T* p) : p_(p) {}
  T* p_ = nullptr;
};

template <class T>
T* PoolAllocator<T>::allocate(std::size_t n) {
  return static_cast<T*>(Pooled::operator new(n * sizeof(T)));
}
template <class T>
void PoolAllocator<T>::deallocate(T* data, std::size_t n) noexcept {
  Pooled::operator delete(data, n * sizeof(T));
}

}  // namespace fovea
