#pragma once

#include <string_view>

namespace fovea::test {

// For a test that cannot run here, because its data or a program is missing: prints the reason; the
// test program then counts as skipped in ctest's summary, unless another of its cases fails.
//   if (!data_dir()) return skip("FOVEA_DATA is not set");
void skip(std::string_view reason);

}  // namespace fovea::test
