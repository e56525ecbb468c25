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

template <class T>
void lstm_cell_forward(int64_t H, const T* gi, const T* gh, T* h, T* c, T* y, T* gates, T* cells) {
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T i = sigmoid(gi[k] + gh[k]);
    const T f = sigmoid(gi[H + k] + gh[H + k]);
    const T u = tanh(gi[2 * H + k] + gh[2 * H + k]);
    const T o = sigmoid(gi[3 * H + k] + gh[3 * H + k]);
    c[k] = f * c[k] + i * u;
    h[k] = o * tanh(c[k]);
    y[k] = h[k];
    cells[k] = c[k];
    gates[k] = i;
    gates[H + k] = f;
    gates[2 * H + k] = u;
    gates[3 * H + k] = o;
  }
}

template <class T>
void lstm_cell_backward(int64_t H, const T* dh, T* dc, const T* c_prev, const T* gates,
                        const T* cells, T* dg) {
#pragma omp simd
  for (int64_t k = 0; k < H; ++k) {
    const T i = gates[k], f = gates[H + k], u = gates[2 * H + k], o = gates[3 * H + k];
    const T th = tanh(cells[k]);
    const T through = dc[k] + dh[k] * o * (1 - th * th);
    dg[k] = through * u * i * (1 - i);
    dg[H + k] = through * c_prev[k] * f * (1 - f);
    dg[2 * H + k] = through * i * (1 - u * u);
    dg[3 * H + k] = dh[k] * th * o * (1 - o);
    dc[k] = through * f;
  }
}

}  // namespace

extern const RecurrentTable recurrent_table;
const RecurrentTable recurrent_table = {
    {{gru_cell_forward<float>, gru_cell_backward<float>},
     {lstm_cell_forward<float>, lstm_cell_backward<float>}},
    {{gru_cell_forward<double>, gru_cell_backward<double>},
     {lstm_cell_forward<double>, lstm_cell_backward<double>}},
};

}  // namespace fovea::kernels::FOVEA_ISA
