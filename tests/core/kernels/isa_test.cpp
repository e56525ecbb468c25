#include <fovea/core/kernels/isa.h>

#include <algorithm>
#include <string>

#include <doctest/doctest.h>

using namespace fovea::kernels;

TEST_CASE("isa: the detected one is active, and set_isa never goes above it") {
  CHECK(active_isa() == detected_isa());
  for (const Isa isa : {Isa::baseline, Isa::v3, Isa::v4}) {
    const Isa possible = std::min(isa, detected_isa());
    CHECK(set_isa(isa) == possible);
    CHECK(active_isa() == possible);
    const int baseline = 0, v3 = 1, v4 = 2;
    CHECK(pick(baseline, v3, v4) == static_cast<int>(possible));
  }
}

TEST_CASE("isa: names") {
  CHECK(std::string(name_of(Isa::baseline)) == "baseline");
  CHECK(std::string(name_of(Isa::v3)) == "v3");
  CHECK(std::string(name_of(Isa::v4)) == "v4");
}
