#include <fovea/core/kernels/blas.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/recurrent.h>
#include <fovea/core/kernels/rows.h>

#include <algorithm>
#include <numeric>

namespace fovea::kernels {
namespace {

// Sequences that one thread takes through time together: enough rows to feed the matrix product,
// few enough that a batch of 32 still keeps two threads busy.
constexpr int64_t kBlock = 16;

template <class T>
const GruCell<T>& cell() {
  return loops_of<T>(pick(baseline::recurrent_table, v3::recurrent_table, v4::recurrent_table));
}

std::vector<int64_t> longest_first(const RaggedRows& rows) {
  std::vector<int64_t> order(static_cast<std::size_t>(rows.B));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](int64_t a, int64_t b) { return rows.length(a) > rows.length(b); });
  return order;
}

// Sequences [begin, end) of the order, longest first.
struct Block {
  const RaggedRows& rows;
  const int64_t* order;
  int64_t size;

  int64_t steps() const { return rows.length(order[0]); }
  int64_t running(int64_t step) const {
    int64_t n = size;
    while (n > 0 && rows.length(order[n - 1]) <= step) --n;
    return n;
  }
};

// The packed weights of the current call: memory that is kept between calls, since fresh pages
// would cost more than the packing.
template <class T>
PackedB<T>& packed_weights() {
  static thread_local PackedB<T> weights;
  return weights;
}

template <class F>
void for_blocks(const RaggedRows& rows, const F& f) {
  const std::vector<int64_t> order = longest_first(rows);
  parallel_for(rows.B, kBlock, [&](int64_t begin, int64_t end) {
    for (int64_t at = begin; at < end; at += kBlock)
      f(Block{rows, order.data() + at, std::min(kBlock, end - at)});
  });
}

template <class T>
void load_states(const Block& block, int64_t H, const T* states, T* h) {
  for (int64_t j = 0; j < block.size; ++j) {
    if (states)
      std::copy_n(states + block.order[j] * H, H, h + j * H);
    else
      std::fill_n(h + j * H, H, T(0));
  }
}

template <class T>
void store_states(const Block& block, int64_t H, const T* h, T* states) {
  for (int64_t j = 0; j < block.size; ++j) std::copy_n(h + j * H, H, states + block.order[j] * H);
}

}  // namespace

template <class T>
void gru_forward(const RaggedRows& rows, int64_t H, const T* gi, const T* W, const T* b,
                 const T* h0, T* y, T* hn, T* gates) {
  PackedB<T>& weights = packed_weights<T>();
  weights.pack(Trans::yes, H, 3 * H, W, H);
  for_blocks(rows, [&](const Block& block) {
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
  for_blocks(rows, [&](const Block& block) {
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
