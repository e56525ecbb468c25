#include <fovea/core/error.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/random.h>
#include <fovea/optim/average.h>
#include <fovea/optim/sgd.h>
#include <fovea/optim/trainer.h>

#include <algorithm>
#include <cmath>
#include <filesystem>
#include <unistd.h>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using optim::WeightAverage;

TEST_CASE("a weight average follows its formula") {
  Tensor w = from_data(std::vector<double>{1, -2}, {2});
  const NamedTensors model = {{"w", w}};
  WeightAverage average(model, 0.5);
  double a[2] = {1, -2};
  for (int t = 0; t < 20; ++t) {
    const double now[2] = {std::sin(t + 1.0), std::cos(3.0 * t)};
    w.copy_from(from_data(std::vector<double>{now[0], now[1]}, {2}));
    average.update(t);
    const double d = std::min(0.5, (t + 1.0) / (t + 10.0));
    for (int i = 0; i < 2; ++i) {
      a[i] = d * a[i] + (1 - d) * now[i];
      CHECK(std::abs(average.state()[0].second.to_vector<double>()[std::size_t(i)] - a[i]) <=
            1e-15);
    }
  }
}

TEST_CASE("swap() exchanges model and average exactly, and back") {
  Rng rng(3);
  Tensor w = randn({5, 7}, rng), counts = from_data(std::vector<std::int64_t>{1, 2}, {2});
  w.set_requires_grad();
  WeightAverage average({{"w", w}, {"counts", counts}}, 0.9);
  const auto first = w.to_vector<float>();
  w.detach().copy_from(randn({5, 7}, rng));
  counts.copy_from(from_data(std::vector<std::int64_t>{8, 9}, {2}));
  average.update(100);
  const auto model = w.to_vector<float>();
  const auto averaged = average.state()[0].second.to_vector<float>();
  for (std::size_t i = 0; i < model.size(); ++i)
    CHECK(std::abs(averaged[i] - (0.9f * first[i] + 0.1f * model[i])) <= 1e-6f);
  CHECK(average.state()[1].second.to_vector<std::int64_t>() == std::vector<std::int64_t>{8, 9});
  CHECK(average.state()[0].first == "w");
  average.swap();
  CHECK(w.to_vector<float>() == averaged);
  CHECK(w.requires_grad());
  average.swap();
  CHECK(w.to_vector<float>() == model);
  CHECK(average.state()[0].second.to_vector<float>() == averaged);
}

TEST_CASE("a tensor under two names is averaged once, and is restored by swap()") {
  Tensor w = from_data(std::vector<double>{1, -2}, {2});
  WeightAverage tied({{"embedding", w}, {"head", w}, {"view", w.detach()}}, 0.5);
  WeightAverage single({{"w", w}}, 0.5);
  CHECK(tied.state().size() == 1);
  for (int t = 5; t < 8; ++t) {
    w.copy_from(from_data(std::vector<double>{t * 1.0, t * 3.0}, {2}));
    tied.update(t);
    single.update(t);
  }
  const auto averaged = single.state()[0].second.to_vector<double>();
  CHECK(tied.state()[0].second.to_vector<double>() == averaged);
  const auto now = w.to_vector<double>();
  tied.swap();
  CHECK(w.to_vector<double>() == averaged);
  tied.swap();
  CHECK(w.to_vector<double>() == now);
  CHECK_THROWS_WITH_AS(WeightAverage({{"w", w}, {"w", zeros({1})}}, 0.5),
                       doctest::Contains("WeightAverage: 'w' is listed twice"), ValueError);
}

TEST_CASE("steps are counted from 0") {
  WeightAverage average({}, 0.5);
  CHECK_THROWS_WITH_AS(average.update(-10), doctest::Contains("t = -10: must be at least 0"),
                       ValueError);
}

TEST_CASE("a decay out of range is refused") {
  for (const double decay : {-0.1, 1.0, 2.0, std::nan("")})
    CHECK_THROWS_WITH_AS(WeightAverage({}, decay), doctest::Contains("must be in [0, 1)"),
                         ValueError);
}

namespace {

struct Trained {
  std::vector<double> after_step;  // the weight
  std::vector<double> validated;   // the weight in each validation
  double end;
};

// Ten steps of a weight that follows the sine.
Trained follow(const optim::TrainerOptions& options) {
  Tensor w = from_data(std::vector<double>{3}, {1});
  w.set_requires_grad();
  optim::SGD sgd({{"w", w}}, {.lr = 0.3});
  Trained trained;
  optim::train({.model = {{"w", w}},
                .optimizer = &sgd,
                .batches = [](std::int64_t) { return 5; },
                .loss = [&](std::int64_t epoch, std::int64_t batch) -> optim::TrainingTask::Loss {
                  const double goal = std::sin(static_cast<double>(5 * epoch + batch));
                  return {mse_loss(w, from_data(std::vector<double>{goal}, {1}))};
                },
                .validate =
                    [&] {
                      trained.validated.push_back(w.item<double>());
                      return 1.0;
                    }},
               options,
               [&](const optim::Progress&) { trained.after_step.push_back(w.item<double>()); });
  trained.end = w.item<double>();
  return trained;
}

}  // namespace

TEST_CASE("the trainer validates and saves the average, and continues training from the weights") {
  const auto best =
      std::filesystem::temp_directory_path() / ("average_test." + std::to_string(getpid()));
  const Trained plain = follow({.max_epochs = 2});
  const Trained averaged = follow({.max_epochs = 2, .average = 0.7});
  const Trained kept = follow({.max_epochs = 2, .average = 0.7, .best = best});
  std::filesystem::remove(best);
  REQUIRE(plain.after_step.size() == 10);
  CHECK(averaged.after_step == plain.after_step);
  double a = 3;
  for (std::size_t t = 0; t < 10; ++t) {
    const auto n = static_cast<double>(t);
    const double d = std::min(0.7, (n + 1) / (n + 10));
    a = d * a + (1 - d) * plain.after_step[t];
    if (t == 4) CHECK(std::abs(averaged.validated.at(0) - a) <= 1e-14);
  }
  CHECK(std::abs(averaged.validated.at(1) - a) <= 1e-14);
  CHECK(std::abs(a - plain.end) > 1e-3);
  CHECK(plain.end == plain.after_step[9]);
  CHECK(averaged.end == averaged.validated[1]);
  CHECK(kept.end == averaged.end);
}

TEST_CASE("a resumed training has exactly the average of an uninterrupted one") {
  const auto last =
      std::filesystem::temp_directory_path() / ("average_last." + std::to_string(getpid()));
  const Trained whole = follow({.max_epochs = 3, .average = 0.7});
  follow({.max_epochs = 1, .average = 0.7, .last = last});
  const Trained rest = follow({.max_epochs = 3, .average = 0.7, .last = last, .resume = true});
  REQUIRE(rest.after_step.size() == 10);
  CHECK(std::equal(rest.after_step.begin(), rest.after_step.end(), whole.after_step.begin() + 5));
  CHECK(rest.validated.back() == whole.validated.back());
  CHECK(rest.end == whole.end);
  // Without the average it is another training.
  CHECK_THROWS_AS(follow({.max_epochs = 3, .last = last, .resume = true}), Error);
  std::filesystem::remove(last);
}
