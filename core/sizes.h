// Checked arithmetic on sizes from arguments, options and files.
//
// Sizes of one tensor need no check: Dims::numel() ensures that no product of them overflows.
// Other sizes that a caller passes (a pad, a length, a step, a width) are checked before use.
#pragma once

#include <fovea/core/error.h>

#include <cstddef>
#include <cstdint>
#include <initializer_list>
#include <limits>
#include <new>
#include <string_view>
#include <vector>

namespace fovea {

namespace detail {
[[noreturn]] void size_overflow(std::string_view op, std::int64_t a, std::string_view sign,
                                std::int64_t b);
[[noreturn]] void too_many_elements(std::string_view op, std::string_view name, std::int64_t n);
void check_elements(std::string_view op, std::string_view name, std::int64_t n, std::size_t size);
}  // namespace detail

/// a + b, a - b and a * b; ShapeError with the name `op` and both values on overflow of int64.
inline std::int64_t checked_add(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result;
  if (__builtin_add_overflow(a, b, &result)) detail::size_overflow(op, a, "+", b);
  return result;
}
inline std::int64_t checked_sub(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result;
  if (__builtin_sub_overflow(a, b, &result)) detail::size_overflow(op, a, "-", b);
  return result;
}
inline std::int64_t checked_mul(std::string_view op, std::int64_t a, std::int64_t b) {
  std::int64_t result;
  if (__builtin_mul_overflow(a, b, &result)) detail::size_overflow(op, a, "*", b);
  return result;
}

/// Returns `value`; ValueError "op: name = value: must be from least to most" if out of range.
inline std::int64_t checked_range(std::string_view op, std::string_view name, std::int64_t value,
                                  std::int64_t least,
                                  std::int64_t most = std::numeric_limits<std::int64_t>::max()) {
  if (value >= least && value <= most) return value;
  if (most == std::numeric_limits<std::int64_t>::max())
    value_error(op, "{} = {}: must be at least {}", name, value, least);
  value_error(op, "{} = {}: must be from {} to {}", name, value, least, most);
}

/// The largest width, number of heads or length in a module's options: a product of two of them
/// and a small factor fits into int64.
inline constexpr std::int64_t kMaxOption = std::int64_t{1} << 30;

/// The most layers of one model.
inline constexpr std::int64_t kMaxLayers = std::int64_t{1} << 16;

struct NamedSize {
  const char* name;
  std::int64_t value;
};
/// checked_range() from `least` to kMaxOption for each.
void check_sizes(std::string_view op, std::initializer_list<NamedSize> sizes,
                 std::int64_t least = 1);

/// A vector of n copies of `value`. ValueError with `name` if n is negative or there is not enough
/// memory: std::length_error and std::bad_alloc never leave the library.
template <class T>
std::vector<T> checked_vector(std::string_view op, std::string_view name, std::int64_t n,
                              const T& value = T()) {
  detail::check_elements(op, name, n, sizeof(T));
  try {
    return std::vector<T>(static_cast<std::size_t>(n), value);
  } catch (const std::bad_alloc&) {
    detail::too_many_elements(op, name, n);
  }
}

}  // namespace fovea
