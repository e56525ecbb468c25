// How many threads the kernels may use.
#pragma once

namespace fovea {

/// The default is OpenMP's: OMP_NUM_THREADS, or the processors this process may run on. Results do
/// not depend on it, to the last bit.
int num_threads();
void set_num_threads(int n);  ///< ValueError unless 1 <= n <= 1024

/// Ties each thread to a processor of its own, which keeps timings steady; false where that cannot
/// be done. For benches and for programs that have the machine to themselves; never done unasked.
bool pin_threads();

}  // namespace fovea
