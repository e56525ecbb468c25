#include <fovea/core/autograd.h>
#include <fovea/core/kernels/attention.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/score_mod_detail.h>
#include <fovea/core/ops/score_mod_lambda.h>

namespace fovea {
namespace detail {

void too_many_reads(int max_reads) {
  value_error("score_mod",
              "more than {} elements read in one call: raise the limit, as in score_mod<{}>(...)",
              max_reads, 2 * max_reads);
}

void bad_read(std::size_t slices, int which, int axes_given, int axes, std::int64_t x,
              std::int64_t y, std::int64_t X, std::int64_t Y) {
  if (which < 0 || static_cast<std::size_t>(which) >= slices)
    index_error("score_mod", "read({}, ...) with {} captured tensors: the index must be below that",
                which, slices);
  if (axes_given != axes)
    index_error("score_mod",
                "read({}, ...) with {} indices: a slice of the captured tensor has {} axes", which,
                axes_given, axes);
  if (axes == 1) index_error("score_mod", "read({}, {}): the slice has {} elements", which, x, X);
  index_error("score_mod", "read({}, {}, {}): the slice is ({}, {})", which, x, y, X, Y);
}

}  // namespace detail

namespace {

using detail::ScoreBlock;
using detail::ScoreLambda;
using detail::ScoreLoops;
using detail::ScoreSlice;
using Run = ScoreMod::Impl::Run;

constexpr const char* kName = "score_mod";
constexpr std::size_t kMaxCaptured = 8;

template <class T>
const ScoreLoops::Of<T>& loops_of(const ScoreLambda& lambda) {
  if constexpr (std::is_same_v<T, float>) {
    return lambda.loops.f32;
  } else {
    return lambda.loops.f64;
  }
}

std::int64_t stride_or_0(const Tensor& x, std::int64_t axis) {
  return axis < x.rank() ? detail::broadcast_stride(x, axis) : 0;
}

// The captured tensors, split into one slice per (batch, head).
template <class T>
class Slices {
 public:
  Slices() = default;
  // directions and grads: one per captured tensor, or empty; undefined ones are skipped
  Slices(const std::vector<Tensor>& captured, const std::vector<Tensor>& directions,
         std::vector<Tensor> grads) {
    for (std::size_t i = 0; i < captured.size(); ++i) {
      const Tensor& x = captured[i];
      Whole w;
      w.slice.data = x.data<T>();
      w.slice.axes = static_cast<int>(x.rank()) - 2;
      if (x.rank() > 2) w.slice.X = x.dim(2);
      if (x.rank() > 3) w.slice.Y = x.dim(3);
      w.b_stride = stride_or_0(x, 0), w.h_stride = stride_or_0(x, 1);
      w.slice.x_stride = stride_or_0(x, 2), w.slice.y_stride = stride_or_0(x, 3);
      if (i < directions.size() && directions[i].defined())
        w.slice.direction = directions[i].data<T>();
      if (i < grads.size() && grads[i].defined()) {
        w.slice.grad = grads[i].mutable_data<T>();
        w.grad_b_stride = stride_or_0(grads[i], 0), w.grad_h_stride = stride_or_0(grads[i], 1);
        w.slice.grad_x_stride = stride_or_0(grads[i], 2);
        w.slice.grad_y_stride = stride_or_0(grads[i], 3);
        any_grad_ = true;
      }
      wholes_.push_back(w);
    }
  }

  using Buffer = std::array<ScoreSlice<T>, kMaxCaptured>;
  std::span<const ScoreSlice<T>> of(std::int64_t b, std::int64_t h, Buffer& buffer) const {
    for (std::size_t i = 0; i < wholes_.size(); ++i) {
      const Whole& w = wholes_[i];
      const std::int64_t place = b * w.b_stride + h * w.h_stride;
      buffer[i] = w.slice;
      buffer[i].data += place;
      if (w.slice.direction) buffer[i].direction += place;
      if (w.slice.grad) buffer[i].grad += b * w.grad_b_stride + h * w.grad_h_stride;
    }
    return {buffer.data(), wholes_.size()};
  }
  bool any_grad() const { return any_grad_; }

 private:
  struct Whole {
    ScoreSlice<T> slice;
    std::int64_t b_stride = 0, h_stride = 0, grad_b_stride = 0, grad_h_stride = 0;
  };
  std::vector<Whole> wholes_;
  bool any_grad_ = false;
};

void check_all(const std::vector<Tensor>& captured, std::int64_t B, std::int64_t H, DType dtype) {
  for (const Tensor& x : captured) detail::check_captured(kName, x, B, H, dtype);
}

// ---- Fused kernel ------------------------------------------------------------------------------

template <class T>
struct LambdaHook {
  ScoreLambda lambda;
  Slices<T> slices;
  std::int64_t shift = 0;

  kernels::ScoreHook<T> hook() const { return {this, forward, backward}; }

  void call(ScoreLoops::Loop<T> loop, const kernels::ScoreTile<T>& tile, T* dscores) const {
    typename Slices<T>::Buffer buffer;
    loop(lambda.f.get(), {{tile.batch, tile.head, tile.query + shift, tile.key},
                          tile.queries,
                          tile.keys,
                          tile.stride,
                          tile.scores,
                          dscores,
                          nullptr,
                          nullptr,
                          slices.of(tile.batch, tile.head, buffer)});
  }
  static void forward(const void* self, const kernels::ScoreTile<T>& tile) {
    const auto& m = *static_cast<const LambdaHook*>(self);
    m.call(loops_of<T>(m.lambda).forward, tile, nullptr);
  }
  static void backward(const void* self, const kernels::ScoreTile<T>& tile, T* dscores) {
    const auto& m = *static_cast<const LambdaHook*>(self);
    const ScoreLoops::Of<T>& loops = loops_of<T>(m.lambda);
    m.call(m.slices.any_grad() ? loops.backward : loops.score_backward, tile, dscores);
  }
};

struct LambdaRun final : Run {
  kernels::ScoreHook<float> hook_f32() const override { return f32.hook(); }
  kernels::ScoreHook<double> hook_f64() const override { return f64.hook(); }
  LambdaHook<float> f32;
  LambdaHook<double> f64;
};

// ---- Reference, on a tensor of scores ----------------------------------------------------------
// y = f(x, captured), elementwise.   x, y: (B, H, S, rows), keys first as in a tile

struct Whole {
  ScoreLambda lambda;
  std::int64_t first_query;

  // Calls the loop for each (batch, head). dscores, direction and dx are dense, or undefined.
  template <class T>
  void for_all(ScoreLoops::Loop<T> loop, Tensor& x, Tensor& dscores, const Tensor& direction,
               Tensor& dx, const Slices<T>& slices) const {
    const std::int64_t H = x.dim(1), S = x.dim(2), rows = x.dim(3);
    T* scores = x.mutable_data<T>();
    T* ds = dscores.defined() ? dscores.mutable_data<T>() : nullptr;
    const T* along = direction.defined() ? direction.data<T>() : nullptr;
    T* out = dx.defined() ? dx.mutable_data<T>() : nullptr;
    kernels::parallel_for(x.dim(0) * H, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t bh = begin; bh < end; ++bh) {
        typename Slices<T>::Buffer buffer;
        const std::int64_t at = bh * S * rows, b = bh / H, h = bh % H;
        loop(lambda.f.get(), {{b, h, first_query, 0},
                              rows,
                              S,
                              rows,
                              scores + at,
                              ds ? ds + at : nullptr,
                              along ? along + at : nullptr,
                              out ? out + at : nullptr,
                              slices.of(b, h, buffer)});
      }
    });
  }
};

// (B, H, ...) for each captured tensor, zeroed.
std::vector<Tensor> zeroed_grads(const std::vector<Tensor>& captured, const Tensor& x) {
  std::vector<Tensor> grads;
  for (const Tensor& c : captured) {
    Shape shape = c.shape();
    shape[0] = x.dim(0), shape[1] = x.dim(1);
    grads.push_back(zeros(shape, x.dtype()));
  }
  return grads;
}

// The gradients by x and by the captured tensors, given dy: {dx, dcaptured...}, recorded.
std::vector<Tensor> lambda_backward(const Whole& whole, const Tensor& x,
                                    const std::vector<Tensor>& captured, const Tensor& dy);

std::vector<Tensor> unpacked(const std::vector<Saved>& saved) {
  return {saved.begin(), saved.end()};
}

std::vector<Saved> kept(const std::vector<Tensor>& tensors) {
  std::vector<Saved> all;
  for (const Tensor& x : tensors) all.push_back(keep(x));
  return all;
}

std::vector<Tensor> joined(const Tensor& x, const std::vector<Tensor>& more) {
  std::vector<Tensor> all{x};
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

Tensor lambda_forward(const Whole& whole, const Tensor& x, const std::vector<Tensor>& captured) {
  Tensor y = without_graph(x).clone(), none;
  dispatch_float(x.dtype(), kName, [&]<class T>() {
    whole.for_all<T>(loops_of<T>(whole.lambda).forward, y, none, none, none,
                     Slices<T>(captured, {}, {}));
  });
  return record<"score_mod">(
      y, std::span<const Tensor>(joined(x, captured)),
      [whole, x = keep(x), captured = kept(captured)](const Tensor& dy, NeedsGrad) {
        const std::vector<Tensor> all =
            lambda_backward(whole, x, unpacked(captured), dy.contiguous());
        Grads grads(all.size());
        for (std::size_t i = 0; i < all.size(); ++i) grads[i] = all[i];
        return grads;
      });
}

// The gradients of lambda_backward: by x, by each captured tensor and by dy. Recorded only to throw
// a StateError if a third derivative is required.
Grads lambda_second_backward(const Whole& whole, const Tensor& x,
                             const std::vector<Tensor>& captured, const Tensor& dy,
                             std::span<const Tensor> directions) {
  std::vector<Tensor> inputs = joined(x, captured), outputs;
  inputs.push_back(dy);
  for (const Tensor& d : directions)
    if (d.defined()) inputs.push_back(d);
  {
    const NoGrad guard;
    std::vector<Tensor> along;
    for (const Tensor& d : directions) along.push_back(d.defined() ? d.contiguous() : Tensor());
    const std::vector<Tensor> dcaptured = zeroed_grads(captured, x);
    Tensor numbers = without_graph(x).clone(), ddy = without_graph(dy).clone(),
           dx = empty(x.shape(), x.dtype());
    dispatch_float(x.dtype(), kName, [&]<class T>() {
      whole.for_all<T>(loops_of<T>(whole.lambda).second_backward, numbers, ddy, along[0], dx,
                       Slices<T>(captured, {along.begin() + 1, along.end()}, dcaptured));
    });
    outputs.push_back(dx);
    for (std::size_t i = 0; i < captured.size(); ++i)
      outputs.push_back(sum_to(dcaptured[i], captured[i].shape()));
    outputs.push_back(ddy);
  }
  outputs = record_outputs<"score_mod">(
      std::move(outputs), std::span<const Tensor>(inputs),
      [](std::span<const Tensor>, NeedsGrad) -> Grads {
        state_error(kName, "the third derivative of a lambda is not supported");
      });
  Grads grads(outputs.size());
  for (std::size_t i = 0; i < outputs.size(); ++i) grads[i] = outputs[i];
  return grads;
}

std::vector<Tensor> lambda_backward(const Whole& whole, const Tensor& x,
                                    const std::vector<Tensor>& captured, const Tensor& dy) {
  Tensor numbers = without_graph(x).clone(), dx = without_graph(dy).clone(), none;
  std::vector<Tensor> ys{dx};
  {
    const NoGrad guard;
    const std::vector<Tensor> dcaptured = zeroed_grads(captured, x);
    dispatch_float(x.dtype(), kName, [&]<class T>() {
      const ScoreLoops::Of<T>& loops = loops_of<T>(whole.lambda);
      whole.for_all<T>(captured.empty() ? loops.score_backward : loops.backward, numbers, dx, none,
                       none, Slices<T>(captured, {}, dcaptured));
    });
    for (std::size_t i = 0; i < captured.size(); ++i)
      ys.push_back(sum_to(dcaptured[i], captured[i].shape()));
  }
  std::vector<Tensor> inputs = joined(x, captured);
  inputs.push_back(dy);
  return record_outputs<"score_mod">(std::move(ys), std::span<const Tensor>(inputs),
                                     [whole, x = keep(x), captured = kept(captured), dy = keep(dy)](
                                         std::span<const Tensor> directions, NeedsGrad) {
                                       return lambda_second_backward(whole, x, unpacked(captured),
                                                                     dy, directions);
                                     });
}

struct LambdaImpl final : ScoreMod::Impl {
  Tensor reference(const Tensor& scores, const std::vector<Tensor>& in, std::int64_t query_offset,
                   std::int64_t T) const override {
    check_defined(kName, "scores", scores);
    check_all(in, scores.dim(0), scores.dim(1), scores.dtype());
    const std::int64_t all = detail::query_count(scores, query_offset, T);
    const std::int64_t shift = detail::corner_shift(kName, corner, all, scores.dim(3));
    std::vector<Tensor> dense;
    for (const Tensor& x : in) dense.push_back(x.contiguous());
    const Tensor x = transpose(scores, 2, 3).contiguous();  // (B, H, S, rows)
    return transpose(lambda_forward({lambda, query_offset + shift}, x, dense), 2, 3);
  }

  std::unique_ptr<Run> run(std::int64_t B, std::int64_t H, std::int64_t T, std::int64_t S,
                           DType dtype, std::vector<Tensor> grads) const override {
    check_all(captured, B, H, dtype);
    const std::int64_t shift = detail::corner_shift(kName, corner, T, S);
    auto r = std::make_unique<LambdaRun>();
    if (dtype == DType::f32)
      r->f32 = {lambda, Slices<float>(captured, {}, std::move(grads)), shift};
    else
      r->f64 = {lambda, Slices<double>(captured, {}, std::move(grads)), shift};
    return r;
  }

  ScoreLambda lambda;
  Mask::Corner corner = Mask::Corner::unset;
};

}  // namespace

ScoreMod detail::make_score_mod(ScoreLambda lambda, std::vector<Tensor> captured,
                                Mask::Corner corner) {
  check_all_defined(kName, "captured", captured);
  if (captured.size() > kMaxCaptured)
    value_error(kName, "{} tensors captured: at most {}", captured.size(), kMaxCaptured);
  for (const Tensor& x : captured)
    if (x.rank() < 2 || x.rank() > 4)
      shape_error(kName, "captured {}: must be (B or 1, H or 1), with up to two more axes",
                  x.shape().str());
  auto impl = std::make_shared<LambdaImpl>();
  impl->lambda = std::move(lambda);
  impl->captured = std::move(captured);
  impl->corner = corner;
  return ScoreMod(impl);
}

}  // namespace fovea
