// Optional tensor arguments of an op: an undefined tensor means that the argument is absent.
#pragma once

#include <fovea/core/error.h>
#include <fovea/core/tensor.h>

#include <string_view>

namespace fovea::detail {

template <class T>
const T* data_or_null(const Tensor& x) {
  return x.defined() ? x.data<T>() : nullptr;
}

inline bool is_dense_or_none(const Tensor& x) { return !x.defined() || x.is_contiguous(); }
inline Tensor dense_or_none(const Tensor& x) { return x.defined() ? x.contiguous() : Tensor(); }

/// ShapeError, DTypeError unless x is undefined, or has this shape and the inputs' dtype.
inline void check_if_given(std::string_view op, std::string_view name, const Tensor& x,
                           const Shape& shape, DType dtype) {
  if (!x.defined()) return;
  if (!(x.shape() == shape))
    shape_error(op, "{} {}: must be {}", name, x.shape().str(), shape.str());
  if (x.dtype() != dtype)
    dtype_error(op, "{} is {}, inputs are {}: dtypes must be equal", name, name_of(x.dtype()),
                name_of(dtype));
}

}  // namespace fovea::detail
