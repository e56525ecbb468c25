// Denormal numbers: those below 1.2e-38 in f32 and 2.2e-308 in f64, with fewer digits than others.
//
// A processor takes about a hundred times as long for them. So ops treat them as zeros: a denormal
// operand may count as 0 (of its sign), and a result that would be denormal is 0. All other results
// keep their bits. Copies, views, comparisons of bits and numbers given by the user keep denormals.
// Results do not depend on the number of threads, with and without.
#pragma once

namespace fovea {

/// Flush to zero inside ops, for all threads; on at the start. Off: ops compute denormals exactly.
/// The floating-point mode of the caller is the same after an op as before, whatever this says.
/// Not while another thread computes. Returns false where the processor has no such mode.
bool set_flush_denormal(bool on);
bool flush_denormal();

}  // namespace fovea
