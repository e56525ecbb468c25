// ScoreMods that depend on a single score, and code shared by all of them.
#include <fovea/core/kernels/score_mod.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/score_mod_detail.h>

#include <limits>

namespace fovea {
namespace detail {

void check_captured(std::string_view op, const Tensor& x, std::int64_t B, std::int64_t H,
                    DType dtype) {
  const bool fits =
      x.rank() >= 2 && (x.dim(0) == B || x.dim(0) == 1) && (x.dim(1) == H || x.dim(1) == 1);
  if (!fits)
    shape_error(op, "captured {} for {} batch rows and {} heads: must be (B or 1, H or 1, ...)",
                x.shape().str(), B, H);
  if (x.dtype() != dtype)
    dtype_error(op, "captured {}, scores {}: dtypes must be equal", name_of(x.dtype()),
                name_of(dtype));
}

std::int64_t corner_shift(std::string_view op, Mask::Corner corner, std::int64_t T,
                          std::int64_t S) {
  if (corner == Mask::Corner::unset && T != S)
    shape_error(op,
                "{} queries and {} keys: corner must be Corner::top_left or Corner::bottom_right "
                "if their numbers differ",
                T, S);
  return corner == Mask::Corner::bottom_right ? S - T : 0;
}

}  // namespace detail

namespace {

using detail::broadcast_stride;
using Run = ScoreMod::Impl::Run;

// ---- Bias --------------------------------------------------------------------------------------

template <class T>
kernels::BiasMod<T> bias_mod(const Tensor& bias, Tensor grad) {
  kernels::BiasMod<T> m{bias.data<T>(),
                        broadcast_stride(bias, 0),
                        broadcast_stride(bias, 1),
                        broadcast_stride(bias, 2),
                        broadcast_stride(bias, 3),
                        nullptr,
                        0,
                        0,
                        0,
                        0};
  if (!grad.defined()) return m;
  m.grad = grad.mutable_data<T>();
  m.grad_b_stride = broadcast_stride(grad, 0), m.grad_h_stride = broadcast_stride(grad, 1);
  m.grad_t_stride = broadcast_stride(grad, 2), m.grad_s_stride = broadcast_stride(grad, 3);
  return m;
}

struct BiasImpl final : ScoreMod::Impl {
  explicit BiasImpl(const Tensor& bias) { captured = {bias}; }

  Tensor reference(const Tensor& scores, const std::vector<Tensor>& in, std::int64_t query_offset,
                   std::int64_t T) const override {
    check(in[0], scores.dim(0), scores.dim(1), detail::query_count(scores, query_offset, T),
          scores.dim(3), scores.dtype());
    if (in[0].dim(2) == 1) return scores + in[0];
    return scores + narrow(in[0], 2, query_offset, scores.dim(2));  // (B, H, rows, S)
  }

  std::unique_ptr<Run> run(std::int64_t B, std::int64_t H, std::int64_t T, std::int64_t S,
                           DType dtype, std::vector<Tensor> grads) const override {
    const Tensor& bias = captured[0];
    check(bias, B, H, T, S, dtype);
    const Tensor grad = grads.empty() ? Tensor() : grads[0];
    auto r = std::make_unique<BiasRun>();
    if (dtype == DType::f32) r->f32 = bias_mod<float>(bias, grad);
    if (dtype == DType::f64) r->f64 = bias_mod<double>(bias, grad);
    return r;
  }

 private:
  struct BiasRun final : Run {
    kernels::ScoreHook<float> hook_f32() const override { return kernels::hook_of(f32); }
    kernels::ScoreHook<double> hook_f64() const override { return kernels::hook_of(f64); }
    kernels::BiasMod<float> f32{};
    kernels::BiasMod<double> f64{};
  };

  static void check(const Tensor& bias, std::int64_t B, std::int64_t H, std::int64_t T,
                    std::int64_t S, DType dtype) {
    const std::int64_t sizes[] = {B, H, T, S};
    for (std::int64_t axis = 0; axis < 4; ++axis)
      if (bias.dim(axis) != 1 && bias.dim(axis) != sizes[axis])
        shape_error("ScoreMod::bias", "bias {} for scores {}: each size must be the scores' or 1",
                    bias.shape().str(), Shape{B, H, T, S}.str());
    detail::check_captured("ScoreMod::bias", bias, B, H, dtype);
  }
};

// ---- Soft cap: y = c tanh(x / c),  dx = dy (1 - (y / c)^2) -------------------------------------

struct SoftCapImpl final : ScoreMod::Impl {
  explicit SoftCapImpl(double c) : cap(c) {}

  Tensor reference(const Tensor& scores, const std::vector<Tensor>&, std::int64_t,
                   std::int64_t) const override {
    return cap * tanh(scores / cap);
  }

  std::unique_ptr<Run> run(std::int64_t, std::int64_t, std::int64_t, std::int64_t, DType,
                           std::vector<Tensor>) const override {
    struct SoftCapRun final : Run {
      explicit SoftCapRun(double c) : f32{static_cast<float>(c)}, f64{c} {}
      kernels::ScoreHook<float> hook_f32() const override { return kernels::hook_of(f32); }
      kernels::ScoreHook<double> hook_f64() const override { return kernels::hook_of(f64); }
      kernels::SoftCapMod<float> f32;
      kernels::SoftCapMod<double> f64;
    };
    return std::make_unique<SoftCapRun>(cap);
  }

  double cap;
};

// ---- Composition -------------------------------------------------------------------------------

struct ChainImpl final : ScoreMod::Impl {
  ChainImpl(ScoreMod a, ScoreMod b) : first(std::move(a)), next(std::move(b)) {
    captured = first.impl().captured;
    captured.insert(captured.end(), next.impl().captured.begin(), next.impl().captured.end());
  }

  Tensor reference(const Tensor& scores, const std::vector<Tensor>& in, std::int64_t query_offset,
                   std::int64_t T) const override {
    const auto [a, b] = parts(in);
    return next.impl().reference(first.impl().reference(scores, a, query_offset, T), b,
                                 query_offset, T);
  }

  std::unique_ptr<Run> run(std::int64_t B, std::int64_t H, std::int64_t T, std::int64_t S,
                           DType dtype, std::vector<Tensor> grads) const override {
    const auto [a, b] = parts(grads);
    auto r = std::make_unique<ChainRun>();
    r->first = first.impl().run(B, H, T, S, dtype, a);
    r->next = next.impl().run(B, H, T, S, dtype, b);
    if (dtype == DType::f32) r->f32 = {r->first->hook_f32(), r->next->hook_f32()};
    if (dtype == DType::f64) r->f64 = {r->first->hook_f64(), r->next->hook_f64()};
    return r;
  }

  ScoreMod first, next;

 private:
  struct ChainRun final : Run {
    kernels::ScoreHook<float> hook_f32() const override { return kernels::hook_of(f32); }
    kernels::ScoreHook<double> hook_f64() const override { return kernels::hook_of(f64); }
    std::unique_ptr<Run> first, next;
    kernels::ChainMod<float> f32{};
    kernels::ChainMod<double> f64{};
  };

  std::pair<std::vector<Tensor>, std::vector<Tensor>> parts(const std::vector<Tensor>& all) const {
    if (all.empty()) return {};
    const auto cut = all.begin() + static_cast<std::ptrdiff_t>(first.impl().captured.size());
    return {{all.begin(), cut}, {cut, all.end()}};
  }
};

}  // namespace

ScoreMod ScoreMod::bias(const Tensor& bias) {
  check_defined("ScoreMod::bias", "bias", bias);
  if (bias.rank() > 4)
    shape_error("ScoreMod::bias", "bias {}: must be (B, H, T, S), or have fewer axes",
                bias.shape().str());
  if (bias.rank() == 3 && bias.dim(0) != 1)
    shape_error(
        "ScoreMod::bias",
        "bias {}: three axes are ambiguous, use {} for one bias per batch row, {} for one per head",
        bias.shape().str(), Shape{bias.dim(0), 1, bias.dim(1), bias.dim(2)}.str(),
        Shape{1, bias.dim(0), bias.dim(1), bias.dim(2)}.str());
  Tensor x = bias;
  while (x.rank() < 4) x = unsqueeze(x, 0);
  return ScoreMod(std::make_shared<BiasImpl>(x));  // (B or 1, H or 1, T or 1, S or 1)
}

ScoreMod ScoreMod::soft_cap(double cap) {
  if (!(cap > 0 && cap <= std::numeric_limits<float>::max()))
    value_error("ScoreMod::soft_cap", "cap = {}: must be above 0 and finite in f32", cap);
  return ScoreMod(std::make_shared<SoftCapImpl>(cap));
}

ScoreMod ScoreMod::then(const ScoreMod& next) const {
  if (!*this) return next;
  if (!next) return *this;
  return ScoreMod(std::make_shared<ChainImpl>(*this, next));
}

}  // namespace fovea
