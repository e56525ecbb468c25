// How much memory a piece of code touches, to prove that a dry run leaves values alone.
#pragma once

#include <fovea/core/rehearsal.h>

#include <cstdint>
#include <sys/resource.h>

namespace fovea::test {

/// Pages that this process has touched for the first time: read or written, kept or given back.
inline std::int64_t touched_pages() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_minflt;
}

/// Pages that f() touches in a dry run, of 4 KiB, without one for each storage's header.
template <class F>
std::int64_t pages_of_dry_run(const F& f) {
  const Rehearsal dry_run;
  const std::int64_t before = touched_pages();
  f();
  return touched_pages() - before - dry_run.allocations();
}

}  // namespace fovea::test
