// The backward through time.
#include <fovea/core/kernels/recurrent_blocks.h>

namespace fovea::kernels {
namespace {

template <class T>
class BackwardBlock {
 public:
  BackwardBlock(const RecurrentProblem<T>& walk, const RecurrentGrads<T>& grads,
                const SequenceBlock& block, const PackedWeights<T>& weights)
      : w_(walk), g_(grads), block_(block), weights_(weights) {
    const int64_t n = block.size(), P = w_.P, H = w_.H;
    Scratch<T> scratch(n * (3 * P + 3 * H + GH_) + std::max(P, H));
    dh_ = scratch.take(n * P);
    passed_ = scratch.take(n * P);
    through_ = scratch.take(n * P);
    dc_ = scratch.take(n * H);
    dc_passed_ = scratch.take(n * H);
    draw_ = scratch.take(n * H);
    dgh_ = scratch.take(n * GH_);
    zeros_ = scratch.take(std::max(P, H));
    std::fill_n(zeros_, std::max(P, H), T(0));
  }

  void run() {
    load_states(block_, w_.P, g_.dhn, dh_);
    load_states(block_, w_.H, g_.dcn, dc_);
    for (int64_t step = block_.steps() - 1; step >= 0; --step) {
      const int64_t running = block_.running(step);
      for (int64_t j = 0; j < running; ++j) enter(j, block_.row(j, step));
      if (w_.projection)
        gemm_packed_serial(running, T(1), dh_, w_.P, weights_.projection, T(0), draw_, w_.H);
      for (int64_t j = 0; j < running; ++j) cell(j, step);
      leave(running);
    }
    store_states(block_, w_.P, dh_, g_.dh0);
    if (w_.cells) store_states(block_, w_.H, dc_, g_.dc0);
  }

 private:
  // Turns dh and dc into the gradients by the cell's outputs.
  void enter(int64_t j, int64_t row) {
    T* dh = dh_ + j * w_.P;
    if (g_.dy)
      for (int64_t k = 0; k < w_.P; ++k) dh[k] += g_.dy[row * g_.dy_stride + k];
    unmix(w_.zoneout, row, w_.P, dh, passed_ + j * w_.P);
    if (w_.cells) unmix(w_.cell_zoneout, row, w_.H, dc_ + j * w_.H, dc_passed_ + j * w_.H);
    if (w_.projection) std::copy_n(dh, w_.P, g_.dstates + row * w_.P);
  }

  static void unmix(const Zoneout<T>& zoneout, int64_t row, int64_t n, T* d, T* passed) {
    if (!zoneout.on()) return;
    const T* shares = zoneout.shares ? zoneout.shares + row * n : nullptr;
    recurrent_loops<T>().unmix(n, shares, zoneout.share, d, passed);
  }

  void cell(int64_t j, int64_t step) {
    const int64_t H = w_.H, b = block_.sequence(j), row = block_.row(j, step);
    const int64_t kept = row * layout_of(w_.kind).kept * H;
    const int64_t before = step > 0 ? block_.row(j, step - 1) : 0;
    const T* h = step > 0 ? w_.y + before * w_.y_stride : w_.h0 ? w_.h0 + b * w_.P : zeros_;
    const T* c = step > 0 && w_.cells ? w_.cells + before * H : w_.c0 ? w_.c0 + b * H : zeros_;
    T* dc = dc_ + j * H;
    T* dnorm = g_.dcell_norm ? g_.dcell_norm + row * 2 * H : nullptr;
    T* dgh = dgh_ + j * GH_;
    cells_.backward(
        H, {h, c, w_.gates + kept, w_.cell_norm_weight, w_.cell_norm_bias,
            w_.projection ? draw_ + j * H : dh_ + j * w_.P, dc, g_.dgates + kept, dgh, dnorm});
    if (w_.cell_zoneout.on())
      for (int64_t k = 0; k < H; ++k) dc[k] += dc_passed_[j * H + k];
    if (w_.norm_weight) normalize_backward(row, dgh);
  }

  void normalize_backward(int64_t row, T* dgh) {
    for_norm_groups(w_.kind, w_.H, [&](int64_t group, int64_t at, int64_t n) {
      recurrent_loops<T>().normalize_backward(n, w_.norm_weight + at, w_.normed + row * GH_ + at,
                                              w_.norm_scale[row * norm_groups(w_.kind) + group],
                                              dgh + at, g_.dnorm + row * GH_ + at);
    });
    std::copy_n(dgh, GH_, g_.dgh + row * GH_);
  }

  // Turns dh into the gradient by the previous state: through the weights and the direct part.
  void leave(int64_t running) {
    const bool past = layout_of(w_.kind).past_gates;
    if (!w_.mask) {
      gemm_packed_serial(running, T(1), dgh_, GH_, weights_.recurrent, T(past), dh_, w_.P);
    } else {
      gemm_packed_serial(running, T(1), dgh_, GH_, weights_.recurrent, T(0), through_, w_.P);
      for (int64_t j = 0; j < running; ++j) {
        const T* mask = w_.mask + block_.sequence(j) * w_.P;
        for (int64_t at = j * w_.P, k = 0; k < w_.P; ++k, ++at)
          dh_[at] = mask[k] * through_[at] + (past ? dh_[at] : T(0));
      }
    }
    if (w_.zoneout.on())
      for (int64_t at = 0; at < running * w_.P; ++at) dh_[at] += passed_[at];
  }

  const RecurrentProblem<T>& w_;
  const RecurrentGrads<T>& g_;
  const SequenceBlock& block_;
  const PackedWeights<T>& weights_;
  const CellLoops<T>& cells_ = cell_loops(w_);
  int64_t GH_ = layout_of(w_.kind).gates * w_.H;
  T *dh_, *passed_, *through_, *dc_, *dc_passed_, *draw_, *dgh_, *zeros_;
};

}  // namespace

template <class T>
void recurrent_backward(const RecurrentProblem<T>* walks, const RecurrentGrads<T>* grads,
                        int64_t directions) {
  PackedWeights<T>* packed[2] = {};
  for (int64_t d = 0; d < directions; ++d) {
    const RecurrentProblem<T>& w = walks[d];
    packed[d] = &packed_weights<T>(d);
    packed[d]->recurrent.pack(Trans::no, layout_of(w.kind).gates * w.H, w.P, w.weight, w.P);
    if (w.projection) packed[d]->projection.pack(Trans::no, w.P, w.H, w.projection, w.H);
  }
  for_blocks(walks, directions, [&](int64_t d, const SequenceBlock& block) {
    BackwardBlock<T>(walks[d], grads[d], block, *packed[d]).run();
  });
}

template void recurrent_backward(const RecurrentProblem<float>*, const RecurrentGrads<float>*,
                                 int64_t);
template void recurrent_backward(const RecurrentProblem<double>*, const RecurrentGrads<double>*,
                                 int64_t);

}  // namespace fovea::kernels
