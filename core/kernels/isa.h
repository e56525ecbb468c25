// Instruction set of the kernels: the program contains three builds of every *_simd.cpp file and
// selects the best one for this processor at run time.
#pragma once

namespace fovea::kernels {

// baseline: any x86-64 (SSE2).   v3: AVX2 + FMA.   v4: AVX-512 (F, BW, CD, DQ, VL).
enum class Isa { baseline, v3, v4 };

// The best instruction set that the processor and the operating system support.
Isa detected_isa();

// The one in use: detected_isa() unless set_isa() changed it.
Isa active_isa();

// Lets tests and benchmarks run the other builds. A request above detected_isa() gives
// detected_isa(). Returns the active one.
Isa set_isa(Isa isa);

const char* name_of(Isa isa);

// The active build's member of a family: pick(baseline::t, v3::t, v4::t).
template <class Table>
const Table& pick(const Table& baseline, const Table& v3, const Table& v4) {
  switch (active_isa()) {
    case Isa::v4:
      return v4;
    case Isa::v3:
      return v3;
    case Isa::baseline:
      break;
  }
  return baseline;
}

}  // namespace fovea::kernels
