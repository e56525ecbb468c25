#include <fovea/core/autograd.h>
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/toy_training.h>

#include <cmath>
#include <csignal>
#include <cstdlib>
#include <limits>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace fovea;
using namespace fovea::optim;
using namespace fovea::test;

namespace {

void start(const fs::path& folder, std::optional<std::int64_t> interrupt_at) {
  Toy toy;
  toy.interrupt_at = interrupt_at;
  const TrainingResult result = train(toy.task(), resumable(folder));
  CHECK(result.stopped_by == (interrupt_at ? StoppedBy::interrupt : StoppedBy::epochs));
  if (interrupt_at) CHECK(result.last.step == *interrupt_at + 1);
}

// Runs one test case of this program in a separate process.
int run_process(const std::string& test_case, const fs::path& folder) {
  const std::string command =
      fmt::format("FOVEA_TEST_FOLDER='{}' '{}' --no-skip --test-case='{}' >/dev/null",
                  folder.string(), fs::read_symlink("/proc/self/exe").string(), test_case);
  return std::system(command.c_str());
}

}  // namespace

TEST_CASE("trainer: resume in the folder FOVEA_TEST_FOLDER" * doctest::skip()) {
  const char* folder = std::getenv("FOVEA_TEST_FOLDER");
  REQUIRE(folder);
  Toy toy;
  toy.rng = Rng(99);  // the initial state of a new object must not matter
  toy.adam.set_lr(123);
  for (auto& [name, parameter] : toy.model) parameter.mutable_data<float>()[0] = 5;
  TrainerOptions options = resumable(folder);
  options.resume = true;
  const TrainingResult result = train(toy.task(), options);
  CHECK(result.stopped_by == StoppedBy::epochs);
  CHECK(result.last.step == 15);
  CHECK(result.tokens == 150);
  CHECK(result.history.size() == 4);  // steps 4, 8, 12 and the last
}

TEST_CASE("trainer: n steps, a new process and n more give the bits of 2n steps at once") {
  const Folder whole;
  start(whole.path(), {});
  const std::string wanted = values_of(whole / "last");
  const std::string log = read_file(whole / "log.csv");
  // Before the first validation, in the middle of an epoch, at its end, and at the very end.
  for (const std::int64_t stop : {0, 6, 9, 13}) {
    CAPTURE(stop);
    fs::create_directory(whole / "parts");
    start(whole / "parts", stop);
    CHECK(run_process("trainer: resume in the folder*", whole / "parts") == 0);
    CHECK(values_of(whole / "parts" / "last") == wanted);
    CHECK(values_of(whole / "parts" / "best") == values_of(whole / "best"));
    const std::string parts_log = read_file(whole / "parts" / "log.csv");
    CHECK(std::count(parts_log.begin(), parts_log.end(), '\n') == 5);
    CHECK(parts_log.substr(0, parts_log.find('\n')) == log.substr(0, log.find('\n')));
    fs::remove_all(whole / "parts");
  }
}

TEST_CASE("trainer: resuming what is finished changes nothing") {
  const Folder folder;
  start(folder.path(), {});
  const std::string before = values_of(folder / "last");
  CHECK(run_process("trainer: resume in the folder*", folder.path()) == 0);
  CHECK(values_of(folder / "last") == before);
}

TEST_CASE("trainer: ends after max_epochs, and reports every step") {
  Toy toy;
  std::vector<Progress> seen;
  const TrainingResult result = train(toy.task(), {.max_epochs = 2, .clip_norm = 1},
                                      [&](const Progress& p) { seen.push_back(p); });
  CHECK(result.stopped_by == StoppedBy::epochs);
  REQUIRE(seen.size() == 10);
  CHECK(seen[6].epoch == 1);
  CHECK(seen[6].batch == 2);
  CHECK(seen[6].batches == 5);
  CHECK(seen[6].step == 7);
  CHECK(seen[6].gradient_norm > 0);
  CHECK(seen[6].learning_rate == cosine(1e-2, 15, 1e-3)(6));
  CHECK(seen[6].tokens_per_second == doctest::Approx(70 / seen[6].seconds));
  CHECK(seen[6].seconds_left == doctest::Approx(seen[6].seconds * 3 / 7));
  CHECK(std::isnan(seen[6].validation));
  CHECK(seen[9].validation == 1.0);
  CHECK(seen[9].seconds_left == doctest::Approx(0));
  CHECK(result.last.step == 10);
  CHECK(result.tokens == 100);
  CHECK(result.history.size() == 2);
}

TEST_CASE("trainer: ends when the time is over, and validates once more") {
  Toy toy;
  std::vector<Progress> seen;
  const TrainingResult result =
      train(toy.task(), {.max_seconds = 1e-9}, [&](const Progress& p) { seen.push_back(p); });
  CHECK(result.stopped_by == StoppedBy::time);
  CHECK(result.last.step == 1);
  CHECK(result.history.size() == 1);
  REQUIRE(seen.size() == 2);  // the step, and the validation
  CHECK(std::isnan(seen[0].validation));
  CHECK(seen[1].validation == 1.0);
}

TEST_CASE("trainer: ends when patience is over, with the best model") {
  const Folder folder;
  for (const bool higher_is_better : {false, true}) {
    Toy toy;
    toy.figures = {3, 2, 2, NAN, 2.5, 1};  // patience is over before the 1
    if (higher_is_better)
      for (double& figure : toy.figures) figure = -figure;
    std::vector<std::vector<float>> weights;
    const TrainingResult result = train(
        toy.task(), {.patience = 3, .higher_is_better = higher_is_better, .best = folder / "best"},
        [&](const Progress& p) {
          if (p.batch == p.batches) weights.push_back(toy.model[0].second.to_vector<float>());
        });
    CHECK(result.stopped_by == StoppedBy::patience);
    REQUIRE(result.history.size() == 5);
    CHECK(std::abs(result.last.best) == 2);
    CHECK(toy.model[0].second.to_vector<float>() == weights[2]);  // the latest of equal ones
    CHECK(weights[1] != weights[2]);
    CHECK(weights[4] != weights[2]);
  }
}

TEST_CASE("trainer: a first validation of NaN is not the best") {
  Toy toy;
  toy.figures = {NAN, 5, 6};
  const TrainingResult result = train(toy.task(), {.max_epochs = 3});
  CHECK(std::isnan(result.history[0].best));
  CHECK(result.last.best == 5);
}

TEST_CASE("trainer: validates every n steps, without a gradient record") {
  Toy toy;
  TrainingTask task = toy.task();
  std::vector<bool> recorded;
  task.validate = [&] {
    recorded.push_back(grad_enabled());
    return 1.0;
  };
  const TrainingResult result = train(task, {.max_epochs = 2, .validate_every = 4});
  REQUIRE(result.history.size() == 3);
  CHECK(result.history[0].step == 4);
  CHECK(result.history[1].step == 8);
  CHECK(result.history[2].step == 10);  // the end
  CHECK(recorded == std::vector<bool>{false, false, false});
}

TEST_CASE("trainer: without a validation the history has each epoch's end") {
  const Folder folder;
  Toy toy;
  TrainingTask task = toy.task();
  task.validate = {};
  const TrainingResult result =
      train(task, {.max_epochs = 2, .best = folder / "best", .log = folder / "log.jsonl"});
  REQUIRE(result.history.size() == 2);
  CHECK(std::isnan(result.history[1].validation));
  CHECK_FALSE(fs::exists(folder / "best"));
  std::istringstream lines(read_file(folder / "log.jsonl"));
  std::string line;
  for (int epoch = 1; epoch <= 2; ++epoch) {
    REQUIRE(std::getline(lines, line));
    const auto row = nlohmann::json::parse(line);
    CHECK(row["epoch"] == epoch);
    CHECK(row["step"] == 5 * epoch);
    CHECK(row["loss"].get<double>() == doctest::Approx(result.history[epoch - 1].loss));
    CHECK(row["validation"].is_null());
  }
  CHECK_FALSE(std::getline(lines, line));
}

TEST_CASE("trainer: the log as CSV") {
  const Folder folder;
  Toy toy;
  const TrainingResult result = train(toy.task(), {.max_epochs = 1, .log = folder / "log.csv"});
  const Progress& p = result.history[0];
  CHECK(read_file(folder / "log.csv") ==
        fmt::format("epoch,step,seconds,loss,learning_rate,gradient_norm,tokens_per_second,"
                    "validation\n1,5,{:.3f},{:.6g},{:.6g},0,{:.1f},1\n",
                    p.seconds, p.loss, p.learning_rate, p.tokens_per_second));
}

TEST_CASE(
    "trainer: a non-finite loss is an error that names the step, and the model does not change") {
  Toy toy;
  toy.infinite_at = 7;
  std::vector<float> before;
  const auto run = [&] {
    train(toy.task(), {},
          [&](const Progress&) { before = toy.model[0].second.to_vector<float>(); });
  };
  const std::string message = message_of<NonFiniteError>(run);
  CHECK(message.starts_with("train: the loss of step 7 (epoch 1, batch 2) is inf: "));
  CHECK(toy.model[0].second.to_vector<float>() == before);
}

TEST_CASE("trainer: the same for a non-finite gradient, if gradients are clipped") {
  Toy toy;
  TrainingTask task = toy.task();
  task.loss = [&](std::int64_t, std::int64_t) -> TrainingTask::Loss {
    return {mean(sqrt(toy.model[0].second * 0.0))};  // 0, with an infinite derivative
  };
  const std::string message = message_of<NonFiniteError>([&] { train(task, {.clip_norm = 1}); });
  CHECK(message.starts_with("train: the gradient's norm of step 0 (epoch 0, batch 0) is "));
}

TEST_CASE("trainer: SIGTERM and SIGHUP end the run after the step too") {
  for (const int signal : {SIGTERM, SIGHUP}) {
    const Folder folder;
    Toy toy;
    TrainingTask task = toy.task();
    task.loss = [&](std::int64_t epoch, std::int64_t batch) -> TrainingTask::Loss {
      if (toy.steps++ == 3) std::raise(signal);
      return {toy.loss(epoch, batch), 10};
    };
    const TrainingResult result = train(task, {.last = folder / "last"});
    CHECK(result.stopped_by == StoppedBy::interrupt);
    CHECK(result.signal == signal);
    CHECK(result.last.step == 4);
    CHECK(fs::exists(folder / "last"));
  }
}

TEST_CASE("trainer: SIGINT ends the run after the step, and the old handler is back") {
  static volatile std::sig_atomic_t seen = 0;
  const auto before = std::signal(SIGINT, [](int) { seen = seen + 1; });
  const Folder folder;
  start(folder.path(), 2);
  CHECK(fs::exists(folder / "last"));
  CHECK(seen == 0);
  std::raise(SIGINT);
  CHECK(seen == 1);

  Toy toy;  // an exception restores it too
  toy.infinite_at = 1;
  CHECK_THROWS_AS(train(toy.task(), {}), NonFiniteError);
  std::signal(SIGINT, [](int) { seen = seen + 1; });
  std::raise(SIGINT);
  CHECK(seen == 2);

  Toy ignoring;  // without catch_interrupt the handler is not replaced
  ignoring.interrupt_at = 1;
  const TrainingResult result = train(ignoring.task(), {.max_epochs = 1, .catch_interrupt = false});
  CHECK(result.stopped_by == StoppedBy::epochs);
  CHECK(seen == 3);
  std::signal(SIGINT, before);
}

TEST_CASE("trainer: options out of range") {
  Toy toy;
  const auto message = [&](const TrainerOptions& options) {
    return message_of<ValueError>([&] { train(toy.task(), options); });
  };
  CHECK(message({.max_seconds = NAN}) == "train: max_seconds = nan: must be at least 0");
  CHECK(message({.clip_norm = -1}) == "train: clip_norm = -1: must be at least 0");
  CHECK(message({.save_every = NAN}) == "train: save_every = nan: must be at least 0");
  TrainingTask task = toy.task();
  task.loss = [&](std::int64_t, std::int64_t) -> TrainingTask::Loss {
    return {toy.loss(0, 0), -2};
  };
  CHECK(message_of<ValueError>([&] { train(task, {}); }) ==
        "train: loss weight = -2: must not be negative");
}

TEST_CASE("trainer: best, last and log are three files, which can be written") {
  const Folder folder;
  Toy toy;
  const fs::path file = folder / "file", same = folder.path() / "." / "file";
  const auto message = [&](const TrainerOptions& options) {
    return message_of<ValueError>([&] { train(toy.task(), options); });
  };
  const auto rule = [&](const char* name, const char* other) {
    return "train: " + std::string(name) + " = " + same.string() + " is also the file of " + other +
           ": must be another file";
  };
  CHECK(message({.best = file, .last = same}) == rule("last", "best"));
  CHECK(message({.best = file, .log = same}) == rule("log", "best"));
  CHECK(message({.last = file, .log = same}) == rule("log", "last"));
  const fs::path lock = folder / ".fovea-file.lock";
  CHECK(message({.last = file, .log = lock}).ends_with(": must be another file"));
  CHECK(message({.best = file, .last = lock}).ends_with(": must be another file"));
  fs::create_directory(folder / "folder");
  for (const TrainerOptions& options :
       {TrainerOptions{.best = folder / "folder"}, TrainerOptions{.last = folder / "folder"},
        TrainerOptions{.log = folder / "folder"}})
    CHECK(message_of<Error>([&] { train(toy.task(), options); }) ==
          "train: " + (folder / "folder").string() + ": Is a directory");
  CHECK(toy.steps == 0);
  CHECK_FALSE(fs::exists(file));
}

TEST_CASE("trainer: a validation with dropout is refused, and the error names the solution") {
  Toy toy;
  TrainingTask task = toy.task();
  task.validate = [&] { return toy.loss(0, 0).item<double>(); };
  const std::string message = message_of<StateError>([&] { train(task, {.max_epochs = 1}); });
  CHECK(
      message.starts_with("dropout: the model is in training mode during a validation: must be "));
  CHECK(toy.steps == batches_per_epoch);
  CHECK_FALSE(RefuseDropout::on());
}

TEST_CASE("trainer: set_training is called around each validation, also after an exception") {
  Toy toy;
  std::string modes;
  TrainingTask task = toy.task();
  task.set_training = [&](bool on) { modes += on ? 't' : 'e'; };
  task.validate = [&] {
    modes += 'v';
    if (++toy.validations == 3) value_error("validate", "too hard");
    return 1.0;
  };
  CHECK_THROWS_AS(train(task, {.max_epochs = 9}), ValueError);
  CHECK(modes == "tevtevtevt");
}

TEST_CASE("trainer: errors") {
  Toy toy;
  TrainingTask task = toy.task();
  const auto message = [&](const TrainingTask& t) {
    return message_of<ValueError>([&] { train(t, {}); });
  };
  const std::string rule = ": an optimizer, batches and a loss are required";
  task.optimizer = nullptr;
  CHECK(message(task) == "train: the task has no optimizer" + rule);
  task = toy.task();
  task.batches = {};
  CHECK(message(task) == "train: the task has no batches" + rule);
  task = toy.task();
  task.loss = {};
  CHECK(message(task) == "train: the task has no loss" + rule);
  task = toy.task();
  task.generators.push_back(nullptr);
  CHECK(message(task) ==
        fmt::format("train: generator {} is null: must be an Rng", task.generators.size() - 1));
  task = toy.task();
  const auto loss = task.loss;
  task.loss = [&](std::int64_t epoch, std::int64_t batch) {
    TrainingTask::Loss heavy = loss(epoch, batch);
    heavy.weight = std::numeric_limits<std::int64_t>::max() / 2 + 1;
    return heavy;
  };
  CHECK_THROWS_AS(train(task, {.max_epochs = 2}), ShapeError);  // the sum of two overflows
  task = toy.task();
  task.batches = [](std::int64_t) { return 0; };
  CHECK(message(task) == "train: epoch 0 has 0 batches: at least one is needed");
  CHECK(message_of<ValueError>([&] { train(toy.task(), {.resume = true}); }) ==
        "train: last is empty: must be the checkpoint's path with resume");
  CHECK(message_of<ValueError>([&] { train(toy.task(), {.max_epochs = -1}); }) ==
        "train: max_epochs = -1: must be at least 0");
  CHECK(message_of<ValueError>([&] { train(toy.task(), {.validate_every = -1}); }) ==
        "train: validate_every = -1: must be at least 0");
  CHECK(message_of<ValueError>([&] { train(toy.task(), {.patience = -1}); }) ==
        "train: patience = -1: must be at least 0");
}

TEST_CASE("trainer: a checkpoint from another training is refused") {
  const Folder folder;
  start(folder.path(), 6);
  Toy toy;
  TrainerOptions options = resumable(folder.path());
  options.resume = true;
  const auto message = [&](const TrainingTask& task) {
    return message_of<StateError>([&] { train(task, options); });
  };
  const std::string last = (folder / "last").string();

  TrainingTask task = toy.task();
  task.batches = [](std::int64_t) { return 4; };
  CHECK(message(task) ==
        "train: " + last + ": saved at batch 2 of 5, but epoch 1 now has 4 batches");

  options.metadata["task"] = R"({"depth": 2, "width": 8})";
  CHECK(message(toy.task()).ends_with("its task is 'toy', not '{\"depth\": 2, \"width\": 8}'"));
  options.metadata["task"] = std::string(100, 'x');
  CHECK(message(toy.task()).ends_with("belongs to another training: its task is different"));
  options.metadata["task"] = "game";
  CHECK(message(toy.task()) ==
        "train: " + last + " belongs to another training: its task is 'toy', not 'game'");
  options.metadata.clear();

  task = toy.task();
  task.model[0].second = leaf(zeros({2, 2}));
  CHECK(message(task).find("model.w") != std::string::npos);

  fs::remove(folder / "best");
  CHECK(message(toy.task()) == "train: " + (folder / "best").string() +
                                   " is missing: the best model before " + last + " was written");

  fs::remove(folder / "last");
  CHECK(message_of<Error>([&] { train(toy.task(), options); }).find(last) != std::string::npos);
}

TEST_CASE("trainer: the options that differ are named") {
  const Folder folder;
  TrainerOptions options{.max_epochs = 1, .last = folder / "last"};
  options.metadata["options"] = R"({"depth": 2, "width": 8, "old": true})";
  Toy toy;
  train(toy.task(), options);
  options.resume = true;
  options.metadata["options"] = R"({"depth": 3, "width": 8, "new": "x"})";
  CHECK(message_of<StateError>([&] { train(toy.task(), options); })
            .ends_with("belongs to another training: its options: depth is 2 in the file, 3 in "
                       "this run; new is "
                       "missing in the file, \"x\" in this run; old is true in the file, missing "
                       "in this run"));
}

TEST_CASE("trainer: the progress line") {
  Progress p{.epoch = 2,
             .batch = 120,
             .batches = 450,
             .loss = 2.4126,
             .tokens_per_second = 18'240,
             .seconds_left = 84};
  CHECK(progress_line(p) == "epoch 3  batch 120/450  loss 2.413  18.2k tokens/s  1:24 left");
  p.seconds_left = 3723;
  p.best = 27.91;
  CHECK(progress_line(p) ==
        "epoch 3  batch 120/450  loss 2.413  18.2k tokens/s  1:02:03 left  best 27.91");
  for (const double endless : {1e19, std::numeric_limits<double>::infinity(), std::nan("")}) {
    p.seconds_left = endless;
    CHECK(progress_line(p).find("tokens/s  many years left") != std::string::npos);
  }
}
