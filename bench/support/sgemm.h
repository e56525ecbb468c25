// The machine's matrix-product speed, measured in the same process as the benchmarks.
#pragma once

namespace fovea::bench {

/// Registers sgemm/own and sgemm/OpenBLAS: 1024 x 1024 x 1024 in f32 on all threads. OpenBLAS runs
/// one call per thread, each with a part of the rows. Returns true, for a static initializer.
bool register_sgemm();

}  // namespace fovea::bench
