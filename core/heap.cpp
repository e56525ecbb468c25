#include <fovea/core/heap_detail.h>
#include <fovea/core/storage.h>

#include <algorithm>
#include <bit>
#include <new>
#include <sys/mman.h>
#include <utility>

namespace fovea {
namespace {

// The first access to a small page took about 2 us, per byte twenty times as long as a huge page.
constexpr std::size_t kPage = 4096, kHugePage = std::size_t{2} << 20;
constexpr std::size_t kRegion = std::size_t{32} << 20;

constexpr std::int64_t kAlwaysHeld = std::int64_t{64} << 20;

constexpr std::size_t rounded_up(std::size_t bytes, std::size_t unit) {
  return (bytes + unit - 1) / unit * unit;
}

void* map_at(void* place, std::size_t bytes) {
  if (bytes > system_memory()) return nullptr;
  void* start = mmap(place, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  return start == MAP_FAILED ? nullptr : start;
}

// Maps memory aligned to huge pages, directly below `end` if that is free; null on failure.
std::byte* map(std::size_t bytes, std::byte* end) {
  auto* data = end ? static_cast<std::byte*>(map_at(end - bytes, bytes)) : nullptr;
  if (!data || data != end - bytes) {
    if (data) munmap(data, bytes);
    const std::size_t all = bytes + kHugePage;
    auto* start = static_cast<std::byte*>(map_at(nullptr, all));
    if (!start) return nullptr;
    const auto address = reinterpret_cast<std::uintptr_t>(start);
    const std::size_t before = rounded_up(address, kHugePage) - address;
    data = start + before;
    if (before > 0) munmap(start, before);
    munmap(data + bytes, kHugePage - before);
  }
  madvise(data, bytes, MADV_HUGEPAGE);
  return data;
}

}  // namespace

SizeClass size_class(std::size_t bytes) {
  if (bytes <= kSmall) {
    const std::size_t grains = bytes <= kGrain ? 1 : (bytes + kGrain - 1) / kGrain;
    return {static_cast<int>(grains) - 1, grains * kGrain};
  }
  const int exponent = std::bit_width(bytes - 1) - 1;  // 2^exponent < bytes <= 2^(exponent + 1)
  const std::size_t step = (std::size_t{1} << exponent) / kSteps;
  const std::size_t steps = (bytes - (std::size_t{1} << exponent) + step - 1) / step;
  return {kSmallClasses + (exponent - 12) * kSteps + static_cast<int>(steps) - 1,
          (std::size_t{1} << exponent) + steps * step};
}

// The header of a block; its data follows. The blocks of a region are contiguous; a header of size
// 0 marks the end.
struct alignas(kGrain) Heap::Block {
  std::size_t size;           // of the data
  Block* before = nullptr;    // the preceding block; null for the first of a region
  Block* next = nullptr;      // in its bin, or among recent_
  Block* previous = nullptr;  // in its bin
  std::size_t returned = 0;   // lower bound of its bytes without memory
  bool free = false;          // in a bin
  int index = 0;              // size class of a block in use or recent

  std::byte* data() { return reinterpret_cast<std::byte*>(this + 1); }
  Block* after() { return reinterpret_cast<Block*>(data() + size); }
  bool is_region() { return before == nullptr && after()->size == 0; }
  static Block* of(void* data) { return static_cast<Block*>(data) - 1; }
};

namespace {

// The largest size class that fits into a free block of `size`.
int bin_of(std::size_t size) {
  const SizeClass above = size_class(size);
  return above.capacity == size ? above.index : above.index - 1;
}

}  // namespace

void Heap::insert(Block* block) noexcept {
  const auto index = static_cast<std::size_t>(bin_of(block->size));
  Bins& bins = block->returned == 0 ? resident_ : returned_;
  block->free = true;
  block->previous = nullptr;
  block->next = std::exchange(bins.first[index], block);
  if (block->next) block->next->previous = block;
  bins.occupied[index / 64] |= std::uint64_t{1} << index % 64;
}

void Heap::remove(Block* block) noexcept {
  const auto index = static_cast<std::size_t>(bin_of(block->size));
  Bins& bins = block->returned == 0 ? resident_ : returned_;
  block->free = false;
  if (block->next) block->next->previous = block->previous;
  (block->previous ? block->previous->next : bins.first[index]) = block->next;
  if (!bins.first[index]) bins.occupied[index / 64] &= ~(std::uint64_t{1} << index % 64);
}

// A free block of the smallest nonempty class >= `index`; null if there is none.
Heap::Block* Heap::find(const Bins& bins, int index) const {
  auto word = static_cast<std::size_t>(index) / 64;
  std::uint64_t bits = bins.occupied[word] & (~std::uint64_t{0} << index % 64);
  while (bits == 0) {
    if (++word == bins.occupied.size()) return nullptr;
    bits = bins.occupied[word];
  }
  return bins.first[word * 64 + static_cast<std::size_t>(std::countr_zero(bits))];
}

// Merges `block` with its free neighbors; the result is in no bin.
Heap::Block* Heap::merge(Block* block) noexcept {
  const auto append = [](Block* left, Block* right) {
    left->size += sizeof(Block) + right->size;
    left->returned += right->returned;
    left->after()->before = left;
  };
  if (Block* after = block->after(); after->free) {
    remove(after);
    append(block, after);
  }
  if (Block* before = block->before; before && before->free) {
    remove(before);
    append(before, block);
    block = before;
  }
  return block;
}

// Deferred merging: each free() causes at most one merge, for every order of sizes.
void Heap::merge_recent() noexcept {
  if (!std::exchange(any_recent_, false)) return;
  for (Block*& first : recent_)
    while (first) {
      Block* block = std::exchange(first, first->next);
      insert(merge(block));
    }
}

// Allocates the front of a free block. Returned memory comes back at the first access, by huge
// pages: the rest still lacks at least the returned bytes that the front's pages do not cover.
void* Heap::hand_out(Block* block, SizeClass wanted) {
  remove(block);
  const std::size_t returned = std::exchange(block->returned, 0);
  std::size_t rest_returned = 0;
  if (block->size >= wanted.capacity + 2 * kGrain) {
    Block* rest = new (block->data() + wanted.capacity)
        Block{.size = block->size - wanted.capacity - sizeof(Block), .before = block};
    block->size = wanted.capacity;
    const auto border = reinterpret_cast<std::uintptr_t>(rest->data());
    const std::size_t filled =
        rounded_up(border, kHugePage) - reinterpret_cast<std::uintptr_t>(block->data());
    rest_returned = rest->returned = returned - std::min(returned, filled);
    rest->after()->before = rest;
    insert(rest);
  }
  held_ += static_cast<std::int64_t>(returned - rest_returned);
  block->index = wanted.index;
  count_in_use(static_cast<std::int64_t>(block->size));
  return block->data();
}

void* Heap::take(std::size_t bytes) {
  const SizeClass wanted = size_class(bytes);
  if (Block*& first = recent_[static_cast<std::size_t>(wanted.index)]) {
    Block* block = std::exchange(first, first->next);
    if (first) __builtin_prefetch(first);  // likely not in the cache
    count_in_use(static_cast<std::int64_t>(block->size));
    return block->data();
  }
  Block* block = find(resident_, wanted.index);
  if (!block && any_recent_) {
    merge_recent();
    block = find(resident_, wanted.index);
  }
  return block ? hand_out(block, wanted) : nullptr;
}

void Heap::free(void* data) noexcept {
  Block* block = Block::of(data);
  count_in_use(-static_cast<std::int64_t>(block->size));
  block->next = std::exchange(recent_[static_cast<std::size_t>(block->index)], block);
  any_recent_ = true;
}

void Heap::count_in_use(std::int64_t bytes) noexcept {
  in_use_ += bytes;
  peak_ = std::max(peak_, in_use_);
}

// 1.4 times the bytes of blocks < 1.5 times their contents: size classes waste at most 6.25 %.
std::int64_t Heap::limit_with(std::size_t bytes) const {
  const std::int64_t peak = std::max(peak_, in_use_ + static_cast<std::int64_t>(bytes));
  return peak + peak / 5 * 2 + kAlwaysHeld;
}

bool Heap::must_give_back(std::size_t bytes) const {
  return held_ + static_cast<std::int64_t>(bytes + kRegion) > limit_with(bytes);
}

void* Heap::take_from_system(std::size_t bytes) {
  if (void* data = take(bytes)) return data;
  const SizeClass wanted = size_class(bytes);
  Block* block = find(returned_, wanted.index);
  if (!block) return hand_out(new_region(wanted.capacity), wanted);
  remove(block);  // excludes it from give_back()
  give_back(held_ + static_cast<std::int64_t>(wanted.capacity) - limit_with(wanted.capacity));
  insert(block);
  ++system_allocations_;
  return hand_out(block, wanted);
}

// New memory for a block of `bytes`, directly below the newest region if that address is free.
Heap::Block* Heap::new_region(std::size_t bytes) {
  const std::size_t least = rounded_up(bytes + 2 * sizeof(Block), kHugePage);
  std::size_t all =
      std::max({least, kRegion, rounded_up(static_cast<std::size_t>(peak_) / 8, kHugePage)});
  const auto excess = [&] { return held_ + static_cast<std::int64_t>(all) - limit_with(bytes); };
  give_back(excess());
  if (excess() > 0) all = std::max(least, kRegion);
  // A function, because give_back() may reset newest_.
  const auto end = [&] { return reinterpret_cast<std::byte*>(newest_); };
  std::byte* data = map(all, end());
  if (!data) {
    give_back(held_);
    data = map(all = least, end());
  }
  if (!data) throw std::bad_alloc();
  held_ += static_cast<std::int64_t>(all);
  ++system_allocations_;
  Block* block = new (data) Block{.size = all - 2 * sizeof(Block)};
  if (newest_ && block->after() + 1 == newest_) {
    block->size += sizeof(Block);
    newest_->before = block;
  } else {
    new (block->after()) Block{.size = 0, .before = block};
  }
  newest_ = block;
  block = merge(block);
  insert(block);
  return block;
}

// Returns free blocks to the system, the largest first, until `bytes` are returned.
void Heap::give_back(std::int64_t bytes) noexcept {
  if (bytes <= 0) return;
  const std::int64_t goal = held_ - bytes;
  for (int index = kClasses - 1; index >= 0 && held_ > goal; --index) {
    const auto i = static_cast<std::size_t>(index);
    for (const Bins* bins : {&resident_, &returned_})
      for (Block* block = bins->first[i]; block && held_ > goal;) {
        Block* next = block->next;
        give_back(block);
        block = next;
      }
  }
}

// Returns a whole region, or the pages of the block except its header.
void Heap::give_back(Block* block) noexcept {
  const auto start = rounded_up(reinterpret_cast<std::uintptr_t>(block->data()), kPage);
  const auto end = reinterpret_cast<std::uintptr_t>(block->after()) / kPage * kPage;
  if (block->is_region()) {
    remove(block);
    if (block == newest_) newest_ = nullptr;
    const std::size_t all = block->size + 2 * sizeof(Block);
    held_ -= static_cast<std::int64_t>(all - block->returned);
    munmap(block, all);
  } else if (start < end && block->returned < end - start) {
    remove(block);
    madvise(reinterpret_cast<void*>(start), end - start, MADV_DONTNEED);
    held_ -= static_cast<std::int64_t>(end - start - block->returned);
    block->returned = end - start;
    insert(block);
  }
}

}  // namespace fovea
