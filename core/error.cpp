#include <fovea/core/error.h>

#include <fmt/format.h>

namespace fovea::detail {

std::string error_message(std::string_view op, fmt::string_view format, fmt::format_args args) {
  std::string message = fmt::format("{}: {}", op, fmt::vformat(format, args));
  if (const std::string* module = ModuleTrail::current()) message += ", in " + *module;
  return message;
}

}  // namespace fovea::detail
