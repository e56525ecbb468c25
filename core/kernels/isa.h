// Which instruction set the kernels run on: one program carries three builds of every *_simd.cpp
// file, and the best one this processor can execute is chosen at run time.
#pragma once

namespace fovea::kernels {

// baseline: any x86-64 (SSE2).   v3: AVX2 + FMA.   v4: AVX-512 (F, BW, CD, DQ, VL).
enum class Isa { baseline, v3, v4 };

// The best instruction set that processor and operating system support.
Isa detected_isa();

// The one in use: detected_isa() until set_isa() says otherwise.
Isa active_isa();

// Lets tests and benches run the other builds. A request above detected_isa() gives
// detected_isa(), since the code could not be executed. Returns what is now active.
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
