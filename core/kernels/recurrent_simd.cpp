#include <fovea/core/kernels/recurrent.h>
#include <fovea/core/kernels/vecmath.h>

namespace fovea::kernels::FOVEA_ISA {
namespace {

template <class T>
void gru_cell_forward(int64_t H, const T* gi, const T* gh, T* h, T* y, T* gates) {
#pragma omp simd
  for (int64_t i = 0; i < H; ++i) {
    const T r = sigmoid(gi[i] + gh[i]);
    const T z = sigmoid(gi[H + i] + gh[H + i]);
    const T n = tanh(gi[2 * H + i] + r * gh[2 * H + i]);
    h[i] = (1 - z) * n + z * h[i];
    y[i] = h[i];
    gates[i] = r;
    gates[H + i] = z;
    gates[2 * H + i] = n;
    gates[3 * H + i] = gh[2 * H + i];
  }
}

template <class T>
void gru_cell_backward(int64_t H, T* dh, const T* h_prev, const T* gates, T* dgi, T* dgh,
                       T* dgh_n) {
#pragma omp simd
  for (int64_t i = 0; i < H; ++i) {
    const T r = gates[i], z = gates[H + i], n = gates[2 * H + i], gh_n = gates[3 * H + i];
    const T dn = dh[i] * (1 - z) * (1 - n * n);
    const T dz = dh[i] * (h_prev[i] - n) * z * (1 - z);
    const T dr = dn * gh_n * r * (1 - r);
    dgi[i] = dr;
    dgi[H + i] = dz;
    dgi[2 * H + i] = dn;
    dgh[i] = dr;
    dgh[H + i] = dz;
    dgh[2 * H + i] = dn * r;
    dgh_n[i] = dn * r;
    dh[i] *= z;
  }
}

}  // namespace

extern const RecurrentTable recurrent_table;
const RecurrentTable recurrent_table = {
    {gru_cell_forward<float>, gru_cell_backward<float>},
    {gru_cell_forward<double>, gru_cell_backward<double>},
};

}  // namespace fovea::kernels::FOVEA_ISA
