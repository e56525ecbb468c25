// Resumed runs: their results, and the files that they accept.
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/optim/interrupt.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/toy_training.h>

#include <cmath>
#include <csignal>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

// --- results of a resumed run --------------------------------------------------------------------

TEST_CASE("trainer: an interrupted validation is repeated by the next run") {
  const Folder whole("checkpoint_whole"), folder("checkpoint_test");
  const auto figure = [](Toy& toy) { return std::abs(toy.model[0].second.to_vector<float>()[0]); };
  const auto run = [&](const fs::path& path, bool goes_on, int signal) {
    Toy toy;
    TrainingTask task = toy.task();
    task.validate = [&, signal] {
      if (signal != 0) std::raise(signal);
      check_interrupt();
      return figure(toy);
    };
    TrainerOptions options = resumable(path);
    options.resume = goes_on;
    return train(task, options);
  };
  const TrainingResult wanted = run(whole.path(), false, 0);
  bool goes_on = false;
  for (const int signal : {SIGTERM, SIGHUP, SIGINT}) {  // repeatedly in the first validation
    const TrainingResult result = run(folder.path(), goes_on, signal);
    CHECK(result.stopped_by == StoppedBy::interrupt);
    CHECK(result.signal == signal);
    CHECK(result.history.empty());
    CHECK(result.last.step == 4);
    goes_on = true;
  }
  const TrainingResult result = run(folder.path(), true, 0);
  CHECK(result.history.size() == wanted.history.size());
  CHECK(values_of(folder / "last") == values_of(whole / "last"));
  CHECK(values_of(folder / "best") == values_of(whole / "best"));
}

TEST_CASE("trainer: an interrupted validation does not change the generators") {
  const Folder whole("checkpoint_whole"), folder("checkpoint_test");
  const auto run = [](const fs::path& path, bool goes_on, std::int64_t interrupted) {
    Toy toy;
    TrainingTask task = toy.task();
    task.validate = [&, interrupted] {
      const double figure = toy.rng.uniform();
      if (++toy.validations == interrupted) std::raise(SIGTERM);
      check_interrupt();
      return figure;
    };
    TrainerOptions options = resumable(path);
    options.resume = goes_on;
    return train(task, options);
  };
  run(whole.path(), false, 0);
  const TrainingResult ended = run(folder.path(), false, 2);
  CHECK(ended.stopped_by == StoppedBy::interrupt);
  CHECK(ended.last.step == 8);
  CHECK(run(folder.path(), true, 0).history.size() == 4);
  CHECK(values_of(folder / "last") == values_of(whole / "last"));
  CHECK(values_of(folder / "best") == values_of(whole / "best"));
}

TEST_CASE("trainer: a signal after the last step is in the result") {
  Toy toy;
  TrainingTask task = toy.task();
  task.validate = [] {
    std::raise(SIGTERM);
    return 1.0;
  };
  const TrainingResult result = train(task, {.max_epochs = 1});
  CHECK(result.stopped_by == StoppedBy::epochs);
  CHECK(result.signal == SIGTERM);
}

TEST_CASE(
    "trainer: killed in the final validation, each resume gives the rows of an uninterrupted run") {
  const Folder whole("checkpoint_whole"), folder("checkpoint_test");
  Toy toy;
  train(toy.task(), resumable(whole.path()));
  for (int i = 0; i < 3; ++i) {
    Toy killed;
    TrainingTask task = killed.task();
    const auto validate = task.validate;
    task.validate = [&] {
      if (killed.steps == (i == 0 ? 15 : 0)) value_error("kill", "now");  // the final validation
      return validate();
    };
    TrainerOptions options = resumable(folder.path());
    options.resume = i > 0;
    CHECK_THROWS_AS(train(task, options), ValueError);
  }
  const TrainingResult result = resume(folder.path());
  REQUIRE(result.history.size() == 4);
  CHECK(result.history[3].step == 15);
  CHECK(result.history[3].batch == 5);
  CHECK(values_of(folder / "last") == values_of(whole / "last"));
}

TEST_CASE("trainer: a resumed run drops the row of the validation at the previous end") {
  const Folder whole("checkpoint_whole"), folder("checkpoint_test");
  Toy toy;
  train(toy.task(), resumable(whole.path()));
  TrainerOptions options = resumable(folder.path());
  for (const std::int64_t epochs : {1, 2, 3}) {
    Toy part;
    options.max_epochs = epochs;
    const TrainingResult result = train(part.task(), options);
    CHECK(result.history.back().step == 5 * epochs);
    options.resume = true;
  }
  CHECK(values_of(folder / "last") == values_of(whole / "last"));
  Toy again;  // no steps left: the row stays
  CHECK(train(again.task(), options).history.size() == 4);
}

TEST_CASE("trainer: the final validation of a run counts for best and patience if it was better") {
  const Folder folder("checkpoint_test");
  TrainerOptions options = resumable(folder.path());
  options.max_epochs = 1;
  Toy first;
  first.figures = {3, 2};  // after steps 4 and 5
  train(first.task(), options);
  options.max_epochs = 3;
  options.patience = 2;
  options.resume = true;
  Toy rest;
  rest.figures = {2.5};
  const TrainingResult result = train(rest.task(), options);
  CHECK(result.stopped_by == StoppedBy::patience);
  CHECK(result.last.best == 2);
  REQUIRE(result.history.size() == 3);
  CHECK(result.history[1].step == 8);
  CHECK(result.history[2].step == 12);
}

// --- files of other trainings --------------------------------------------------------------------

TEST_CASE("trainer: a best model of another training is refused") {
  const Folder folder("checkpoint_test"), other("checkpoint_other");
  stop_in_the_middle(folder.path());
  Toy toy;
  toy.adam.set_lr(1);  // the same names, shapes and seed
  TrainingTask task = toy.task();
  task.learning_rate = {};
  train(task, resumable(other.path()));
  fs::copy_file(other / "best", folder / "best", fs::copy_options::overwrite_existing);
  const std::string message = message_of<StateError>([&] { resume(folder.path()); });
  CHECK(message.starts_with("train: " + (folder / "best").string() + ": training_id = '"));
  CHECK(message.ends_with("it is not a model from the training in " + (folder / "last").string()));
}

TEST_CASE("trainer: the caller's model file is replaced only if this training wrote it") {
  const Folder folder("checkpoint_test");
  TrainerOptions options = resumable(folder.path());
  options.best = "";
  options.model_file = folder / "model";
  const auto run = [&] {
    Toy toy;
    return train(toy.task(), options);
  };
  const TrainingResult first = run();
  CHECK(first.metadata.at("task") == "toy");
  options.resume = true;
  CHECK(run().metadata == first.metadata);  // there is no file yet
  const Toy toy;
  save(options.model_file, toy.model, first.metadata);
  CHECK(run().metadata == first.metadata);
  save(options.model_file, toy.model, options.metadata);
  CHECK(message_of<StateError>(run).starts_with("train: " + options.model_file.string() +
                                                ": training_id = '': must be '"));
  write_file_atomically(options.model_file, "notes");
  CHECK_THROWS_AS(run(), FormatError);
  CHECK(read_file(options.model_file) == "notes");
}

TEST_CASE("trainer: two runs of one training write the same best model, and accept it") {
  const Folder folder("checkpoint_test"), other("checkpoint_other");
  stop_in_the_middle(folder.path());
  stop_in_the_middle(other.path());
  CHECK(read_file(folder / "best") == read_file(other / "best"));
  fs::copy_file(other / "best", folder / "best", fs::copy_options::overwrite_existing);
  CHECK(resume(folder.path()).last.step == 15);
}

TEST_CASE("trainer: a second training of the same files is refused while the first runs") {
  const Folder folder("checkpoint_test");
  Toy toy;
  TrainingTask task = toy.task();
  std::vector<std::string> messages;
  task.validate = [&] {
    Toy second;
    const TrainerOptions same = resumable(folder.path());
    TrainerOptions only_last{.last = same.last}, only_best{.best = same.best};
    for (const TrainerOptions& options : {same, only_last, only_best})
      messages.push_back(message_of<StateError>([&] { train(second.task(), options); }));
    CHECK(second.steps == 0);
    return 1.0;
  };
  train(task, resumable(folder.path()));
  REQUIRE(messages.size() >= 3);
  const std::string held = fmt::format(" is in use by process {}: must end first", getpid());
  CHECK(messages[0] == "train: " + (folder / "best").string() + held);
  CHECK(messages[1] == "train: " + (folder / "last").string() + held);
  CHECK(messages[2] == "train: " + (folder / "best").string() + held);
  for (const auto& entry : fs::directory_iterator(folder.path()))
    CHECK(entry.path().extension() != ".lock");

  const TrainingLock lock(folder / "best", folder / "last");  // the caller's lock
  TrainerOptions options = resumable(folder.path());
  options.lock = &lock;
  Toy third;
  CHECK(train(third.task(), options).last.step == 15);
}
