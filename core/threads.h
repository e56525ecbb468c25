// The number of threads that the kernels use.
#pragma once

namespace fovea {

/// The default is OpenMP's: OMP_NUM_THREADS, or the number of processors available to this process.
/// Results are bitwise the same for every number.
int num_threads();
void set_num_threads(int n);  ///< ValueError unless 1 <= n <= 1024

/// Pins each thread to a processor of its own, for stable timings; false if that is not possible.
/// For benchmarks and for programs that are alone on the machine; never done by the library itself.
bool pin_threads();

}  // namespace fovea
