// Random numbers that are the same on every platform and for any number of threads.
//
// A generator is a position in a counter-based sequence (Philox4x32-10, core/kernels/philox.h):
// draw i is a function of (seed, stream, i). The distributions of the C++ library and libm's log
// and cos are not used, because their results differ between platforms.
#pragma once

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace fovea {

class Rng;

namespace kernels {
struct PhiloxOrigin;
}

namespace detail {
class RngLog;
inline thread_local constinit RngLog* rng_log = nullptr;  // the innermost one of this thread
}  // namespace detail

/// The complete state of a generator, as saved in a checkpoint.
struct RngState {
  std::uint64_t seed = 0;      ///< Philox's key
  std::uint64_t stream = 0;    ///< upper half of Philox's counter; see Rng::fork
  std::uint64_t position = 0;  ///< number of 64-bit draws taken

  bool operator==(const RngState&) const = default;
};

/// A copy of an Rng has the same state: both then generate the same numbers.
class Rng {
 public:
  explicit Rng(std::uint64_t seed) : Rng(RngState{.seed = seed}) {}
  explicit Rng(const RngState& state) : state_(state) {
    if (detail::rng_log) [[unlikely]]
      log_construction();
    load_block();
  }
  Rng(const Rng& other) : Rng(other.state()) {}
  Rng& operator=(const Rng& other) {
    set_state(other.state());
    return *this;
  }
  ~Rng() {
    if (detail::rng_log) [[unlikely]]
      log_destruction();
  }

  const RngState& state() const {
    if (detail::rng_log) [[unlikely]]
      log_use();
    return state_;
  }
  void set_state(const RngState& state);

  std::uint64_t next_u64();  ///< one draw; all functions below are based on it
  std::uint32_t next_u32() { return static_cast<std::uint32_t>(next_u64() >> 32); }

  double uniform();                      ///< multiples of 2^-53 in [0, 1)
  double uniform(double lo, double hi);  ///< lo + (hi - lo) * uniform()
  double normal();                       ///< mean 0, variance 1; |z| < 8.3
  double normal(double mean, double std);
  std::int64_t below(std::int64_t n);  ///< 0 .. n - 1, each equally likely; ValueError for n < 1
  bool chance(double p) { return uniform() < p; }  ///< true with probability p

  /// Element i takes draw i, as one call per element would; runs on all threads. An f32 normal is
  /// the rounded f64 one; an f32 uniform has the upper 24 bits of the draw.
  void fill_uniform(std::span<float> out, double lo = 0, double hi = 1);
  void fill_uniform(std::span<double> out, double lo = 0, double hi = 1);
  void fill_normal(std::span<float> out, double mean = 0, double std = 1);
  void fill_normal(std::span<double> out, double mean = 0, double std = 1);

  /// Uniformly random permutation (Knuth, TAOCP volume 2, 3.4.2, algorithm P).
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t left = items.size(); left > 1; --left)
      std::swap(items[left - 1],
                items[static_cast<std::size_t>(below(static_cast<std::int64_t>(left)))]);
  }

  /// Reserves `words` 32-bit words, starting at the next whole block, and advances past them. A
  /// kernel that receives the returned origin twice (forward and backward) reads the same words.
  kernels::PhiloxOrigin reserve(std::int64_t words);

  /// An independent generator, a function of (seed, stream, id) only, not of the position.
  Rng fork(std::uint64_t id) const;

 private:
  friend class detail::RngLog;

  void load_block();
  void log_construction() const;
  void log_destruction() const;
  void log_use() const;

  RngState state_;
  std::uint64_t draws_[2];  // the Philox block of draw state_.position
};

namespace detail {

/// Records the generators that this thread uses during the lifetime of the log, each with its state
/// before the first use; generators constructed in that time are excluded. For checkpoint(), which
/// runs code twice.
class RngLog {
 public:
  RngLog() : outer_(std::exchange(rng_log, this)) {}
  ~RngLog() { rng_log = outer_; }
  RngLog(const RngLog&) = delete;
  RngLog& operator=(const RngLog&) = delete;

  struct Used {
    Rng* rng;
    RngState state;
  };
  const std::vector<Used>& used() const { return used_; }

 private:
  friend class fovea::Rng;
  void use(const Rng& rng);
  void forget(const Rng& rng);

  RngLog* outer_;
  std::vector<Used> used_;
  std::vector<const Rng*> constructed_;
};

/// Sets generators to logged states; the destructor restores their previous states.
class ReplayRngs {
 public:
  explicit ReplayRngs(const std::vector<RngLog::Used>& used);
  ~ReplayRngs();
  ReplayRngs(const ReplayRngs&) = delete;
  ReplayRngs& operator=(const ReplayRngs&) = delete;

 private:
  std::vector<RngLog::Used> before_;
};

}  // namespace detail

/// During its lifetime, dropout (in any op, through Rng::reserve) on this thread is a StateError
/// with the module. For validation, where a model in training mode would give noisy results and
/// advance the generators of the training.
class RefuseDropout {
 public:
  RefuseDropout() : before_(std::exchange(on_, true)) {}
  ~RefuseDropout() { on_ = before_; }
  RefuseDropout(const RefuseDropout&) = delete;
  RefuseDropout& operator=(const RefuseDropout&) = delete;

  static bool on() { return on_; }

 private:
  static inline thread_local constinit bool on_ = false;
  bool before_;
};

/// The quantile function of the standard normal distribution, 0 < p < 1: relative error about
/// 1e-15, the same bits on every platform. Rng::normal() applies it to a uniform number.
double normal_quantile(double p);

}  // namespace fovea
