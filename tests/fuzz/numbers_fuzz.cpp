// Options as text: sizes in bytes, units, instruction sets.
// Property: a size is positive, and can be written and parsed again.
#include <fovea/nn/data/text.h>
#include <fovea/nn/inspect/cost.h>

#include <string>

#include "fuzz_target.h"

using namespace fovea;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const fuzz::Input in(data, size);
  fuzz::accepts([&] {
    const std::int64_t bytes = nn::inspect::parse_bytes(in.rest());
    fuzz::require(bytes >= 1, "a size is positive");
    fuzz::require(nn::inspect::parse_bytes(std::to_string(bytes)) >= 1,
                  "a written size can be parsed");
    nn::inspect::readable_bytes(bytes);
  });
  fuzz::accepts([&] {
    const nn::data::Unit unit = nn::data::unit_named(in.rest());
    fuzz::require(nn::data::unit_name(unit) == in.rest(), "a unit's name");
  });
  return 0;
}
