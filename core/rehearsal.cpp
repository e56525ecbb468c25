#include <fovea/core/error.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/rehearsal.h>

#include <algorithm>
#include <cstring>
#include <new>
#include <sys/mman.h>
#include <unordered_map>
#include <utility>

namespace fovea {
namespace {

constexpr std::size_t kPage = 4096;

}  // namespace

// What is alive, and for whom.
struct Rehearsal::Book {
  struct Entry {
    std::int64_t bytes;
    const std::string* module;  // interned by Module
  };
  std::unordered_map<const Storage*, Entry> alive;
  std::int64_t live = 0, peak = 0, allocations = 0;

  static inline thread_local constinit Book* current = nullptr;
};

bool Rehearsal::on() { return kernels::loops_left_out; }

Rehearsal::Rehearsal() : book_(std::make_unique<Book>()) {
  if (on()) state_error("Rehearsal", "this thread rehearses already: one at a time");
  Book::current = book_.get();
  kernels::loops_left_out = true;
}

Rehearsal::~Rehearsal() {
  kernels::loops_left_out = false;
  Book::current = nullptr;
}

std::int64_t Rehearsal::live_bytes() const { return book_->live; }
std::int64_t Rehearsal::peak_bytes() const { return book_->peak; }
std::int64_t Rehearsal::allocations() const { return book_->allocations; }
void Rehearsal::reset_peak() { book_->peak = book_->live; }

std::map<std::string, std::int64_t> Rehearsal::live_by_module() const {
  std::map<std::string, std::int64_t> bytes;
  for (const auto& [storage, entry] : book_->alive)
    bytes[entry.module ? *entry.module : std::string()] += entry.bytes;
  return bytes;
}

// Pages that are never written take no memory, and read as zeros. What is smaller than a page comes
// from the pool: the system limits how many pieces an address space may be in.
Storage* Rehearsal::make(std::size_t bytes) {
  const std::size_t all = sizeof(Storage) + bytes;
  void* data = nullptr;
  if (all < kPage) {
    data = std::memset(Pooled::operator new(all), 0, all);
  } else {
    data = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    madvise(data, all, MADV_NOHUGEPAGE);  // else the header could take 2 MiB
  }
  auto* storage = new (data) Storage(bytes, true);
  Book& book = *Book::current;
  const Book::Entry entry{static_cast<std::int64_t>(bytes), ModuleTrail::current()};
  const auto [place, fresh] = book.alive.emplace(storage, entry);
  // Another thread has freed what was at this address.
  if (!fresh) book.live -= std::exchange(place->second, entry).bytes;
  book.live += entry.bytes;
  book.peak = std::max(book.peak, book.live);
  ++book.allocations;
  return storage;
}

// One that outlived its rehearsal is in no book.
void Rehearsal::destroy(Storage* storage) noexcept {
  if (Book* book = Book::current) {
    if (const auto found = book->alive.find(storage); found != book->alive.end()) {
      book->live -= found->second.bytes;
      book->alive.erase(found);
    }
  }
  const std::size_t all = sizeof(Storage) + storage->bytes();
  if (all < kPage) {
    Pooled::operator delete(storage, all);
  } else {
    munmap(storage, all);
  }
}

}  // namespace fovea
