// The forward through time, and the values it saves for the backward.
#include <fovea/core/kernels/recurrent_blocks.h>

#include <utility>

namespace fovea::kernels {
namespace {

// gh becomes its layer norm; normed and scale are saved for backward.
template <class T>
void normalize_row(const RecurrentProblem<T>& w, int64_t row, T* gh) {
  const int64_t GH = layout_of(w.kind).gates * w.H;
  for_norm_groups(w.kind, w.H, [&](int64_t group, int64_t at, int64_t n) {
    w.norm_scale[row * norm_groups(w.kind) + group] = recurrent_loops<T>().normalize(
        n, w.norm_weight + at, w.norm_bias + at, gh + at, w.normed + row * GH + at);
  });
}

// Forward through time of a block of sequences.
template <class T>
class ForwardBlock {
 public:
  ForwardBlock(const RecurrentProblem<T>& walk, const SequenceBlock& block,
               const PackedWeights<T>& weights)
      : w_(walk), block_(block), weights_(weights), GH_(layout_of(walk.kind).gates * walk.H) {
    const int64_t n = block.size();
    Scratch<T> scratch(n * (3 * w_.P + 3 * w_.H + GH_));
    h_ = scratch.take(n * w_.P);
    h_next_ = scratch.take(n * w_.P);
    masked_ = scratch.take(n * w_.P);
    c_ = scratch.take(n * w_.H);
    c_next_ = scratch.take(n * w_.H);
    raw_ = scratch.take(n * w_.H);
    gh_ = scratch.take(n * GH_);
  }

  void run() {
    load_states(block_, w_.P, w_.h0, h_);
    load_states(block_, w_.H, w_.c0, c_);
    store_states(block_, w_.P, h_, w_.hn);  // of sequences of length 0
    if (w_.cells) store_states(block_, w_.H, c_, w_.cn);
    for (int64_t step = 0; step < block_.steps(); ++step) {
      const int64_t running = block_.running(step);
      gemm_packed_serial(running, T(1), inputs(running), w_.P, weights_.recurrent, T(0), gh_, GH_,
                         w_.bias);
      for (int64_t j = 0; j < running; ++j) cell(j, block_.row(j, step));
      if (w_.projection)
        gemm_packed_serial(running, T(1), raw_, w_.H, weights_.projection, T(0), h_next_, w_.P);
      for (int64_t j = 0; j < running; ++j) keep(j, step);
      std::swap(h_, h_next_);
      std::swap(c_, c_next_);
    }
  }

 private:
  // The operand of the weights: the states, masked if there is a mask.
  const T* inputs(int64_t running) {
    if (!w_.mask) return h_;
    for (int64_t j = 0; j < running; ++j) {
      const T* mask = w_.mask + block_.sequence(j) * w_.P;
      for (int64_t k = 0; k < w_.P; ++k) masked_[j * w_.P + k] = mask[k] * h_[j * w_.P + k];
    }
    return masked_;
  }

  void cell(int64_t j, int64_t row) {
    T* gh = gh_ + j * GH_;
    if (w_.norm_weight) normalize_row(w_, row, gh);
    T* h_next = w_.projection ? raw_ + j * w_.H : h_next_ + j * w_.P;
    cells_.forward(w_.H, {w_.gi + row * w_.gi_stride, gh, h_ + j * w_.P, c_ + j * w_.H,
                          w_.cell_norm_weight, w_.cell_norm_bias, h_next, c_next_ + j * w_.H,
                          w_.gates + row * layout_of(w_.kind).kept * w_.H});
    if (w_.projection) std::copy_n(h_next, w_.H, w_.unprojected + row * w_.H);
  }

  void keep(int64_t j, int64_t step) {
    const int64_t row = block_.row(j, step), b = block_.sequence(j);
    const bool last = step + 1 == block_.length(j);
    T* h = h_next_ + j * w_.P;
    mix(w_.zoneout, row, w_.P, h_ + j * w_.P, h);
    std::copy_n(h, w_.P, w_.y + row * w_.y_stride);
    if (last) std::copy_n(h, w_.P, w_.hn + b * w_.P);
    if (!w_.cells) return;
    T* c = c_next_ + j * w_.H;
    mix(w_.cell_zoneout, row, w_.H, c_ + j * w_.H, c);
    std::copy_n(c, w_.H, w_.cells + row * w_.H);
    if (last) std::copy_n(c, w_.H, w_.cn + b * w_.H);
  }

  static void mix(const Zoneout<T>& zoneout, int64_t row, int64_t n, const T* before, T* next) {
    if (!zoneout.on()) return;
    const T* shares = zoneout.shares ? zoneout.shares + row * n : nullptr;
    recurrent_loops<T>().mix(n, shares, zoneout.share, before, next);
  }

  const RecurrentProblem<T>& w_;
  const SequenceBlock& block_;
  const PackedWeights<T>& weights_;
  const CellLoops<T>& cells_ = cell_loops(w_);
  int64_t GH_;
  T *h_, *h_next_, *masked_, *c_, *c_next_, *raw_, *gh_;
};

// All states are known, so rows are independent.
template <class T>
void rebuild_rows(const RecurrentProblem<T>& w, int64_t b, T* gh, T* next, const T* zeros) {
  const int64_t GH = layout_of(w.kind).gates * w.H, K = layout_of(w.kind).kept;
  for (int64_t step = 0; step < w.rows.length(b); ++step) {
    const int64_t row = w.rows.row(b, step), before = step > 0 ? w.rows.row(b, step - 1) : 0;
    const T* h = step > 0 ? w.y + before * w.y_stride : w.h0 ? w.h0 + b * w.P : zeros;
    const T* c = step > 0 && w.cells ? w.cells + before * w.H : w.c0 ? w.c0 + b * w.H : zeros;
    T* gh_row = gh + row * GH;
    if (w.norm_weight) normalize_row(w, row, gh_row);
    T* h_next = w.projection ? w.unprojected + row * w.H : next;
    cell_loops(w).forward(w.H, {w.gi + row * w.gi_stride, gh_row, h, c, w.cell_norm_weight,
                                w.cell_norm_bias, h_next, next + w.H, w.gates + row * K * w.H});
  }
}

}  // namespace

template <class T>
void recurrent_forward(const RecurrentProblem<T>* walks, int64_t directions) {
  PackedWeights<T>* packed[2] = {};
  for (int64_t d = 0; d < directions; ++d) {
    const RecurrentProblem<T>& w = walks[d];
    packed[d] = &packed_weights<T>(d);
    packed[d]->recurrent.pack(Trans::yes, w.P, layout_of(w.kind).gates * w.H, w.weight, w.P);
    if (w.projection) packed[d]->projection.pack(Trans::yes, w.H, w.P, w.projection, w.H);
  }
  for_blocks(walks, directions, [&](int64_t d, const SequenceBlock& block) {
    ForwardBlock<T>(walks[d], block, *packed[d]).run();
  });
}

template <class T>
void recurrent_rebuild(const RecurrentProblem<T>& w, T* h_prev, T* gh) {
  const int64_t N = w.rows.offsets[w.rows.B], GH = layout_of(w.kind).gates * w.H;
  previous_states(w, h_prev);
  PackedB<T>& weights = packed_weights<T>(0).recurrent;  // same order of sums as step by step
  weights.pack(Trans::yes, w.P, GH, w.weight, w.P);
  gemm_packed(N, T(1), h_prev, w.P, weights, T(0), gh, GH, w.bias);
  const std::vector<T> zeros(static_cast<std::size_t>(std::max(w.H, w.P)));
  parallel_for(w.rows.B, 1, [&](int64_t b, int64_t end) {
    std::vector<T> next(static_cast<std::size_t>(2 * w.H));
    for (; b < end; ++b) rebuild_rows(w, b, gh, next.data(), zeros.data());
  });
}

template <class T>
void previous_states(const RecurrentProblem<T>& w, T* h_prev) {
  const int64_t P = w.P;
  parallel_for(w.rows.B, 1, [&](int64_t b, int64_t end) {
    for (; b < end; ++b) {
      const T* mask = w.mask ? w.mask + b * P : nullptr;
      for (int64_t step = 0; step < w.rows.length(b); ++step) {
        T* to = h_prev + w.rows.row(b, step) * P;
        if (step > 0)
          std::copy_n(w.y + w.rows.row(b, step - 1) * w.y_stride, P, to);
        else if (w.h0)
          std::copy_n(w.h0 + b * P, P, to);
        else
          std::fill_n(to, P, T(0));
        for (int64_t k = 0; mask && k < P; ++k) to[k] *= mask[k];
      }
    }
  });
}

#define FOVEA_INSTANTIATE(T)                                            \
  template void recurrent_forward(const RecurrentProblem<T>*, int64_t); \
  template void recurrent_rebuild(const RecurrentProblem<T>&, T*, T*);  \
  template void previous_states(const RecurrentProblem<T>&, T*);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
