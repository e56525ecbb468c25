// ScoreMods that depend on the distance from query to key: ALiBi, T5's buckets, Shaw's clipped
// positions.
#include <fovea/core/dry_run.h>
#include <fovea/core/kernels/score_mod.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/score_mod_detail.h>
#include <fovea/core/sizes.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace fovea {
namespace {

using detail::broadcast_stride;
using Run = ScoreMod::Impl::Run;

// ---- score(h, t, s) + factor(s - t) values(h, index(s - t)) ------------------------------------

// The value of a distance.
struct Step {
  std::int64_t index;
  double factor;
};
using StepOf = std::function<Step(std::int64_t distance)>;

// The steps of all distances, computed once.
struct Steps {
  std::vector<std::int64_t> index;
  std::vector<double> factor;

  void add(const Step& step) {
    index.push_back(step.index);
    factor.push_back(step.factor);
  }
};

template <class T>
struct DistanceTables {
  std::vector<T> line;  // (B or 1, H, T + S - 1)
  std::vector<T> factor;
  kernels::DistanceMod<T> mod{};

  // values: (B or 1, H or 1, N)
  void fill(const Tensor& values, const Steps& steps, std::int64_t H, std::int64_t S, Tensor grad) {
    const std::size_t n = steps.index.size();
    factor.assign(steps.factor.begin(), steps.factor.end());
    line.resize(DryRun::on() ? 0 : static_cast<std::size_t>(values.dim(0) * H) * n);
    T* to = line.data();
    for (std::int64_t b = 0; b < values.dim(0) && !line.empty(); ++b)
      for (std::int64_t h = 0; h < H; ++h, to += n) {
        const T* row = values.data<T>() + b * values.strides()[0] + h * broadcast_stride(values, 1);
        for (std::size_t x = 0; x < n; ++x)
          to[x] = factor[x] * row[steps.index[x] * values.strides()[2]];
      }
    const auto length = static_cast<std::int64_t>(n);
    mod = {S,
           line.data(),
           values.dim(0) == 1 ? 0 : H * length,
           length,
           factor.data(),
           steps.index.data(),
           nullptr,
           0,
           0};
    if (!grad.defined()) return;
    mod.grad = grad.mutable_data<T>();
    mod.grad_b_stride = grad.strides()[0], mod.grad_h_stride = grad.strides()[1];
  }
};

struct DistanceRun final : Run {
  kernels::ScoreHook<float> hook_f32() const override { return kernels::hook_of(f32.mod); }
  kernels::ScoreHook<double> hook_f64() const override { return kernels::hook_of(f64.mod); }
  Steps steps;
  DistanceTables<float> f32;
  DistanceTables<double> f64;
};

struct DistanceImpl final : ScoreMod::Impl {
  DistanceImpl(const char* n, StepOf s, Mask::Corner c)
      : name(n), step_of(std::move(s)), corner(c) {}

  Tensor reference(const Tensor& scores, const std::vector<Tensor>& in, std::int64_t query_offset,
                   std::int64_t T) const override {
    const std::int64_t H = scores.dim(1), rows = scores.dim(2), S = scores.dim(3);
    const Tensor values = values_for(in, scores.dim(0), H, scores.dtype());
    const std::int64_t first =
        query_offset +
        detail::corner_shift(name, corner, detail::query_count(scores, query_offset, T), S);
    Steps steps;
    for (std::int64_t t = first; t < first + rows; ++t)
      for (std::int64_t s = 0; s < S; ++s) steps.add(step_of(s - t));
    const Tensor index = from_data(steps.index, {rows * S});
    const Tensor factor = from_data(steps.factor, {rows, S}).to(scores.dtype());
    const Tensor chosen = index_select(values, 2, index);  // (1, H, rows S)
    return scores + factor * reshape(chosen, {values.dim(0), values.dim(1), rows, S});
  }

  std::unique_ptr<Run> run(std::int64_t B, std::int64_t H, std::int64_t T, std::int64_t S,
                           DType dtype, std::vector<Tensor> grads) const override {
    const Tensor values = values_for(captured, B, H, dtype);
    const std::int64_t shift = detail::corner_shift(name, corner, T, S);
    const Tensor grad = grads.empty() ? Tensor() : grads[0];
    auto r = std::make_unique<DistanceRun>();
    for (std::int64_t x = 0; x < T + S - 1; ++x) r->steps.add(step_of(S - 1 - x - shift));
    if (dtype == DType::f32) r->f32.fill(values, r->steps, H, S, grad);
    if (dtype == DType::f64) r->f64.fill(values, r->steps, H, S, grad);
    return r;
  }

  const char* name;
  StepOf step_of;
  Mask::Corner corner;

 private:
  // (1, H, N): the given values, or ALiBi's default slopes
  Tensor values_for(const std::vector<Tensor>& in, std::int64_t B, std::int64_t H,
                    DType dtype) const {
    if (in.empty()) return reshape(alibi_slopes(H, dtype), {1, H, 1});
    if (in[0].dim(1) != H)
      shape_error(name, "values for {} heads and scores of {} heads: must be equal", in[0].dim(1),
                  H);
    detail::check_captured(name, in[0], B, H, dtype);
    return in[0];
  }
};

Step alibi_step(std::int64_t distance) { return {0, -static_cast<double>(std::abs(distance))}; }

// ---- score(b, h, t, s) + values(b, h, t, clip(s - t)) ------------------------------------------

template <class T>
kernels::ClippedMod<T> clipped_mod(const Tensor& values, std::int64_t shift, Tensor grad) {
  const Strides& s = values.strides();
  kernels::ClippedMod<T> m{
      (values.dim(3) - 1) / 2, shift, values.data<T>(), s[0], s[1], s[2], nullptr, 0, 0, 0};
  if (!grad.defined()) return m;
  m.grad = grad.mutable_data<T>();
  m.grad_b_stride = grad.strides()[0], m.grad_h_stride = grad.strides()[1];
  m.grad_t_stride = grad.strides()[2];
  return m;
}

struct ClippedImpl final : ScoreMod::Impl {
  ClippedImpl(const Tensor& values, Mask::Corner c) : corner(c) {  // (B, H, T, 2 k + 1)
    captured = {values};
  }

  Tensor reference(const Tensor& scores, const std::vector<Tensor>& in, std::int64_t query_offset,
                   std::int64_t T) const override {
    const std::int64_t B = scores.dim(0), H = scores.dim(1), rows = scores.dim(2),
                       S = scores.dim(3), all = detail::query_count(scores, query_offset, T);
    check(in[0], B, H, all, scores.dtype());
    const std::int64_t reach = (in[0].dim(3) - 1) / 2;
    const std::int64_t first = query_offset + detail::corner_shift(name, corner, all, S);
    std::vector<std::int64_t> columns;
    for (std::int64_t t = first; t < first + rows; ++t)
      for (std::int64_t s = 0; s < S; ++s)
        columns.push_back(std::clamp(s - t, -reach, reach) + reach);
    const Tensor index = expand(from_data(columns, {1, 1, rows, S}), {B, H, rows, S});
    return scores + gather(narrow(in[0], 2, query_offset, rows), 3, index.contiguous());
  }

  std::unique_ptr<Run> run(std::int64_t B, std::int64_t H, std::int64_t T, std::int64_t S,
                           DType dtype, std::vector<Tensor> grads) const override {
    check(captured[0], B, H, T, dtype);
    const std::int64_t shift = detail::corner_shift(name, corner, T, S);
    const Tensor grad = grads.empty() ? Tensor() : grads[0];
    auto r = std::make_unique<ClippedRun>();
    if (dtype == DType::f32) r->f32 = clipped_mod<float>(captured[0], shift, grad);
    if (dtype == DType::f64) r->f64 = clipped_mod<double>(captured[0], shift, grad);
    return r;
  }

  static constexpr const char* name = "ScoreMod::clipped_relative";
  Mask::Corner corner;

 private:
  struct ClippedRun final : Run {
    kernels::ScoreHook<float> hook_f32() const override { return kernels::hook_of(f32); }
    kernels::ScoreHook<double> hook_f64() const override { return kernels::hook_of(f64); }
    kernels::ClippedMod<float> f32{};
    kernels::ClippedMod<double> f64{};
  };

  static void check(const Tensor& values, std::int64_t B, std::int64_t H, std::int64_t T,
                    DType dtype) {
    if (values.dim(0) != B || values.dim(1) != H || values.dim(2) != T)
      shape_error(name,
                  "made from q for {} batch rows, {} heads and {} queries: the scores have "
                  "{}, {} and {}",
                  values.dim(0), values.dim(1), values.dim(2), B, H, T);
    detail::check_captured(name, values, B, H, dtype);
  }
};

}  // namespace

Tensor alibi_slopes(std::int64_t H, DType dtype) {
  checked_range("alibi_slopes", "H", H, 1, std::int64_t{1} << 20);
  std::int64_t P = 1;
  while (2 * P <= H) P *= 2;
  std::vector<double> slopes;
  const auto power = [](std::int64_t heads, std::int64_t i) {
    return std::exp2(-8.0 * static_cast<double>(i) / static_cast<double>(heads));
  };
  for (std::int64_t i = 1; i <= P; ++i) slopes.push_back(power(P, i));
  for (std::int64_t i = 1; i <= H - P; ++i) slopes.push_back(power(2 * P, 2 * i - 1));
  return from_data(slopes, {H}).to(dtype);
}

// With n buckets for one direction: n / 2 for the distances 0, 1, ..., and for d >= e = n / 2
//   e + floor(log(d / e) / log(max_distance / e) (n - e)),   at most n - 1.
std::int64_t t5_bucket(std::int64_t distance, std::int64_t num_buckets, const T5Buckets& buckets) {
  const std::int64_t n = buckets.bidirectional ? num_buckets / 2 : num_buckets, exact = n / 2;
  if (exact < 1)
    value_error("t5_bucket", "num_buckets = {}: must be at least {}", num_buckets,
                buckets.bidirectional ? 4 : 2);
  if (buckets.max_distance <= exact)
    value_error(
        "t5_bucket",
        "max_distance = {}: must be above {}, the number of distances with their own bucket",
        buckets.max_distance, exact);
  distance = std::max(
      distance, -std::numeric_limits<std::int64_t>::max());  // so that the absolute value exists
  const std::int64_t side = buckets.bidirectional && distance > 0 ? n : 0;
  const std::int64_t d =
      buckets.bidirectional ? std::abs(distance) : std::max<std::int64_t>(0, -distance);
  if (d < exact) return side + d;
  const double e = static_cast<double>(exact),
               octaves = std::log(static_cast<double>(d) / e) /
                         std::log(static_cast<double>(buckets.max_distance) / e);
  // An integer boundary belongs to the bucket above it, however log() was rounded.
  const double last = static_cast<double>(n - exact);
  const auto step = static_cast<std::int64_t>(std::min(last, octaves * last + 1e-9));
  return side + std::min(exact + step, n - 1);
}

ScoreMod ScoreMod::alibi(Mask::Corner corner) {
  return ScoreMod(std::make_shared<DistanceImpl>("ScoreMod::alibi", alibi_step, corner));
}

ScoreMod ScoreMod::alibi(const Tensor& slopes, Mask::Corner corner) {
  check_defined("ScoreMod::alibi", "slopes", slopes);
  if (slopes.rank() != 1)
    shape_error("ScoreMod::alibi", "slopes {}: must be (H)", slopes.shape().str());
  auto impl = std::make_shared<DistanceImpl>("ScoreMod::alibi", alibi_step, corner);
  impl->captured = {reshape(slopes, {1, slopes.dim(0), 1})};
  return ScoreMod(impl);
}

ScoreMod ScoreMod::t5_bias(const Tensor& table, const T5Buckets& buckets, Mask::Corner corner) {
  check_defined("ScoreMod::t5_bias", "table", table);
  if (table.rank() != 2)
    shape_error("ScoreMod::t5_bias", "table {}: must be (num_buckets, H)", table.shape().str());
  const std::int64_t count = table.dim(0);
  t5_bucket(0, count, buckets);  // throws for invalid arguments here
  const auto step = [count, buckets](std::int64_t distance) {
    return Step{t5_bucket(distance, count, buckets), 1.0};
  };
  auto impl = std::make_shared<DistanceImpl>("ScoreMod::t5_bias", step, corner);
  impl->captured = {unsqueeze(transpose(table, 0, 1), 0)};  // (1, H, num_buckets)
  return ScoreMod(impl);
}

ScoreMod ScoreMod::clipped_relative(const Tensor& q, const Tensor& a, std::optional<double> scale,
                                    Mask::Corner corner) {
  check_defined(ClippedImpl::name, "q", q, "a", a);
  const bool ranks = q.rank() == 4 && (a.rank() == 2 || a.rank() == 3);
  if (!ranks || a.dim(-1) != q.dim(3) || a.dim(-2) % 2 == 0 ||
      (a.rank() == 3 && a.dim(0) != q.dim(1)))
    shape_error(ClippedImpl::name,
                "q {}, a {}: must be (B, H, T, D) and (2 k + 1, D) or (H, 2 k + 1, D)",
                q.shape().str(), a.shape().str());
  const double factor = scale.value_or(1.0 / std::sqrt(static_cast<double>(q.dim(3))));
  const Tensor terms = factor * matmul(q, transpose(a, -1, -2));  // (B, H, T, 2 k + 1)
  return ScoreMod(std::make_shared<ClippedImpl>(terms.contiguous(), corner));
}

}  // namespace fovea
