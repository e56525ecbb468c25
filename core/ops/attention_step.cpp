#include <fovea/core/autograd.h>
#include <fovea/core/kernels/attention_step.h>
#include <fovea/core/kernels/rope.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/attention_step.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optional_input_detail.h>

#include <cmath>

namespace fovea {
namespace {

using detail::check_if_given;
using detail::data_or_null;
using detail::dense_or_none;
using detail::is_dense_or_none;
using Weights = AttentionStepWeights;
using Cache = AttentionStepCache;

constexpr const char* kOp = "attention_step";

struct Sizes {
  std::int64_t B, C, H, G, D;
};

Sizes checked_sizes(const Tensor& x, const Weights& w, const Cache& cache) {
  const Tensor& keys = cache.keys;
  check_defined(kOp, "x", x, "q", w.q, "out", w.out, "keys", keys, "values", cache.values);
  if (x.rank() != 3 || x.dim(1) != 1 || keys.rank() != 4 || keys.dim(0) != x.dim(0) ||
      !(cache.values.shape() == keys.shape()) || !keys.is_contiguous() ||
      !cache.values.is_contiguous())
    shape_error(kOp,
                "x {}, keys {} and values {}: must be (B, 1, C), (B, G, slots, D) and (B, G, "
                "slots, D), dense",
                x.shape().str(), keys.shape().str(), cache.values.shape().str());
  const bool packed = !w.k.defined();
  Sizes n{.B = x.dim(0), .C = x.dim(2), .H = 0, .G = keys.dim(1), .D = keys.dim(3)};
  const std::int64_t rows = w.q.dim(0) - (packed ? 2 * n.G * n.D : 0);
  n.H = n.D > 0 ? rows / n.D : 0;
  if (n.B < 1 || n.C < 1 || n.G < 1 || n.D < 1 || n.H < 1 || n.H * n.D != rows || n.H % n.G != 0)
    shape_error(
        kOp,
        "x {}, keys {} and a query weight of {} rows: must have a multiple of {} heads of width {}",
        x.shape().str(), keys.shape().str(), rows, n.G, n.D);
  return n;
}

void check(const Tensor& x, const Weights& w, const Cache& cache, const Sizes& n) {
  const DType dtype = x.dtype();
  if (!is_floating(dtype)) dtype_error(kOp, "needs f32 or f64, and got {}", name_of(dtype));
  const std::int64_t Q = n.H * n.D, KV = n.G * n.D;
  check_if_given(kOp, "q", w.q, {w.q.dim(0), n.C}, dtype);
  check_if_given(kOp, "k", w.k, {KV, n.C}, dtype);
  check_if_given(kOp, "v", w.v, {KV, n.C}, dtype);
  check_if_given(kOp, "bias", w.bias, {Q + 2 * KV}, dtype);
  check_if_given(kOp, "out", w.out, {n.C, Q}, dtype);
  check_if_given(kOp, "out_bias", w.out_bias, {n.C}, dtype);
  check_if_given(kOp, "keys", cache.keys, cache.keys.shape(), dtype);
  check_if_given(kOp, "values", cache.values, cache.values.shape(), dtype);
  if (w.k.defined() != w.v.defined())
    value_error(kOp, "k and v: both must be given, or q must hold all three");
  if (cache.count < 1 || cache.count > cache.keys.dim(2) || cache.count > cache.position + 1)
    value_error(kOp,
                "count = {} at position {} with {} slots: must be in [1, min(position + 1, slots)]",
                cache.count, cache.position, cache.keys.dim(2));
  if (w.rope && (w.rope->dims < 0 || w.rope->dims > n.D || w.rope->dims % 2 != 0))
    value_error(kOp, "rope dims = {} with head width {}: must be even and at most the head width",
                w.rope->dims, n.D);
  if (w.rope && w.rope->dims == 0 && n.D % 2 != 0)
    value_error(kOp, "rope dims = 0 (all) with head width {}: must be even", n.D);
  if (grad_enabled())
    for (const Tensor* t : {&x, &w.q, &w.k, &w.v, &w.bias, &w.out, &w.out_bias})
      if (t->defined() && t->requires_grad())
        state_error(kOp, "gradients are not supported with a cache: use NoGrad");
}

std::int64_t turning_pairs(const Weights& w, std::int64_t D) {
  if (!w.rope) return 0;
  return (w.rope->dims == 0 ? D : w.rope->dims) / 2;
}

double scale_of(const Sizes& n) { return 1 / std::sqrt(static_cast<double>(n.D)); }

template <class T>
T* cache_data(const Tensor& x) {
  Tensor writable = x;
  return writable.mutable_data<T>();
}

// The kernel call, for dense weights.
template <class T>
kernels::AttentionStepProblem<T> problem_of(const Sizes& n, const Tensor& x, const Weights& w,
                                            const Cache& cache) {
  const std::int64_t Q = n.H * n.D, KV = n.G * n.D, slots = cache.keys.dim(2);
  const bool packed = !w.k.defined();
  const T* const q = w.q.data<T>();
  const T* const bias = data_or_null<T>(w.bias);
  kernels::AttentionStepProblem<T> p{.B = n.B,
                                     .C = n.C,
                                     .H = n.H,
                                     .G = n.G,
                                     .D = n.D,
                                     .scale = static_cast<T>(scale_of(n)),
                                     .x = x.data<T>(),
                                     .q_weight = q,
                                     .k_weight = packed ? q + Q * n.C : w.k.data<T>(),
                                     .v_weight = packed ? q + (Q + KV) * n.C : w.v.data<T>(),
                                     .q_bias = bias,
                                     .k_bias = bias ? bias + Q : nullptr,
                                     .v_bias = bias ? bias + Q + KV : nullptr,
                                     .out_weight = w.out.data<T>(),
                                     .out_bias = data_or_null<T>(w.out_bias),
                                     .rope = {},
                                     .cache = {},
                                     .y = nullptr};
  p.cache = {.keys = cache_data<T>(cache.keys),
             .values = cache_data<T>(cache.values),
             .b_stride = n.G * slots * n.D,
             .g_stride = slots * n.D,
             .slots = slots,
             .first = (cache.position + 1 - cache.count) % slots,
             .count = cache.count};
  return p;
}

}  // namespace

Tensor attention_step(const Tensor& x, const Weights& w, const Cache& cache) {
  const Sizes n = checked_sizes(x, w, cache);
  check(x, w, cache, n);
  const NoGrad guard;
  if (!(is_dense_or_none(x) && is_dense_or_none(w.q) && is_dense_or_none(w.k) &&
        is_dense_or_none(w.v) && is_dense_or_none(w.bias) && is_dense_or_none(w.out) &&
        is_dense_or_none(w.out_bias)))
    return attention_step(x.contiguous(),
                          {.q = dense_or_none(w.q),
                           .k = dense_or_none(w.k),
                           .v = dense_or_none(w.v),
                           .bias = dense_or_none(w.bias),
                           .out = dense_or_none(w.out),
                           .out_bias = dense_or_none(w.out_bias),
                           .rope = w.rope},
                          cache);
  Tensor y = empty(x.shape(), x.dtype());
  dispatch_float(x.dtype(), kOp, [&]<class T>() {
    kernels::AttentionStepProblem<T> problem = problem_of<T>(n, x, w, cache);
    problem.y = y.mutable_data<T>();
    Tensor table;
    if (const std::int64_t pairs = turning_pairs(w, n.D); pairs > 0) {
      table = empty({2, pairs}, x.dtype());
      kernels::rope_angles(&cache.position, 1, pairs, w.rope->base, table.mutable_data<T>());
      const bool halves = w.rope->pairing == RopePairing::halves;
      problem.rope = {table.data<T>(), pairs, halves ? 1 : 2, halves ? pairs : 1};
    }
    kernels::attention_step(problem);
  });
  detail::note_work([&] {
    const std::int64_t Q = n.H * n.D, KV = n.G * n.D;
    return n.B * ((Q + 2 * KV) * n.C + Q * n.C + 2 * Q * cache.count);
  });
  return record_cut<"attention_step">(std::move(y), {x, w.q, w.k, w.v, w.bias, w.out, w.out_bias});
}

Tensor attention_step_reference(const Tensor& x, const Weights& w, const Cache& cache) {
  const Sizes n = checked_sizes(x, w, cache);
  check(x, w, cache, n);
  const NoGrad guard;
  const std::int64_t Q = n.H * n.D, KV = n.G * n.D, slots = cache.keys.dim(2);
  const Tensor weight = w.k.defined() ? concat({w.q, w.k, w.v}, 0) : w.q;
  const std::vector<Tensor> qkv = split(linear(x, weight, w.bias), {Q, KV, KV}, -1);
  const auto heads = [&](const Tensor& h, std::int64_t count, bool rotates) {  // (B, heads, 1, D)
    const Tensor y = transpose(reshape(h, {n.B, 1, count, n.D}), 1, 2);
    const Tensor place = full({1}, static_cast<double>(cache.position), DType::i64);
    return rotates && w.rope ? rope_reference(y, place, *w.rope) : y;
  };
  const auto write = [&](const Tensor& to, const Tensor& from) {
    Tensor slot = narrow(to, 2, cache.position % slots, 1);
    slot.copy_from(from);
  };
  write(cache.keys, heads(qkv[1], n.G, true));
  write(cache.values, heads(qkv[2], n.G, false));
  const auto attended = [&](const Tensor& all) {  // (B, G, count, D)
    std::vector<Tensor> tokens;
    for (std::int64_t m = cache.position + 1 - cache.count; m <= cache.position; ++m)
      tokens.push_back(narrow(all, 2, m % slots, 1));
    return concat(tokens, 2);
  };
  const Tensor y =
      attention_reference(heads(qkv[0], n.H, true), attended(cache.keys), attended(cache.values))
          .output;
  return linear(reshape(transpose(y, 1, 2), {n.B, 1, Q}), w.out, w.out_bias);
}

}  // namespace fovea
