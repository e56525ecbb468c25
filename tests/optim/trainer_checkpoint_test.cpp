// Validation of checkpoints, and when they are written.
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/toy_training.h>

#include <cmath>
#include <cstdint>
#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr std::int64_t huge = std::int64_t{1} << 62;
constexpr std::int64_t lowest = std::numeric_limits<std::int64_t>::min();

struct Content {
  NamedTensors tensors;
  Metadata metadata;
};

Content content_of(const fs::path& path) {
  const SafetensorsFile file = SafetensorsFile::read(path);
  Content content{{}, file.metadata()};
  for (const SafetensorsEntry& e : file.entries())
    content.tensors.emplace_back(e.name, file.tensor(e.name));
  return content;
}

template <class T>
void set(const Content& content, std::string_view name, std::size_t index, T value) {
  for (auto [found, tensor] : content.tensors)
    if (found == name) tensor.template mutable_data<T>()[index] = value;
}

// The error for a checkpoint with one changed value, from the value's name to the end.
template <class T>
std::string refusal(const Folder& folder, std::string_view name, std::size_t index, T value) {
  const Content content = content_of(folder / "good");
  set(content, name, index, value);
  save(folder / "last", content.tensors, content.metadata);
  const std::string message = message_of<Error>([&] { resume(folder.path()); });
  const std::size_t at = message.find((folder / "last").string());
  REQUIRE_MESSAGE(at != std::string::npos, message);
  return message.substr(at + (folder / "last").string().size());
}

}  // namespace

TEST_CASE("trainer: every value of a checkpoint's state is checked against the task") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  fs::copy(folder / "last", folder / "good");
  // epoch, batch, batches, step, tokens, since_best
  CHECK(refusal(folder, "place.counts", 1, std::int64_t{7}) ==
        ": batch = 7: must be from 1 to 4, epoch 1 has 5 batches");
  CHECK(refusal(folder, "place.counts", 1, huge) ==
        fmt::format(": batch = {}: must be from 1 to 4, epoch 1 has 5 batches", huge));
  CHECK(refusal(folder, "place.counts", 1, lowest).find("must be from 1 to 4") !=
        std::string::npos);
  CHECK(refusal(folder, "place.counts", 1, std::int64_t{3}) ==
        ": step = 7: must be at least 8, the steps of 1 epochs and 3 batches");
  for (const std::int64_t epoch : {lowest, std::int64_t{-1}, std::int64_t{8}, huge})
    CHECK(refusal(folder, "place.counts", 0, epoch) ==
          fmt::format(": epoch = {}: must be from 0 to 7, from its steps and max_epochs", epoch));
  CHECK(refusal(folder, "place.counts", 0, std::int64_t{0}) ==
        ": step = 7: must be 2, the steps of 0 epochs and 2 batches");
  for (const std::int64_t batches : {lowest, std::int64_t{0}, std::int64_t{6}, huge})
    CHECK(refusal(folder, "place.counts", 2, batches) ==
          fmt::format(": saved at batch 2 of {}, but epoch 1 now has 5 batches", batches));
  for (const std::int64_t step : {lowest, std::int64_t{-1}})
    CHECK(refusal(folder, "place.counts", 3, step) ==
          fmt::format(": step = {}: must be from 0 to 9223372036854775807", step));
  for (const std::int64_t step : {std::int64_t{6}, std::int64_t{8}, huge})
    CHECK(refusal(folder, "place.counts", 3, step).starts_with(fmt::format(": step = {}: ", step)));
  for (const std::int64_t tokens : {lowest, std::int64_t{-1}, std::int64_t{1} << 60, huge})
    CHECK(refusal(folder, "place.counts", 4, tokens) ==
          fmt::format(": tokens = {}: must be from 0 to 9007199254740992", tokens));
  CHECK(refusal(folder, "place.counts", 4, std::int64_t{39}) ==
        ": tokens = 39: must be at least 40, from the history");
  for (const std::int64_t since : {lowest, std::int64_t{-1}, std::int64_t{2}, huge})
    CHECK(refusal(folder, "place.counts", 5, since) ==
          fmt::format(": since_best = {}: must be from 0 to 1, the number of validations", since));
  // seconds, running_loss, best
  for (const double bad : {-1.0, double(NAN), double(INFINITY)}) {
    CHECK(refusal(folder, "place.figures", 0, bad).find("seconds = ") != std::string::npos);
    CHECK(refusal(folder, "place.gradient_norm", 0, bad) ==
          fmt::format(": gradient_norm = {}: must be finite and at least 0", bad));
  }
  for (const double bad : {double(NAN), -double(INFINITY)})
    CHECK(refusal(folder, "place.figures", 1, bad) ==
          fmt::format(": running_loss = {}: must be finite", bad));
  for (const double bad : {double(NAN), 2.0})
    CHECK(refusal(folder, "place.figures", 2, bad) ==
          fmt::format(": best = {}: must be at least as good as 1 in the history", bad));
}

TEST_CASE("trainer: every value of a checkpoint's history is checked") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  fs::copy(folder / "last", folder / "good");
  // epoch, batch, batches, step
  for (const std::int64_t bad : {lowest, std::int64_t{-1}, std::int64_t{2}, huge}) {
    CHECK(refusal(folder, "history.counts", 0, bad) ==
          fmt::format(": history[0].epoch = {}: must be from 0 to 1", bad));
    CHECK(refusal(folder, "history.counts", 1, bad) ==
          fmt::format(": history[0].batch = {}: must be 4, from its step and epoch", bad));
    CHECK(refusal(folder, "history.counts", 2, bad) ==
          fmt::format(": history[0].batches = {}: must be 5, the batches of epoch 0", bad));
  }
  for (const std::int64_t bad : {lowest, std::int64_t{0}, std::int64_t{8}, huge})
    CHECK(refusal(folder, "history.counts", 3, bad) ==
          fmt::format(": history[0].step = {}: must be from 1 to 7", bad));
  CHECK(refusal(folder, "history.counts", 0, std::int64_t{1}) ==
        ": history[0].batch = 4: must be -1, from its step and epoch");
  const char* figures[] = {"loss",    "gradient_norm", "learning_rate",
                           "seconds", "seconds_left",  "tokens_per_second"};
  for (std::size_t i = 0; i < 6; ++i)
    CHECK(refusal(folder, "history.figures", i, double(NAN))
              .starts_with(fmt::format(": history[0].{} = nan: must be ", figures[i])));
  for (const std::size_t i : {1, 2, 3, 5})
    CHECK(refusal(folder, "history.figures", i, -1.0)
              .starts_with(fmt::format(": history[0].{} = -1: must be ", figures[i])));
}

TEST_CASE("trainer: too many epochs or steps in a checkpoint are refused without counting them") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  const Content content = content_of(folder / "last");
  const auto message = [&](std::int64_t epoch, std::int64_t batches, std::int64_t step) {
    const std::int64_t counts[] = {epoch, 0, batches, step};  // epoch, batch, batches, step
    for (std::size_t i = 0; i < 4; ++i) set(content, "place.counts", i, counts[i]);
    save(folder / "last", content.tensors, content.metadata);
    Toy toy;
    TrainingTask task = toy.task();
    task.batches = [&](std::int64_t) { return batches; };
    TrainerOptions options = resumable(folder.path());
    options.resume = true;
    options.max_epochs = huge;
    return message_of<Error>([&] { train(task, options); });
  };
  CHECK(message(huge, 1, huge) ==
        fmt::format("train: {}: epoch = {}: must be from 0 to 4294967296, from its steps and "
                    "max_epochs",
                    (folder / "last").string(), huge));
  CHECK(message(2, huge, std::numeric_limits<std::int64_t>::max()) ==
        fmt::format("train: {0} + {0}: must be below 2^63", huge));
  CHECK(message(100'000, 1, 100'001) ==
        fmt::format("train: {}: step = 100001: must be 100000, the steps of 100000 epochs and 0 "
                    "batches",
                    (folder / "last").string()));
}

TEST_CASE("trainer: a matrix of wrong size is refused before memory is allocated for it") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  const Content content = content_of(folder / "last");
  const auto message = [&](std::string_view name, const Tensor& value) {
    NamedTensors tensors = content.tensors;
    for (auto& [found, tensor] : tensors)
      if (found == name) tensor = value;
    save(folder / "last", tensors, content.metadata);
    return message_of<Error>([&] { resume(folder.path()); });
  };
  const std::string last = "train: " + (folder / "last").string();
  CHECK(message("history.counts", zeros({1000, 0}, DType::i64)) ==
        last + ": history.counts is i64 (1000, 0): must be i64 (rows, 4)");
  CHECK(message("history.figures", zeros({2, 8}, DType::f64)) ==
        last + ": history.figures is f64 (2, 8): must be f64 (1, 8)");
  CHECK(message("place.counts", zeros({0, 6}, DType::i64)) ==
        last + ": place.counts is i64 (0, 6): must be i64 (1, 6)");
  CHECK(message("place.figures", zeros({1, 3})) ==
        last + ": place.figures is f32 (1, 3): must be f64 (1, 3)");
}

TEST_CASE("trainer: optimizer, average, generators and weights of a checkpoint are checked") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  fs::copy(folder / "last", folder / "good");
  for (const std::int64_t steps : {lowest, std::int64_t{-1}, std::int64_t{8}, huge})
    CHECK(refusal(folder, "optimizer.steps", 1, steps) ==
          fmt::format(": steps[1] = {}: must be from 0 to 7, the number of training steps", steps));
  CHECK(refusal(folder, "optimizer.lr", 0, -1.0) == ": lr[0] = -1: must be at least 0");
  CHECK(refusal(folder, "optimizer.exp_avg.w", 5, NAN) ==
        ": 'optimizer.exp_avg.w' holds nan at 5: must be finite");
  CHECK(refusal(folder, "optimizer.exp_avg_sq.v", 2, -0.5f) ==
        ": exp_avg_sq.v[2] = -0.5: must be at least 0");
  for (const float bad : {NAN, INFINITY, -INFINITY}) {
    CHECK(refusal(folder, "model.w", 47, bad) ==
          fmt::format(": 'model.w' holds {} at 47: must be finite", bad));
    CHECK(refusal(folder, "average.v", 0, bad) ==
          fmt::format(": 'average.v' holds {} at 0: must be finite", bad));
  }
  CHECK(refusal(folder, "generator.0", 2, lowest) ==
        fmt::format(": generator.0: position = {}: must not be negative", lowest));
}

TEST_CASE(
    "trainer: a place before the end of the first epoch, and at an epoch's end, is accepted") {
  for (const std::int64_t at : {0, 3, 4, 9}) {
    const Folder folder("checkpoint_test");
    Toy toy;
    toy.interrupt_at = at;
    TrainerOptions options = resumable(folder.path());
    options.validate_every = 2;
    train(toy.task(), options);
    Toy rest;
    options.resume = true;
    CHECK(train(rest.task(), options).history.size() == 8);  // 2, 4, ..., 14 and the end
  }
}

TEST_CASE("trainer: a refused checkpoint changes nothing") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  const Content content = content_of(folder / "last");
  set(content, "optimizer.exp_avg_sq.v", 2, NAN);
  save(folder / "last", content.tensors, content.metadata);
  Toy toy, fresh;
  TrainerOptions options = resumable(folder.path());
  options.resume = true;
  CHECK_THROWS_AS(train(toy.task(), options), Error);
  for (std::size_t i = 0; i < 2; ++i)
    CHECK(toy.model[i].second.to_vector<float>() == fresh.model[i].second.to_vector<float>());
  CHECK(toy.rng.state() == fresh.rng.state());
}

TEST_CASE(
    "trainer: checkpoints of earlier versions load, without checksums and with fewer values") {
  const Folder whole("checkpoint_whole"), folder("checkpoint_test");
  Toy toy;
  train(toy.task(), resumable(whole.path()));
  stop_in_the_middle(folder.path());
  Content content = content_of(folder / "last");
  std::erase_if(content.tensors, [](const auto& entry) {
    return entry.first == "place.training" || entry.first == "place.gradient_norm";
  });
  write_file_atomically(folder / "last", to_safetensors(content.tensors, content.metadata));
  const Content best = content_of(folder / "best");
  write_file_atomically(folder / "best", to_safetensors(best.tensors));
  CHECK(resume(folder.path()).last.step == 15);
  CHECK(values_of(folder / "best") == values_of(whole / "best"));
}

TEST_CASE("trainer: a row that an earlier version repeated is dropped") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  Content content = content_of(folder / "last");
  for (auto& [name, tensor] : content.tensors)
    if (name.starts_with("history.")) {
      const std::int64_t n = tensor.dim(1);
      tensor = alias(tensor, {3, n}, {0, 1}).contiguous();
    }
  set(content, "place.counts", 5, std::int64_t{2});
  save(folder / "last", content.tensors, content.metadata);
  const TrainingResult result = resume(folder.path());
  REQUIRE(result.history.size() == 4);
  CHECK(result.history[0].step == 4);
  CHECK(result.history[1].step == 8);
}

// --- when checkpoints are written ----------------------------------------------------------------

TEST_CASE("trainer: last is written before the first validation, and at every save_every") {
  const Folder folder("checkpoint_test");
  Toy toy;
  TrainingTask task = toy.task();
  std::vector<std::int64_t> found;  // the step in `last`, before each step and validation
  const auto look = [&] {
    const fs::path last = folder / "last";
    found.push_back(
        fs::exists(last)
            ? SafetensorsFile::read(last).tensor("place.counts").to_vector<std::int64_t>()[3]
            : -1);
  };
  task.validate = [&] {
    look();
    return 1.0;
  };
  train(task, {.max_epochs = 2, .last = folder / "last"});
  CHECK(found == std::vector<std::int64_t>{5, 5});

  fs::remove(folder / "last");
  found.clear();
  Toy other;
  task = other.task();
  task.validate = {};
  task.loss = [&](std::int64_t epoch, std::int64_t batch) -> TrainingTask::Loss {
    look();
    return {other.loss(epoch, batch), 10};
  };
  train(task, {.max_epochs = 1, .last = folder / "last", .save_every = 0});
  CHECK(found == std::vector<std::int64_t>{-1, 1, 2, 3, 4});
}

TEST_CASE("trainer: a model that became NaN does not replace the last good one") {
  const Folder folder("checkpoint_test");
  stop_in_the_middle(folder.path());
  const std::string before = read_file(folder / "last");
  Toy toy;
  TrainingTask task = toy.task();
  task.loss = [&](std::int64_t epoch, std::int64_t batch) -> TrainingTask::Loss {
    if (toy.steps++ == 2) toy.model[1].second.mutable_data<float>()[3] = NAN;
    if (toy.steps > 2) return {sum(toy.model[0].second)};
    return {toy.loss(epoch, batch)};
  };
  TrainerOptions options = resumable(folder.path());
  options.clip_norm = 0;
  CHECK(message_of<NonFiniteError>([&] { train(task, options); }) ==
        "train: 'v' holds nan at 3 after step 4: " + (folder / "last").string() +
            " is not written");
  CHECK(read_file(folder / "last") == before);

  Toy masked;  // values that are infinite from the start are allowed
  masked.model.emplace_back("mask", full({1}, -INFINITY));
  TrainerOptions plain{.max_epochs = 1, .last = folder / "masked"};
  train(masked.task(), plain);
  plain.resume = true;
  plain.max_epochs = 2;
  CHECK(train(masked.task(), plain).last.step == 10);
}
