// DryRun: a training step without the arithmetic, to find out how much memory it takes.
//
//   const DryRun dry_run;
//   Model model(options, rng);      // the parameters take almost no memory
//   loss(model, batch).backward();  // milliseconds
//   dry_run.peak_bytes();           // peak memory of the real step
//
// During the lifetime of the object, ops on this thread check their arguments, allocate, record and
// free as usual, on the real shapes, but the loops of the kernels are skipped. Storages are
// reserved address space; only the page of the header is ever written. Floats read as zeros, except
// those made from data. Integers and bools that were set, copied or converted to each other are
// real, so that ids and masks have their actual values. The byte counts therefore equal those of
// the real step exactly, unless sizes depend on computed values (masked_select; gradient clipping,
// which copies a gradient only if it exceeds the limit).
//
// The alternative, measuring a small step and extrapolating, would have to model sizes that depend
// on several lengths, blocks that depend on the batch, and caches that fill once.
#pragma once

#include <fovea/core/dtype.h>
#include <fovea/core/storage.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace fovea {

class DryRun {
 public:
  /// StateError if a dry run is already active on this thread.
  DryRun();
  /// Tensors made during the dry run may outlive it, but cannot be used in computations.
  ~DryRun();
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;

  static bool on();  ///< whether a dry run is active on this thread
  /// Whether values of this type are not computed on this thread: true for floats in a dry run.
  /// Every loop over floats outside the kernels tests this first.
  static bool skips(DType dtype) { return on() && is_floating(dtype); }

  // Counts of the storages made during the dry run; memory_stats() does not include them.
  std::int64_t live_bytes() const;
  std::int64_t peak_bytes() const;  ///< highest live_bytes since the last reset_peak()
  std::int64_t allocations() const;
  void reset_peak();

  /// Live bytes by the path of the module that allocated them; "" outside every module.
  std::map<std::string, std::int64_t> live_by_module() const;

 private:
  friend class Storage;
  static Storage* make(std::size_t bytes);
  static void destroy(Storage* storage) noexcept;

  struct Records;
  std::unique_ptr<Records> records_;
};

}  // namespace fovea
