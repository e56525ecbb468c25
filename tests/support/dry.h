// Measures how much memory code touches, to verify that a dry run accesses no values.
#pragma once

#include <fovea/core/dry_run.h>

#include <cstdint>
#include <sys/resource.h>

namespace fovea::test {

/// Number of first accesses to pages by this process, read or write, even if freed since.
inline std::int64_t touched_pages() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

/// Pages of 4 KiB that f() touches in a dry run, minus one per storage for its header.
template <class F>
std::int64_t pages_of_dry_run(const F& f) {
  const DryRun dry_run;
  const std::int64_t before = touched_pages();
  f();
  return touched_pages() - before - dry_run.allocations();
}

}  // namespace fovea::test
