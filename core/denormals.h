// Denormal numbers: magnitudes below 1.2e-38 in f32 and 2.2e-308 in f64, with reduced precision.
//
// Arithmetic on them takes about a hundred times as long. Ops therefore treat them as zeros: a
// denormal operand may count as 0 (with its sign), and a denormal result becomes 0. All other
// results keep their bits. Copies, views, bitwise comparisons and values that the user provides
// keep denormals. Results do not depend on the number of threads, whether this mode is on or off.
#pragma once

namespace fovea {

/// Sets flush-to-zero inside ops for all threads; on by default. Off: ops compute denormals
/// exactly. An op always restores the floating-point mode of its caller. Do not call while another
/// thread computes. Returns false if the processor has no such mode.
bool set_flush_denormal(bool on);
bool flush_denormal();

}  // namespace fovea
