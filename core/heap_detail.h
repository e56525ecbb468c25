// Heap: the large blocks of the pool. Free neighbors are merged, so that memory freed in one shape
// serves any other, and what is held from the system is bounded. Not thread-safe: the pool locks.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace fovea {

// Size classes: multiples of 64 up to 4096, then 16 steps per doubling (at most 6.25 % is lost).
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
  /// A block of at least `bytes` (64-byte aligned), or null if that takes memory from the system.
  void* take(std::size_t bytes);
  /// The same with memory from the system; first gives back what exceeds the limit.
  void* take_from_system(std::size_t bytes);
  void free(void* data) noexcept;

  /// Whether take_from_system(bytes) would exceed the limit.
  bool must_give_back(std::size_t bytes) const;

  /// Moves bytes that were taken as blocks between in use and free: those of small blocks.
  void count_in_use(std::int64_t bytes) noexcept;
  void reset_peak() noexcept { peak_ = in_use_; }

  std::int64_t held() const { return held_; }
  std::int64_t system_allocations() const { return system_allocations_; }

 private:
  struct Block;
  struct Bins {  // free blocks by class, the class rounded down
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

  std::array<Block*, kClasses> recent_{};  // freed and not merged: their class is asked for again
  bool any_recent_ = false;
  Bins resident_, returned_;  // returned: parts of the block have no memory at present
  Block* newest_ = nullptr;   // first block of the region that was asked for last
  std::int64_t held_ = 0, in_use_ = 0, peak_ = 0, system_allocations_ = 0;
};

}  // namespace fovea
