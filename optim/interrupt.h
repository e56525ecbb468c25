// Records SIGINT, SIGTERM and SIGHUP, so that a program can save its state before it ends.
#pragma once

#include <fovea/core/error.h>

namespace fovea::optim {

/// While at least one guard exists, SIGINT, SIGTERM and SIGHUP are recorded instead of ending the
/// program, and a second signal ends it immediately. (A second signal within 0.1 s is ignored:
/// timeout(1) and a closing terminal send a signal twice.) A signal that is already ignored, for
/// example under nohup, stays ignored. The destructor of the last guard restores the previous
/// handlers and clears the recorded signal. Guards may exist on several threads.
class InterruptGuard {
 public:
  explicit InterruptGuard(bool on = true);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  bool on_;
};

/// The number of the recorded signal; 0: none.
int interrupt_signal();

class Interrupted : public Error {
  using Error::Error;
};

/// Throws Interrupted if a signal was recorded. Call it in the loops of a long validation:
/// optim::train() then saves the state before the validation, and the next run repeats it.
void check_interrupt();

}  // namespace fovea::optim
