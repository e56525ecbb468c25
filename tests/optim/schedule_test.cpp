#include <fovea/core/error.h>
#include <fovea/optim/schedule.h>
#include <fovea/tests/support/compare.h>

#include <cmath>
#include <limits>

#include <doctest/doctest.h>

using namespace fovea::optim;
using fovea::ValueError;
using fovea::test::message_of;

namespace {

doctest::Approx about(double x) { return doctest::Approx(x).epsilon(1e-14); }

}  // namespace

TEST_CASE("schedules: constant, steps, milestones, exponential") {
  CHECK(constant(0.1)(1000) == 0.1);
  const Schedule steps = step_decay(0.8, 10, 0.5);
  CHECK(steps(9) == 0.8);
  CHECK(steps(10) == 0.4);
  CHECK(steps(29) == 0.2);
  const Schedule milestones = multi_step(1, {3, 7}, 0.1);
  CHECK(milestones(2) == 1);
  CHECK(milestones(3) == about(0.1));
  CHECK(milestones(7) == about(0.01));
  CHECK(exponential(2, 0.9)(3) == about(2 * 0.729));
}

TEST_CASE("schedules: linear and cosine reach their ends and stay there") {
  const Schedule warm_up = linear(0.1, 1, 9);
  CHECK(warm_up(0) == 0.1);
  CHECK(warm_up(5) == about(0.6));
  CHECK(warm_up(9) == 1);
  CHECK(warm_up(100) == 1);
  const Schedule fall = cosine(1, 8, 0.2);
  CHECK(fall(0) == 1);
  CHECK(fall(4) == about(0.6));
  CHECK(fall(8) == about(0.2));
  CHECK(fall(100) == fall(8));
}

TEST_CASE("schedules: Noam's rate peaks at the end of the warm-up") {
  const Schedule rate = noam(512, 4000);
  CHECK(rate(0) == about(std::pow(512, -0.5) * std::pow(4000, -1.5)));
  CHECK(rate(3999) == about(std::pow(512, -0.5) * std::pow(4000, -0.5)));
  CHECK(rate(3998) < rate(3999));
  CHECK(rate(4000) < rate(3999));
  CHECK(noam(512, 4000, 2)(7) == about(2 * rate(7)));
}

TEST_CASE("schedules: each phase of a sequence begins at its own zero") {
  const Schedule rate = sequential({{4, linear(0, 1, 4)}, {2, constant(1)}}, exponential(1, 0.5));
  const double expected[] = {0, 0.25, 0.5, 0.75, 1, 1, 1, 0.5, 0.25};
  for (int t = 0; t < 9; ++t) CHECK(rate(t) == about(expected[t]));
  CHECK(sequential({}, constant(3))(5) == 3);
}

TEST_CASE("schedules: bad arguments are named") {
  CHECK(message_of<ValueError>([] { constant(-1); }) ==
        "constant: lr = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([] { step_decay(1, 0, 0.5); }) ==
        "step_decay: every = 0: must be at least 1");
  CHECK(message_of<ValueError>([] { step_decay(1, 1, -1); }) ==
        "step_decay: factor = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([] { multi_step(1, {1}, INFINITY); }) ==
        "multi_step: factor = inf: must be finite and not negative");
  CHECK(message_of<ValueError>([] { exponential(1, -1); }) ==
        "exponential: factor = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([] { linear(0, NAN, 1); }) ==
        "linear: to = nan: must be finite and not negative");
  CHECK(message_of<ValueError>([] { linear(0, 1, 0); }) == "linear: steps = 0: must be at least 1");
  CHECK(message_of<ValueError>([] { cosine(1, 5, -1); }) ==
        "cosine: min_lr = -1: must be finite and not negative");
  CHECK(message_of<ValueError>([] { cosine(1, 0); }) == "cosine: steps = 0: must be at least 1");
  CHECK(message_of<ValueError>([] { noam(0, 1); }) == "noam: width = 0: must be at least 1");
  CHECK(message_of<ValueError>([] { noam(1, 0); }) == "noam: warm_up = 0: must be at least 1");
  CHECK(message_of<ValueError>([] {
          sequential({{0, constant(1)}}, constant(1));
        }) == "sequential: steps = 0: must be at least 1");
  CHECK(message_of<ValueError>([] {
          sequential({{1, {}}}, constant(1));
        }) == "sequential: rate of a phase is empty: must be a schedule");
  CHECK(message_of<ValueError>([] { sequential({}, {}); }) ==
        "sequential: last is empty: must be a schedule");
}

TEST_CASE("schedules: steps at the ends of int64") {
  const std::int64_t most = std::numeric_limits<std::int64_t>::max();
  for (const Schedule& rate : {constant(1), step_decay(1, most, 0.5), multi_step(1, {most}, 0.5),
                               exponential(1, 0.5), linear(0, 1, most), cosine(1, most),
                               noam(most, most), sequential({{most, constant(1)}}, constant(2))}) {
    CHECK(std::isfinite(rate(0)));
    CHECK(std::isfinite(rate(most)));
    CHECK(message_of<ValueError>([&] { rate(-1); }).ends_with(": t = -1: must be at least 0"));
    CHECK_THROWS_AS(rate(-most - 1), ValueError);
  }
}
