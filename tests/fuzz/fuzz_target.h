// Shared by all fuzz targets.
#pragma once

#include <fovea/core/error.h>

#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <string_view>

/// libFuzzer's entry point; defined once per target.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace fovea::fuzz {

/// Ends the process if a property does not hold, so that the fuzzer saves the input.
inline void require(bool holds, const char* property) {
  if (holds) return;
  std::fprintf(stderr, "fuzz: property violated: %s\n", property);
  std::abort();
}

/// Calls `use`; false if it threw a fovea::Error. Any other exception ends the process.
template <class F>
bool accepts(const F& use) {
  try {
    use();
    return true;
  } catch (const Error&) {
    return false;
  }
}

/// Reads an input from its front: small numbers select a mode, the rest is data.
class Input {
 public:
  Input(const std::uint8_t* data, std::size_t size)
      : rest_(reinterpret_cast<const char*>(data), size) {}

  /// The next byte modulo `n`; 0 at the end.
  unsigned below(unsigned n) {
    if (rest_.empty()) return 0;
    const auto byte = static_cast<unsigned char>(rest_.front());
    rest_.remove_prefix(1);
    return byte % n;
  }
  /// All bytes up to the next `end`, which is dropped; all remaining bytes if there is none.
  std::string_view until(char end) {
    const std::string_view part = rest_.substr(0, rest_.find(end));
    rest_.remove_prefix(part.size() < rest_.size() ? part.size() + 1 : part.size());
    return part;
  }
  std::string_view rest() const { return rest_; }

 private:
  std::string_view rest_;
};

}  // namespace fovea::fuzz
