// Rehearsal: a training step with everything but its numbers, to know what it will cost.
//
//   const Rehearsal rehearsal;
//   Model model(options, rng);            // its numbers take hardly any memory
//   loss(model, batch).backward();        // milliseconds
//   rehearsal.peak_bytes();               // what the real step will take
//
// While it lives, ops on this thread check their arguments, allocate, record and free as always, on
// real shapes, but the loops of the kernels are left out, and storages are address space that
// is never accessed, except the page with their header: floats read as zeros, except those made
// from data; integers and bools that were set, copied or converted to each other are real, so that
// ids and masks are what they are. What it counts is therefore what the real step counts, to the
// byte, where sizes do not depend on computed numbers (masked_select; clipping, which copies a
// gradient only if there is something to clip).
//
// Not taken: a small step measured and extrapolated. Sizes that depend on several lengths, blocks
// that depend on the batch and caches that fill once must then be guessed apart; here they happen.
#pragma once

#include <fovea/core/dtype.h>
#include <fovea/core/storage.h>

#include <cstdint>
#include <map>
#include <memory>
#include <string>

namespace fovea {

class Rehearsal {
 public:
  /// StateError if this thread rehearses already.
  Rehearsal();
  /// Tensors made meanwhile may live on, but nothing can be computed with them.
  ~Rehearsal();
  Rehearsal(const Rehearsal&) = delete;
  Rehearsal& operator=(const Rehearsal&) = delete;

  static bool on();  ///< on this thread
  /// Whether values of this type are left out on this thread: a dry run, and floats. Every loop
  /// over floats outside the kernels asks first.
  static bool leaves_out(DType dtype) { return on() && is_floating(dtype); }

  // Of the storages made meanwhile; memory_stats() does not see them.
  std::int64_t live_bytes() const;
  std::int64_t peak_bytes() const;  ///< highest live_bytes since the last reset_peak()
  std::int64_t allocations() const;
  void reset_peak();

  /// What is alive by the module that was running when it was made: its path, or "" outside of all.
  std::map<std::string, std::int64_t> live_by_module() const;

 private:
  friend class Storage;
  static Storage* make(std::size_t bytes);
  static void destroy(Storage* storage) noexcept;

  struct Book;
  std::unique_ptr<Book> book_;
};

}  // namespace fovea
