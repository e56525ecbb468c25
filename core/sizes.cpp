#include <fovea/core/sizes.h>
#include <fovea/core/storage.h>

namespace fovea {

void check_sizes(std::string_view op, std::initializer_list<NamedSize> sizes, std::int64_t least) {
  for (const NamedSize& size : sizes) checked_range(op, size.name, size.value, least, kMaxOption);
}

namespace detail {

void size_overflow(std::string_view op, std::int64_t a, std::string_view sign, std::int64_t b) {
  shape_error(op, "{} {} {}: must be below 2^63", a, sign, b);
}

void too_many_elements(std::string_view op, std::string_view name, std::int64_t n) {
  value_error(op, "{} = {}: must fit into memory", name, n);
}

void check_elements(std::string_view op, std::string_view name, std::int64_t n, std::size_t size) {
  checked_range(op, name, n, 0);
  if (static_cast<std::uint64_t>(n) > system_memory() / size) too_many_elements(op, name, n);
}

}  // namespace detail

}  // namespace fovea
