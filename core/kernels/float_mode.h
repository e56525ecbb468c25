// Flush to zero: denormal numbers count as 0 inside kernels, since they are about a hundred times
// slower.
#pragma once

#include <atomic>
#include <cstdint>
#if defined(__SSE2__)
#include <immintrin.h>
#endif

namespace fovea::kernels {

#if defined(__SSE2__)
constexpr std::uint64_t kFlush = 0x8040;  // MXCSR: flush to zero, denormals are zero
inline std::uint64_t float_control() { return _mm_getcsr(); }
inline void set_float_control(std::uint64_t mode) { _mm_setcsr(static_cast<unsigned>(mode)); }
#elif defined(__aarch64__)
constexpr std::uint64_t kFlush = std::uint64_t{1} << 24;  // FPCR.FZ: both
inline std::uint64_t float_control() {
  std::uint64_t mode;
  asm volatile("mrs %0, fpcr" : "=r"(mode));
  return mode;
}
inline void set_float_control(std::uint64_t mode) { asm volatile("msr fpcr, %0" ::"r"(mode)); }
#else
constexpr std::uint64_t kFlush = 0;
inline std::uint64_t float_control() { return 0; }
inline void set_float_control(std::uint64_t) {}
#endif

inline std::atomic<std::uint64_t> flush_mode{kFlush};  // 0: flushing is off

inline thread_local constinit bool float_mode_set = false;

// Sets this thread's flush mode to flush_mode for its lifetime, then restores the caller's mode.
// Does nothing when nested.
class FloatMode {
 public:
  FloatMode() : outermost_(!float_mode_set) {
    if (!outermost_) return;
    float_mode_set = true;
    before_ = float_control();
    mode_ = (before_ & ~kFlush) | flush_mode.load(std::memory_order_relaxed);
    if (mode_ != before_) set_float_control(mode_);
  }
  ~FloatMode() {
    if (!outermost_) return;
    float_mode_set = false;
    if (mode_ != before_) set_float_control(before_);
  }
  FloatMode(const FloatMode&) = delete;
  FloatMode& operator=(const FloatMode&) = delete;

 private:
  bool outermost_;
  std::uint64_t before_, mode_;
};

}  // namespace fovea::kernels
