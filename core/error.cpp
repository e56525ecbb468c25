#include <fovea/core/error.h>

#include <algorithm>

#include <fmt/format.h>

namespace fovea::detail {
namespace {

constexpr std::size_t longest_message = 16 << 10;

// Control characters except newline and tab: ASCII, or U+0080 to U+009F in UTF-8.
std::size_t control_size(std::string_view text) {
  const auto byte = static_cast<unsigned char>(text[0]);
  if (byte == '\n' || byte == '\t') return 0;
  if (byte < 0x20 || byte == 0x7F) return 1;
  const bool second_block = byte == 0xC2 && text.size() > 1 &&
                            static_cast<unsigned char>(text[1]) >= 0x80 &&
                            static_cast<unsigned char>(text[1]) < 0xA0;
  return second_block ? 2 : 0;
}

// A message may quote text from files, which must not control the terminal that displays it and
// must not be copied at full length.
std::string printable(std::string_view message) {
  const std::size_t size = message.size();
  message = message.substr(0, longest_message);
  std::string text;
  text.reserve(message.size());
  while (!message.empty()) {
    const std::size_t control = control_size(message);
    for (std::size_t i = 0; i < control; ++i)
      text += fmt::format("\\x{:02X}", static_cast<unsigned char>(message[i]));
    if (control == 0) text += message[0];
    message.remove_prefix(std::max<std::size_t>(control, 1));
  }
  if (size > longest_message) text += fmt::format("... ({} bytes in total)", size);
  return text;
}

}  // namespace

std::string error_message(std::string_view op, fmt::string_view format, fmt::format_args args) {
  std::string message = printable(fmt::format("{}: {}", op, fmt::vformat(format, args)));
  if (const std::string* module = ModuleTrail::current()) message += ", in " + *module;
  return message;
}

}  // namespace fovea::detail
