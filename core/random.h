// Random numbers that are the same on every platform and for any number of threads.
//
// A generator is a place in a counter-based sequence (Philox4x32-10, core/kernels/philox.h): draw
// number i is a function of (seed, stream, i). Nothing of the C++ library's distributions or of
// libm's log and cos is used, since their results differ between platforms.
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

/// All there is to a generator; what a checkpoint keeps.
struct RngState {
  std::uint64_t seed = 0;      ///< Philox's key
  std::uint64_t stream = 0;    ///< upper half of its counter; see Rng::fork
  std::uint64_t position = 0;  ///< how many 64-bit draws were taken

  bool operator==(const RngState&) const = default;
};

/// Copying an Rng copies its place: both copies then give the same numbers.
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

  std::uint64_t next_u64();  ///< one draw; every number below takes draws from here
  std::uint32_t next_u32() { return static_cast<std::uint32_t>(next_u64() >> 32); }

  double uniform();                      ///< multiples of 2^-53 in [0, 1)
  double uniform(double lo, double hi);  ///< lo + (hi - lo) * uniform()
  double normal();                       ///< mean 0, variance 1; |z| < 8.3
  double normal(double mean, double std);
  std::int64_t below(std::int64_t n);  ///< 0 .. n - 1, each equally likely; ValueError for n < 1
  bool chance(double p) { return uniform() < p; }  ///< true with probability p

  /// Element i takes draw i, as one call per element would, and the work is shared among the
  /// threads. An f32 normal is the f64 one, rounded; an f32 uniform has the draw's upper 24 bits.
  void fill_uniform(std::span<float> out, double lo = 0, double hi = 1);
  void fill_uniform(std::span<double> out, double lo = 0, double hi = 1);
  void fill_normal(std::span<float> out, double mean = 0, double std = 1);
  void fill_normal(std::span<double> out, double mean = 0, double std = 1);

  /// Every order of `items` is equally likely (Knuth, TAOCP volume 2, 3.4.2, algorithm P).
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (std::size_t left = items.size(); left > 1; --left)
      std::swap(items[left - 1],
                items[static_cast<std::size_t>(below(static_cast<std::int64_t>(left)))]);
  }

  /// Sets aside `words` 32-bit words, from the next whole block on, and steps over them. A kernel
  /// that is given the returned place twice (forward and backward) sees the same words.
  kernels::PhiloxOrigin reserve(std::int64_t words);

  /// An independent generator, a function of (seed, stream, id): not of how many draws were taken.
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

/// Records which generators this thread uses while the log lives, each with its state before the
/// first use; those constructed meanwhile are left out. For checkpoint(), which runs code twice.
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

/// Sets generators to logged states; the destructor gives them back the states that they had.
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

/// While it lives, dropout (of any op, through Rng::reserve) is a StateError on this thread, which
/// names the module: for validations, where a model in training mode would give noisy figures and
/// move the generators of the training.
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

/// The z below which a standard normal number lies with probability p: 0 < p < 1, relative error
/// about 1e-15, the same bits everywhere. Rng::normal() is this function of a uniform number.
double normal_quantile(double p);

}  // namespace fovea
