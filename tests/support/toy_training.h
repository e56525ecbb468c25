// A small training with everything that resuming must restore, for the tests of the trainer.
#pragma once

#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/trainer.h>

#include <csignal>
#include <filesystem>
#include <optional>
#include <string>
#include <unistd.h>
#include <vector>

#include <fmt/format.h>

namespace fovea::test {

namespace fs = std::filesystem;
using namespace fovea::optim;

// A directory that is removed after the test.
class Folder {
 public:
  explicit Folder(const char* name = "trainer_test")
      : path_(fs::temp_directory_path() / fmt::format("{}.{}", name, getpid())) {
    fs::remove_all(path_);
    fs::create_directory(path_);
  }
  ~Folder() { fs::remove_all(path_); }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;
  fs::path operator/(const char* name) const { return path_ / name; }
  const fs::path& path() const { return path_; }

 private:
  fs::path path_;
};

inline Tensor leaf(Tensor values) { return values.set_requires_grad(); }

constexpr std::int64_t batches_per_epoch = 5;

// A small model with dropout, Adam and a schedule: everything that resuming must restore.
struct Toy {
  Rng rng{3};
  NamedTensors model{{"w", leaf(randn({6, 8}, rng))}, {"v", leaf(randn({8, 2}, rng))}};
  Adam adam{model, {.lr = 1e-2}};
  std::optional<std::int64_t> interrupt_at, infinite_at;  // steps
  std::int64_t steps = 0, validations = 0;
  std::vector<double> figures;  // results of the validations; the last one is repeated

  Tensor loss(std::int64_t epoch, std::int64_t batch) {
    Rng data(static_cast<std::uint64_t>(100 * epoch + batch));
    const Tensor x = randn({4, 6}, data), y = randn({4, 2}, data);
    const Tensor hidden = dropout(tanh(matmul(x, model[0].second)), 0.3, rng);
    return mse_loss(matmul(hidden, model[1].second), y);
  }

  TrainingTask task() {
    TrainingTask t{.model = model, .optimizer = &adam};
    t.learning_rate = cosine(1e-2, 15, 1e-3);
    t.generators = {&rng};
    t.batches = [](std::int64_t) { return batches_per_epoch; };
    t.loss = [this](std::int64_t epoch, std::int64_t batch) -> TrainingTask::Loss {
      if (steps == interrupt_at) std::raise(SIGINT);
      const bool infinite = steps++ == infinite_at;
      const Tensor value = loss(epoch, batch);
      return {infinite ? value / 0.0 : value, 10};
    };
    t.validate = [this] {
      const auto i = static_cast<std::size_t>(validations++);
      return figures.empty() ? 1.0 : figures[std::min(i, figures.size() - 1)];
    };
    return t;
  }
};

inline TrainerOptions resumable(const fs::path& folder) {
  return {.max_epochs = 3,
          .clip_norm = 1,
          .average = 0.8,
          .validate_every = 4,
          .best = folder / "best",
          .last = folder / "last",
          .metadata = {{"task", "toy"}},
          .log = folder / "log.csv"};
}

// Everything in a checkpoint except times and metrics, as text that shows every bit.
inline std::string values_of(const fs::path& checkpoint) {
  const SafetensorsFile file = SafetensorsFile::read(checkpoint);
  std::string text;
  for (const SafetensorsEntry& entry : file.entries()) {
    if (entry.name == "place.figures" || entry.name == "history.figures") continue;
    text += entry.name;
    for (const double x : file.tensor(entry.name).to_vector<double>())
      text += fmt::format(" {:a}", x);
    text += '\n';
  }
  return text;
}

// Stopped after step 7 of 15, in the middle of epoch 1; one validation, after step 4.
inline void stop_in_the_middle(const fs::path& folder) {
  Toy toy;
  toy.interrupt_at = 6;
  train(toy.task(), resumable(folder));
}

inline TrainingResult resume(const fs::path& folder) {
  Toy toy;
  TrainerOptions options = resumable(folder);
  options.resume = true;
  return train(toy.task(), options);
}

}  // namespace fovea::test
