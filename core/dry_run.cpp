#include <fovea/core/dry_run.h>
#include <fovea/core/error.h>
#include <fovea/core/kernels/parallel.h>

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

// The live storages and the modules that allocated them.
struct DryRun::Records {
  struct Entry {
    std::int64_t bytes;
    const std::string* module;  // interned by Module
  };
  std::unordered_map<const Storage*, Entry> alive;
  std::int64_t live = 0, peak = 0, allocations = 0;

  static inline thread_local constinit Records* current = nullptr;
};

bool DryRun::on() { return kernels::dry_run; }

DryRun::DryRun() : records_(std::make_unique<Records>()) {
  if (on()) state_error("DryRun", "a dry run is already active on this thread: must end first");
  Records::current = records_.get();
  kernels::dry_run = true;
}

DryRun::~DryRun() {
  kernels::dry_run = false;
  Records::current = nullptr;
}

std::int64_t DryRun::live_bytes() const { return records_->live; }
std::int64_t DryRun::peak_bytes() const { return records_->peak; }
std::int64_t DryRun::allocations() const { return records_->allocations; }
void DryRun::reset_peak() { records_->peak = records_->live; }

std::map<std::string, std::int64_t> DryRun::live_by_module() const {
  std::map<std::string, std::int64_t> bytes;
  for (const auto& [storage, entry] : records_->alive)
    bytes[entry.module ? *entry.module : std::string()] += entry.bytes;
  return bytes;
}

// Pages that are never written take no memory and read as zeros. Storages smaller than a page come
// from the pool, because the system limits the number of mappings.
Storage* DryRun::make(std::size_t bytes) {
  const std::size_t all = sizeof(Storage) + bytes;
  void* data = nullptr;
  if (all < kPage) {
    data = std::memset(Pooled::operator new(all), 0, all);
  } else {
    data = mmap(nullptr, all, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
                -1, 0);
    if (data == MAP_FAILED) throw std::bad_alloc();
    madvise(data, all, MADV_NOHUGEPAGE);  // otherwise the header could take 2 MiB
  }
  auto* storage = new (data) Storage(bytes, true);
  Records& records = *Records::current;
  const Records::Entry entry{static_cast<std::int64_t>(bytes), ModuleTrail::current()};
  const auto [found, inserted] = records.alive.emplace(storage, entry);
  // An entry may exist: another thread has freed the previous storage at this address.
  if (!inserted) records.live -= std::exchange(found->second, entry).bytes;
  records.live += entry.bytes;
  records.peak = std::max(records.peak, records.live);
  ++records.allocations;
  return storage;
}

// A storage that outlived its dry run has no entry.
void DryRun::destroy(Storage* storage) noexcept {
  if (Records* records = Records::current) {
    if (const auto found = records->alive.find(storage); found != records->alive.end()) {
      records->live -= found->second.bytes;
      records->alive.erase(found);
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
