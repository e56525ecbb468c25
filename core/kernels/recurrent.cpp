#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/recurrent_blocks.h>
#include <fovea/core/kernels/rows.h>

namespace fovea::kernels {
namespace {

template <class T>
const GruCell<T>& cell() {
  return loops_of<T>(pick(baseline::recurrent_table, v3::recurrent_table, v4::recurrent_table)).gru;
}

}  // namespace

template <class T>
void gru_forward(const RaggedRows& rows, int64_t H, const T* gi, const T* W, const T* b,
                 const T* h0, T* y, T* hn, T* gates) {
  PackedB<T>& weights = packed_weights<T>();
  weights.pack(Trans::yes, H, 3 * H, W, H);
  for_blocks(rows, [&](const SequenceBlock& block) {
    std::vector<T> h(static_cast<std::size_t>(block.size * H)), gh(h.size() * 3);
    load_states(block, H, h0, h.data());
    for (int64_t step = 0; step < block.steps(); ++step) {
      const int64_t running = block.running(step);
      gemm_packed_serial(running, T(1), h.data(), H, weights, T(0), gh.data(), 3 * H, b);
      for (int64_t j = 0; j < running; ++j) {
        const int64_t row = rows.row(block.order[j], step);
        cell<T>().forward(H, gi + row * 3 * H, gh.data() + j * 3 * H, h.data() + j * H, y + row * H,
                          gates + row * 4 * H);
      }
    }
    store_states(block, H, h.data(), hn);
  });
}

template <class T>
void gru_backward(const RaggedRows& rows, int64_t H, const T* W, const T* h0, const T* y,
                  const T* gates, const T* dy, const T* dhn, T* dgi, T* dgh_n, T* dh0) {
  PackedB<T>& weights = packed_weights<T>();
  weights.pack(Trans::no, 3 * H, H, W, H);
  const std::vector<T> zero(static_cast<std::size_t>(H));
  for_blocks(rows, [&](const SequenceBlock& block) {
    std::vector<T> dh(static_cast<std::size_t>(block.size * H)), dgh(dh.size() * 3);
    load_states(block, H, dhn, dh.data());
    for (int64_t step = block.steps() - 1; step >= 0; --step) {
      const int64_t running = block.running(step);
      for (int64_t j = 0; j < running; ++j) {
        const int64_t b = block.order[j], row = rows.row(b, step);
        T* dh_j = dh.data() + j * H;
        if (dy)
          for (int64_t i = 0; i < H; ++i) dh_j[i] += dy[row * H + i];
        const T* h_prev = step > 0 ? y + rows.row(b, step - 1) * H : h0 ? h0 + b * H : zero.data();
        cell<T>().backward(H, dh_j, h_prev, gates + row * 4 * H, dgi + row * 3 * H,
                           dgh.data() + j * 3 * H, dgh_n + row * H);
      }
      gemm_packed_serial(running, T(1), dgh.data(), 3 * H, weights, T(1), dh.data(), H);
    }
    store_states(block, H, dh.data(), dh0);
  });
}

template <class T>
void previous_states(const RaggedRows& rows, int64_t H, const T* h0, const T* y, T* h_prev) {
  for (int64_t b = 0; b < rows.B; ++b)
    for (int64_t step = 0; step < rows.length(b); ++step) {
      T* to = h_prev + rows.row(b, step) * H;
      if (step > 0)
        std::copy_n(y + rows.row(b, step - 1) * H, H, to);
      else if (h0)
        std::copy_n(h0 + b * H, H, to);
      else
        std::fill_n(to, H, T(0));
    }
}

#define FOVEA_INSTANTIATE(T)                                                                     \
  template void gru_forward(const RaggedRows&, int64_t, const T*, const T*, const T*, const T*,  \
                            T*, T*, T*);                                                         \
  template void gru_backward(const RaggedRows&, int64_t, const T*, const T*, const T*, const T*, \
                             const T*, const T*, T*, T*, T*);                                    \
  template void previous_states(const RaggedRows&, int64_t, const T*, const T*, T*);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
