// Heap: the large blocks of the pool. Adjacent free blocks are merged, so that freed memory serves
// requests of any size, and the memory held from the system is bounded. Not thread-safe: the pool
// holds a lock.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fovea {

// Size classes: multiples of 64 up to 4096, then 16 per power of two (at most 6.25 % is unused).
constexpr std::size_t kGrain = 64, kSmall = 4096;
constexpr int kSmallClasses = kSmall / kGrain, kSteps = 16;
constexpr int kClasses = kSmallClasses + 37 * kSteps;  // up to 2^49 bytes

struct SizeClass {
  int index;
  std::size_t capacity;
};
SizeClass size_class(std::size_t bytes);  ///< the smallest class of at least `bytes`

class Heap {
 public:
  /// A block of at least `bytes` (64-byte aligned), or null if that requires memory from the
  /// system.
  void* take(std::size_t bytes);
  /// The same, with memory from the system; first returns memory that exceeds the limit.
  void* take_from_system(std::size_t bytes);
  void free(void* data) noexcept;

  /// Whether take_from_system(bytes) would exceed the limit.
  bool must_give_back(std::size_t bytes) const;

  /// Counts `bytes` of a block in use as in use or (negative) free: for the small blocks inside.
  void count_in_use(std::int64_t bytes) noexcept;
  void reset_peak() noexcept { peak_ = in_use_; }

  std::int64_t held() const { return held_; }
  std::int64_t system_allocations() const { return system_allocations_; }

 private:
  struct Block;
  struct Bins {  // free blocks by size class, rounded down
    std::array<Block*, kClasses> first{};
    std::array<std::uint64_t, (kClasses + 63) / 64> occupied{};
  };

  std::int64_t limit_with(std::size_t bytes) const;
  void insert(Block* block) noexcept;
  void remove(Block* block) noexcept;
  Block* find(const Bins& bins, int index) const;
  Block* merge(Block* block) noexcept;
  void merge_recent() noexcept;
  void* hand_out(Block* block, SizeClass wanted);
  Block* new_region(std::size_t bytes);
  void give_back(std::int64_t bytes) noexcept;
  void give_back(Block* block) noexcept;

  std::array<Block*, kClasses> recent_{};  // freed, not yet merged: the class is often reused
  bool any_recent_ = false;
  Bins resident_, returned_;  // returned_: blocks with pages that were returned to the system
  Block* newest_ = nullptr;   // first block of the last region from the system
  std::int64_t held_ = 0, in_use_ = 0, peak_ = 0, system_allocations_ = 0;
};

}  // namespace fovea
