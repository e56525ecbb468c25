// Signals that ask a program to end, noted so that it can save first.
#pragma once

#include <fovea/core/error.h>

namespace fovea::optim {

/// While the first of them lives, SIGINT, SIGTERM and SIGHUP are noted instead of ending the
/// program, and a second signal ends it at once. (Not within 0.1 s: timeout(1) and a closing
/// terminal send a signal twice.) A signal that is ignored already, as nohup arranges, stays
/// ignored. At the end the handlers from before are back and what was noted is forgotten.
/// Guards may live on several threads.
class InterruptGuard {
 public:
  explicit InterruptGuard(bool on = true);
  ~InterruptGuard();
  InterruptGuard(const InterruptGuard&) = delete;
  InterruptGuard& operator=(const InterruptGuard&) = delete;

 private:
  bool on_;
};

/// The number of the signal that was noted; 0: none.
int interrupt_signal();

class Interrupted : public Error {
  using Error::Error;
};

/// For the loops of a long validation: Interrupted if a signal was noted. optim::train() then saves
/// the training as it was before the validation, which the next run repeats.
void check_interrupt();

}  // namespace fovea::optim
