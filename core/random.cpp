#include <fovea/core/error.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/philox.h>
#include <fovea/core/random.h>

#include <algorithm>
#include <bit>
#include <cmath>

// FMA contraction would make the bits depend on the processor.
#if defined(__clang__)
#pragma STDC FP_CONTRACT OFF
#else
#pragma GCC optimize("fp-contract=off")
#endif

namespace fovea {
namespace {

std::uint64_t joined(std::uint32_t low, std::uint32_t high) {
  return low | std::uint64_t{high} << 32;
}

// Horner's rule; the coefficient of the highest power comes first.
template <std::size_t N>
double polynomial(const double (&coefficients)[N], double x) {
  double sum = 0;
  for (const double c : coefficients) sum = sum * x + c;
  return sum;
}

// ln x for normal x > 0, within 2 ulp.   x = m 2^e with 1/sqrt(2) <= m < sqrt(2), and
// ln m = 2 artanh(s) = 2 s (1 + s^2/3 + s^4/5 + ...)   with s = (m - 1) / (m + 1), |s| < 0.172
double natural_log(double x) {
  constexpr std::uint64_t half_sqrt2_bits = 0x3FE6A09E667F3BCD;  // 1/sqrt(2)
  constexpr double ln2 = 0.69314718055994530942;
  constexpr double series[] = {1.0 / 23, 1.0 / 21, 1.0 / 19, 1.0 / 17, 1.0 / 15, 1.0 / 13,
                               1.0 / 11, 1.0 / 9,  1.0 / 7,  1.0 / 5,  1.0 / 3,  1.0};
  const auto bits = std::bit_cast<std::uint64_t>(x);
  const std::int64_t e = static_cast<std::int64_t>(bits - half_sqrt2_bits) >> 52;
  const double m = std::bit_cast<double>(bits - (static_cast<std::uint64_t>(e) << 52));
  const double s = (m - 1) / (m + 1);
  return static_cast<double>(e) * ln2 + 2 * s * polynomial(series, s * s);
}

// Element i is draw i: each chunk has a generator at its own position, and the caller's generator
// advances past all of them.
template <class T, class Draw>
void fill(Rng& rng, std::span<T> out, const Draw& draw) {
  constexpr std::int64_t grain = 8192;
  const RngState start = rng.state();
  const auto n = static_cast<std::int64_t>(out.size());
  const auto at = [&](std::int64_t i) {
    RngState state = start;
    state.position += static_cast<std::uint64_t>(i);
    return Rng(state);
  };
  kernels::parallel_for(n, grain, [&](std::int64_t begin, std::int64_t end) {
    Rng local = at(begin);
    for (std::int64_t i = begin; i < end; ++i)
      out[static_cast<std::size_t>(i)] = static_cast<T>(draw(local));
  });
  rng = at(n);
}

}  // namespace

// Wichura: "Algorithm AS 241: The Percentage Points of the Normal Distribution", Applied Statistics
// 37 (1988), PPND16: rational functions of p - 1/2 (center) and of sqrt(-ln p) (tails).
double normal_quantile(double p) {
  constexpr double a[] = {2.5090809287301226727e+3, 3.3430575583588128105e+4,
                          6.7265770927008700853e+4, 4.5921953931549871457e+4,
                          1.3731693765509461125e+4, 1.9715909503065514427e+3,
                          1.3314166789178437745e+2, 3.3871328727963666080e+0};
  constexpr double b[] = {5.2264952788528545610e+3, 2.8729085735721942674e+4,
                          3.9307895800092710610e+4, 2.1213794301586595867e+4,
                          5.3941960214247511077e+3, 6.8718700749205790830e+2,
                          4.2313330701600911252e+1, 1.0};
  constexpr double c[] = {7.74545014278341407640e-4, 2.27238449892691845833e-2,
                          2.41780725177450611770e-1, 1.27045825245236838258e+0,
                          3.64784832476320460504e+0, 5.76949722146069140550e+0,
                          4.63033784615654529590e+0, 1.42343711074968357734e+0};
  constexpr double d[] = {1.05075007164441684324e-9, 5.47593808499534494600e-4,
                          1.51986665636164571966e-2, 1.48103976427480074590e-1,
                          6.89767334985100004550e-1, 1.67638483018380384940e+0,
                          2.05319162663775882187e+0, 1.0};
  constexpr double e[] = {2.01033439929228813265e-7, 2.71155556874348757815e-5,
                          1.24266094738807843860e-3, 2.65321895265761230930e-2,
                          2.96560571828504891230e-1, 1.78482653991729133580e+0,
                          5.46378491116411436990e+0, 6.65790464350110377720e+0};
  constexpr double f[] = {2.04426310338993978564e-15, 1.42151175831644588870e-7,
                          1.84631831751005468180e-5,  7.86869131145613259100e-4,
                          1.48753612908506148525e-2,  1.36929880922735805310e-1,
                          5.99832206555887937690e-1,  1.0};
  const double q = p - 0.5;
  if (std::abs(q) <= 0.425) {
    const double r = 0.180625 - q * q;
    return q * polynomial(a, r) / polynomial(b, r);
  }
  const double tail = q < 0 ? p : 1 - p;
  const double r = std::sqrt(-natural_log(tail));  // IEEE 754 rounds sqrt correctly: same anywhere
  const double z = r <= 5 ? polynomial(c, r - 1.6) / polynomial(d, r - 1.6)
                          : polynomial(e, r - 5) / polynomial(f, r - 5);
  return q < 0 ? -z : z;
}

void Rng::set_state(const RngState& state) {
  if (detail::rng_log) [[unlikely]]
    log_use();
  state_ = state;
  load_block();
}

void Rng::load_block() {
  const kernels::PhiloxOrigin origin{state_.seed, state_.stream, 0};
  const kernels::PhiloxBlock block = kernels::philox_block(origin, state_.position / 2);
  draws_[0] = joined(block.word[0], block.word[1]);
  draws_[1] = joined(block.word[2], block.word[3]);
}

std::uint64_t Rng::next_u64() {
  if (detail::rng_log) [[unlikely]]
    log_use();
  const std::uint64_t half = state_.position % 2;
  if (half == 0) load_block();
  ++state_.position;
  return draws_[half];
}

double Rng::uniform() { return static_cast<double>(next_u64() >> 11) * 0x1p-53; }

double Rng::uniform(double lo, double hi) { return lo + (hi - lo) * uniform(); }

// The centers of 2^52 equal intervals: never 0 or 1, exactly symmetric about 1/2.
double Rng::normal() {
  return normal_quantile((static_cast<double>(next_u64() >> 12) + 0.5) * 0x1p-52);
}

double Rng::normal(double mean, double std) { return mean + std * normal(); }

// Rejects the lowest 2^64 mod n draws, so that every remainder is equally likely.
std::int64_t Rng::below(std::int64_t n) {
  if (n < 1) value_error("Rng::below", "n = {}: must be at least 1", n);
  const auto count = static_cast<std::uint64_t>(n);
  const std::uint64_t refused = (0 - count) % count;
  std::uint64_t draw = next_u64();
  while (draw < refused) draw = next_u64();
  return static_cast<std::int64_t>(draw % count);
}

// A float has 24 bits: rounding the 53 bits of uniform() could give 1.
void Rng::fill_uniform(std::span<float> out, double lo, double hi) {
  fill(*this, out, [=](Rng& rng) {
    return lo + (hi - lo) * (static_cast<double>(rng.next_u64() >> 40) * 0x1p-24);
  });
}
void Rng::fill_uniform(std::span<double> out, double lo, double hi) {
  fill(*this, out, [=](Rng& rng) { return rng.uniform(lo, hi); });
}
void Rng::fill_normal(std::span<float> out, double mean, double std) {
  fill(*this, out, [=](Rng& rng) { return rng.normal(mean, std); });
}
void Rng::fill_normal(std::span<double> out, double mean, double std) {
  fill(*this, out, [=](Rng& rng) { return rng.normal(mean, std); });
}

kernels::PhiloxOrigin Rng::reserve(std::int64_t words) {
  if (words < 0) value_error("Rng::reserve", "words = {}: must not be negative", words);
  if (RefuseDropout::on()) [[unlikely]]
    state_error("dropout",
                "the model is in training mode during a validation: must be in evaluation mode: "
                "call eval() before it and train() after it, or set TrainingTask::set_training");
  if (detail::rng_log) [[unlikely]]
    log_use();
  const std::uint64_t block = (state_.position + 1) / 2;
  state_.position = 2 * (block + (static_cast<std::uint64_t>(words) + 3) / 4);
  return {state_.seed, state_.stream, block};
}

// The child's stream is a Philox output under another key (the complement of the parent's), so it
// repeats no draw of the parent; two children share a stream with probability 2^-64.
Rng Rng::fork(std::uint64_t id) const {
  const kernels::PhiloxOrigin origin{~state_.seed, state_.stream, id};
  const kernels::PhiloxBlock child = kernels::philox_block(origin, 0);
  return Rng(RngState{.seed = state_.seed, .stream = joined(child.word[0], child.word[1])});
}

// --- the log of generators ----------------------------------------------------------------------

void Rng::log_construction() const {
  for (detail::RngLog* log = detail::rng_log; log; log = log->outer_) {
    log->forget(*this);
    log->constructed_.push_back(this);
  }
}

void Rng::log_destruction() const {
  for (detail::RngLog* log = detail::rng_log; log; log = log->outer_) log->forget(*this);
}

void Rng::log_use() const {
  for (detail::RngLog* log = detail::rng_log; log; log = log->outer_) log->use(*this);
}

namespace detail {

void RngLog::use(const Rng& rng) {
  const auto is_known = [&](const Used& used) { return used.rng == &rng; };
  if (std::find(constructed_.begin(), constructed_.end(), &rng) != constructed_.end() ||
      std::any_of(used_.begin(), used_.end(), is_known))
    return;
  used_.push_back({const_cast<Rng*>(&rng), rng.state_});
}

void RngLog::forget(const Rng& rng) {
  std::erase(constructed_, &rng);
  std::erase_if(used_, [&](const Used& used) { return used.rng == &rng; });
}

ReplayRngs::ReplayRngs(const std::vector<RngLog::Used>& used) {
  for (const RngLog::Used& start : used) before_.push_back({start.rng, start.rng->state()});
  for (const RngLog::Used& start : used) start.rng->set_state(start.state);
}

ReplayRngs::~ReplayRngs() {
  for (const RngLog::Used& before : before_) before.rng->set_state(before.state);
}

}  // namespace detail
}  // namespace fovea
