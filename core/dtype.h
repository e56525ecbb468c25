// The four element types, and dispatch from a run-time DType to a C++ type.
#pragma once

#include <fovea/core/error.h>

#include <cstdint>
#include <string_view>
#include <type_traits>

namespace fovea {

/// f32: the default; f64: for gradient checks; i64: for indices; boolean: for masks.
/// undefined: the type of undefined tensors only; no op accepts it.
enum class DType : std::uint8_t { f32, f64, i64, boolean, undefined };

constexpr std::int64_t size_of(DType dtype) {
  return dtype == DType::boolean ? 1 : dtype == DType::f32 ? 4 : 8;
}

constexpr std::string_view name_of(DType dtype) {
  constexpr std::string_view names[] = {"f32", "f64", "i64", "bool", "undefined"};
  return names[static_cast<int>(dtype)];
}

constexpr bool is_floating(DType dtype) { return dtype == DType::f32 || dtype == DType::f64; }

template <class T>
constexpr DType dtype_of() {
  if constexpr (std::is_same_v<T, float>) {
    return DType::f32;
  } else if constexpr (std::is_same_v<T, double>) {
    return DType::f64;
  } else if constexpr (std::is_same_v<T, std::int64_t>) {
    return DType::i64;
  } else {
    static_assert(std::is_same_v<T, bool>, "a Tensor holds float, double, int64_t or bool");
    return DType::boolean;
  }
}

namespace detail {
/// Throws StateError for DType::undefined, else DTypeError.
[[noreturn]] void wrong_dtype(std::string_view op, std::string_view needed, DType got);
}  // namespace detail

/// Calls `f.template operator()<T>()` with T = float or double; DTypeError with the name `op` for
/// other types. Usage: dispatch_float(x.dtype(), "exp", [&]<class T>() { ... });
template <class F>
decltype(auto) dispatch_float(DType dtype, std::string_view op, F&& f) {
  if (dtype == DType::f32) return f.template operator()<float>();
  if (dtype == DType::f64) return f.template operator()<double>();
  detail::wrong_dtype(op, "f32 or f64", dtype);
}

/// As dispatch_float, for float, double and int64_t.
template <class F>
decltype(auto) dispatch_number(DType dtype, std::string_view op, F&& f) {
  if (dtype == DType::i64) return f.template operator()<std::int64_t>();
  if (dtype == DType::boolean) detail::wrong_dtype(op, "f32, f64 or i64", dtype);
  return dispatch_float(dtype, op, f);
}

/// As dispatch_float, for all four types.
template <class F>
decltype(auto) dispatch_all(DType dtype, F&& f) {
  switch (dtype) {
    case DType::f32:
      return f.template operator()<float>();
    case DType::f64:
      return f.template operator()<double>();
    case DType::i64:
      return f.template operator()<std::int64_t>();
    case DType::boolean:
      return f.template operator()<bool>();
    case DType::undefined:
      break;
  }
  detail::wrong_dtype("dispatch_all", "a dtype", dtype);
}

}  // namespace fovea
