#include <fovea/core/kernels/additive_attention.h>
#include <fovea/core/kernels/isa.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/kernels/rows.h>

#include <algorithm>
#include <vector>

namespace fovea::kernels {
namespace {

template <class T>
const AdditiveLoops<T>& loops() {
  return loops_of<T>(pick(baseline::additive_table, v3::additive_table, v4::additive_table));
}

// Number of batch rows that justifies starting a thread.
int64_t batch_grain(const AdditiveSizes& n) {
  constexpr int64_t entries = 16 * 1024;
  return std::max<int64_t>(1, entries / std::max<int64_t>(1, n.T * n.S * (n.A + n.C)));
}

// ds = a (da - sum a da): the softmax's gradient of one row, from da = x dc + dweights.
template <class T>
void score_gradients(const AdditiveSizes& n, const T* x, const T* a, const T* dc, const T* da,
                     T* ds) {
  T mean = 0;
  for (int64_t s = 0; s < n.S; ++s) {
    ds[s] = 0;
    if (a[s] == 0) continue;  // masked: x may be NaN there
    ds[s] = (dc ? loops<T>().dot(n.C, x + s * n.C, dc) : T(0)) + (da ? da[s] : T(0));
    mean += a[s] * ds[s];
  }
  for (int64_t s = 0; s < n.S; ++s) ds[s] = a[s] * (ds[s] - mean);
}

}  // namespace

template <class T>
void additive_attention_forward(const AdditiveSizes& n, const MaskTable& keep, const T* q,
                                const T* k, const T* v, const T* x, T* weights, T* context) {
  const AdditiveLoops<T>& loop = loops<T>();
  parallel_for(n.B, batch_grain(n), [&](int64_t begin, int64_t end) {
    for (int64_t b = begin; b < end; ++b)
      for (int64_t t = 0; t < n.T; ++t) {
        const bool* kept = keep.row(b, t);
        const T* query = q + (b * n.T + t) * n.A;
        T* a = weights + (b * n.T + t) * n.S;
        T* c = context + (b * n.T + t) * n.C;
        for (int64_t s = 0; s < n.S; ++s)
          a[s] = !kept || kept[s] ? loop.score(n.A, query, k + (b * n.S + s) * n.A, v) : T(0);
        loop.softmax(n.S, kept, a);
        std::fill_n(c, n.C, T(0));
        for (int64_t s = 0; s < n.S; ++s)
          if (a[s] != 0) loop.add_scaled(n.C, a[s], x + (b * n.S + s) * n.C, c);
      }
  });
}

template <class T>
void additive_attention_backward(const AdditiveSizes& n, const T* q, const T* k, const T* v,
                                 const T* x, const T* weights, const T* dcontext, const T* dweights,
                                 T* dq, T* dk, T* dv, T* dx) {
  if (dry_run) return;
  const FloatMode mode;
  const AdditiveLoops<T>& loop = loops<T>();
  std::vector<T> dv_rows(static_cast<std::size_t>(n.B * n.A));  // one per batch row, added in order
  parallel_for(n.B, batch_grain(n), [&](int64_t begin, int64_t end) {
    std::vector<T> ds(static_cast<std::size_t>(n.S));
    for (int64_t b = begin; b < end; ++b) {
      std::fill_n(dq + b * n.T * n.A, n.T * n.A, T(0));
      std::fill_n(dk + b * n.S * n.A, n.S * n.A, T(0));
      std::fill_n(dx + b * n.S * n.C, n.S * n.C, T(0));
      for (int64_t t = 0; t < n.T; ++t) {
        const int64_t row = b * n.T + t;
        const T* a = weights + row * n.S;
        const T* dc = dcontext ? dcontext + row * n.C : nullptr;
        score_gradients(n, x + b * n.S * n.C, a, dc, dweights ? dweights + row * n.S : nullptr,
                        ds.data());
        for (int64_t s = 0; s < n.S; ++s) {
          if (a[s] == 0) continue;  // masked or too small to matter: no gradient
          const int64_t key = b * n.S + s;
          loop.score_gradient(n.A, ds[static_cast<std::size_t>(s)], q + row * n.A, k + key * n.A, v,
                              dq + row * n.A, dk + key * n.A, dv_rows.data() + b * n.A);
          if (dc) loop.add_scaled(n.C, a[s], dc, dx + key * n.C);
        }
      }
    }
  });
  std::fill_n(dv, n.A, T(0));
  for (int64_t b = 0; b < n.B; ++b) loop.add_scaled(n.A, T(1), dv_rows.data() + b * n.A, dv);
}

#define FOVEA_INSTANTIATE(T)                                                                    \
  template void additive_attention_forward(const AdditiveSizes&, const MaskTable&, const T*,    \
                                           const T*, const T*, const T*, T*, T*);               \
  template void additive_attention_backward(const AdditiveSizes&, const T*, const T*, const T*, \
                                            const T*, const T*, const T*, const T*, T*, T*, T*, \
                                            T*);
FOVEA_INSTANTIATE(float)
FOVEA_INSTANTIATE(double)
#undef FOVEA_INSTANTIATE

}  // namespace fovea::kernels
