// The machine's rate of matrix products, measured in the same process as what is compared with it.
#pragma once

namespace fovea::bench {

/// Registers sgemm/own and sgemm/OpenBLAS: 1024 x 1024 x 1024 in f32 on all threads. OpenBLAS runs
/// one call a thread, each with its share of the rows. Returns true, for a static initialiser.
bool register_sgemm();

}  // namespace fovea::bench
