// The LSTM of core/kernels/recurrent.h.
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/recurrent_blocks.h>
#include <fovea/core/kernels/rows.h>

namespace fovea::kernels {
namespace {

template <class T>
const LstmCell<T>& cell() {
  return loops_of<T>(pick(baseline::recurrent_table, v3::recurrent_table, v4::recurrent_table))
      .lstm;
}

}  // namespace

template <class T>
void lstm_forward(const RaggedRows& rows, int64_t H, const T* gi, const T* W, const T* b,
                  const T* h0, const T* c0, T* y, T* hn, T* cn, T* gates, T* cells) {
  PackedB<T>& weights = packed_weights<T>();
  weights.pack(Trans::yes, H, 4 * H, W, H);
  for_blocks(rows, [&](const SequenceBlock& block) {
    std::vector<T> h(static_cast<std::size_t>(block.size * H)), c(h.size()), gh(h.size() * 4);
    load_states(block, H, h0, h.data());
    load_states(block, H, c0, c.data());
    for (int64_t step = 0; step < block.steps(); ++step) {
      const int64_t running = block.running(step);
      gemm_packed_serial(running, T(1), h.data(), H, weights, T(0), gh.data(), 4 * H, b);
      for (int64_t j = 0; j < running; ++j) {
        const int64_t row = rows.row(block.order[j], step);
        cell<T>().forward(H, gi + row * 4 * H, gh.data() + j * 4 * H, h.data() + j * H,
                          c.data() + j * H, y + row * H, gates + row * 4 * H, cells + row * H);
      }
    }
    store_states(block, H, h.data(), hn);
    store_states(block, H, c.data(), cn);
  });
}

template <class T>
void lstm_backward(const RaggedRows& rows, int64_t H, const T* W, const T* c0, const T* gates,
                   const T* cells, const T* dy, const T* dhn, const T* dcn, T* dg, T* dh0, T* dc0) {
  PackedB<T>& weights = packed_weights<T>();
  weights.pack(Trans::no, 4 * H, H, W, H);
  const std::vector<T> zero(static_cast<std::size_t>(H));
  for_blocks(rows, [&](const SequenceBlock& block) {
    std::vector<T> dh(static_cast<std::size_t>(block.size * H)), dc(dh.size()), dgh(dh.size() * 4);
    load_states(block, H, dhn, dh.data());
    load_states(block, H, dcn, dc.data());
    for (int64_t step = block.steps() - 1; step >= 0; --step) {
      const int64_t running = block.running(step);
      for (int64_t j = 0; j < running; ++j) {
        const int64_t b = block.order[j], row = rows.row(b, step);
        T* dh_j = dh.data() + j * H;
        if (dy)
          for (int64_t i = 0; i < H; ++i) dh_j[i] += dy[row * H + i];
        const T* c_prev = step > 0 ? cells + rows.row(b, step - 1) * H
                          : c0     ? c0 + b * H
                                   : zero.data();
        T* dg_j = dgh.data() + j * 4 * H;
        cell<T>().backward(H, dh_j, dc.data() + j * H, c_prev, gates + row * 4 * H, cells + row * H,
                           dg_j);
        std::copy_n(dg_j, 4 * H, dg + row * 4 * H);
      }
      // All of h' reaches h through the gates.
      gemm_packed_serial(running, T(1), dgh.data(), 4 * H, weights, T(0), dh.data(), H);
    }
    store_states(block, H, dh.data(), dh0);
    store_states(block, H, dc.data(), dc0);
  });
}

#define FOVEA_INSTANTIATE(T)                                                                      \
  template void lstm_forward(const RaggedRows&, int64_t, const T*, const T*, const T*, const T*,  \
                             const T*, T*, T*, T*, T*, T*);                                       \
  template void lstm_backward(const RaggedRows&, int64_t, const T*, const T*, const T*, const T*, \
                              const T*, const T*, const T*, T*, T*, T*);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
