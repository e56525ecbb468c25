// The option --profile: the profiled steps, and that it changes neither metrics nor the training.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/storage.h>
#include <fovea/examples/support/profiling.h>
#include <fovea/tests/support/thread_bits.h>

#include <filesystem>
#include <iostream>
#include <sstream>

#include <doctest/doctest.h>

namespace optim = fovea::optim;
using support::Profiling;

namespace {

// The text that f writes to standard error.
template <class F>
std::string messages_of(const F& f) {
  const std::ostringstream text;
  std::streambuf* before = std::cerr.rdbuf(text.rdbuf());
  f();
  std::cerr.rdbuf(before);
  return text.str();
}

// Steps of one exp each, and a validation of a hundred tanh after every ten steps.
void train(Profiling& profiling, std::int64_t steps) {
  const fovea::Tensor x = fovea::ones({3});
  const optim::TrainingTask task = profiling.watch(
      {.loss = [&](std::int64_t, std::int64_t) -> optim::TrainingTask::Loss { return {exp(x)}; },
       .validate =
           [&] {
             for (int i = 0; i < 100; ++i) tanh(x);
             return 0.0;
           }});
  for (std::int64_t i = 0; i < steps; ++i) {
    task.loss(0, i);
    if (i % 10 == 9) task.validate();
  }
}

}  // namespace

TEST_CASE("twenty steps after the first five, without validations") {
  const fovea::test::Folder folder("support_profiling");
  const std::filesystem::path trace = folder / "trace.json";
  const std::string text = messages_of([&] {
    Profiling profiling(trace);
    train(profiling, 50);
    profiling.finish();
  });
  CAPTURE(text);
  CHECK(text.find("20 steps of ") != std::string::npos);
  CHECK(text.find("exp ") != std::string::npos);
  CHECK(text.find("tanh") == std::string::npos);
  CHECK(text.find("% peak") != std::string::npos);
  CHECK(std::filesystem::file_size(trace) > 1000);
}

TEST_CASE(
    "too few steps, and a trace that cannot be written, are no reason to lose what was trained") {
  const std::string few = messages_of([] {
    Profiling profiling("trace.json");
    train(profiling, 3);
    profiling.finish();
  });
  CHECK(few.find("no profile: 3 steps were run") != std::string::npos);
  CHECK_FALSE(std::filesystem::exists("trace.json"));
  const std::string unwritten = messages_of([] {
    Profiling profiling("/no/such/folder/trace.json");
    train(profiling, 30);
    profiling.finish();
  });
  CAPTURE(unwritten);
  CHECK(unwritten.find("20 steps of ") != std::string::npos);
  CHECK(unwritten.find("--profile: ") != std::string::npos);
  CHECK(unwritten.find("/no/such/folder") != std::string::npos);
}

TEST_CASE("the peak of memory is the training's own") {
  fovea::reset_peak_memory();
  const std::int64_t before = fovea::memory_stats().peak_bytes;
  Profiling profiling("trace.json");
  train(profiling, 30);
  CHECK(fovea::memory_stats().peak_bytes < before + (1 << 20));
}

TEST_CASE("no profile without a path") {
  const std::string text = messages_of([] {
    Profiling profiling("");
    train(profiling, 30);
    profiling.finish();
  });
  CHECK(text.empty());
  CHECK(fovea::autograd_mode.observe == nullptr);
}
