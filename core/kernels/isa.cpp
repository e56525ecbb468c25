#include <fovea/core/kernels/isa.h>

#include <algorithm>
#include <atomic>

namespace fovea::kernels {
namespace {

// __builtin_cpu_supports also checks the operating system (XGETBV). x86-64-v3 also means LZCNT,
// MOVBE and F16C, which clang 14 cannot check; every processor with AVX2 and BMI2 has them.
Isa detect() {
#if defined(__x86_64__)
  __builtin_cpu_init();
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
                  __builtin_cpu_supports("bmi") && __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4) return Isa::v4;
  if (v3) return Isa::v3;
#endif
  return Isa::baseline;
}

std::atomic<Isa>& active() {
  static std::atomic<Isa> isa{detected_isa()};
  return isa;
}

}  // namespace

Isa detected_isa() {
  static const Isa isa = detect();
  return isa;
}

Isa active_isa() { return active().load(std::memory_order_relaxed); }

Isa set_isa(Isa isa) {
  const Isa possible = std::min(isa, detected_isa());
  active().store(possible, std::memory_order_relaxed);
  return possible;
}

const char* name_of(Isa isa) {
  switch (isa) {
    case Isa::v4:
      return "v4";
    case Isa::v3:
      return "v3";
    case Isa::baseline:
      break;
  }
  return "baseline";
}

}  // namespace fovea::kernels
