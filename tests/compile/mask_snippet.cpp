// Compiled by mask_compile_test.cmake, once for each LINE: with a Mask it must compile, with a bool
// tensor in its place it must not.
#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/nn/attention/additive.h>
#include <fovea/nn/attention/multihead.h>

using namespace fovea;

void snippet(const Tensor& q, const Tensor& table, const nn::MultiheadAttention& multihead,
             const nn::AdditiveAttention& additive) {
#ifdef NAKED
  const Tensor& mask = table;
#else
  const Mask mask = Mask::keep(table);
#endif
#if LINE == 1
  static_cast<void>(scaled_dot_product_attention(q, q, q, mask));
#elif LINE == 2
  static_cast<void>(attention_reference(q, q, q, mask));
#elif LINE == 3
  static_cast<void>(additive_attention(q, q, q, q, mask));
#elif LINE == 4
  static_cast<void>(multihead(q, q, q, mask));
#elif LINE == 5
  static_cast<void>(additive(q, q, q, mask));
#elif LINE == 6
  static_cast<void>(Mask::causal() & mask);
#elif LINE == 7
  const Mask copy = mask;
#else
#error "no such line"
#endif
}
