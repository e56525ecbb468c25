#include "measure.h"

#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/storage.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>
#include <vector>

using namespace fovea;

namespace {

using Clock = std::chrono::steady_clock;
using Action = std::function<void()>;

double since(Clock::time_point begin) {
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

double median(std::vector<double> values) {
  const auto middle = values.begin() + std::ssize(values) / 2;
  std::nth_element(values.begin(), middle, values.end());
  return *middle;
}

struct Runs {
  Timing timing;
  double turn_s;
  std::int64_t bytes;
};

// `before` is called before each run, outside the timing; the first run is the warm-up. Memory is
// the peak of the second run minus `live` bytes.
Runs run_often(const Action& before, const Action& run, double seconds, std::int64_t live) {
  constexpr int most_runs = 1000;
  before();
  run();
  std::vector<double> times;
  std::int64_t bytes = 0;
  const auto start = Clock::now();
  while (std::ssize(times) < least_runs ||
         (since(start) < seconds && std::ssize(times) < most_runs)) {
    before();
    if (times.empty()) reset_peak_memory();
    const auto begin = Clock::now();
    run();
    times.push_back(since(begin));
    if (times.size() == 1) bytes = memory_stats().peak_bytes - live;
  }
  const double turn = since(start) / static_cast<double>(times.size()), middle = median(times);
  std::vector<double> apart;
  for (const double time : times) apart.push_back(std::abs(time - middle) / middle);
  return {{middle, median(apart), static_cast<int>(times.size())}, turn, bytes};
}

Runs run_decoder(const Layer& layer, const Batch& batch, double seconds) {
  const NoGrad guard;
  const std::int64_t live = memory_stats().live_bytes;
  const auto decoder = layer.decoder(batch.prefix);
  return run_often([&] { decoder->rewind(); }, [&] { decoder->step(batch.last); }, seconds, live);
}

Runs run_layer(Layer& layer, Mode mode, Batch& batch, double seconds) {
  const NoGrad guard(mode == Mode::forward);
  const Action forget = [&] {
    layer.module().zero_grad();
    batch.x.zero_grad();
  };
  const Action forward = [&] { layer(batch.x); };
  const Action training = [&] { layer(batch.x).backward(batch.dy); };
  forget();
  const std::int64_t live = memory_stats().live_bytes;
  const Runs runs = run_often(forget, mode == Mode::forward ? forward : training, seconds, live);
  forget();
  return runs;
}

}  // namespace

const char* name_of(Mode mode) {
  switch (mode) {
    case Mode::forward:
      return "forward";
    case Mode::training:
      return "training";
    case Mode::decoding:
      break;
  }
  return "decoding";
}

Batch::Batch(std::int64_t B, std::int64_t T, std::int64_t C, Rng& rng)
    : x(randn({B, T, C}, rng)),
      dy(randn({B, T, C}, rng)),
      prefix(narrow(x, 1, 0, T - 1).clone()),
      last(narrow(x, 1, T - 1, 1).clone()) {
  x.set_requires_grad();
}

Point measure(const Kind& kind, Layer& layer, Mode mode, Batch& batch, double seconds) {
  const std::int64_t B = batch.x.dim(0), T = batch.x.dim(1);
  const Runs runs = mode == Mode::decoding ? run_decoder(layer, batch, seconds)
                                           : run_layer(layer, mode, batch, seconds);
  const std::int64_t tokens = mode == Mode::decoding ? B : B * T;
  return {.kind = kind.name,
          .mode = mode,
          .length = T,
          .timing = runs.timing,
          .tokens_per_s = static_cast<double>(tokens) / runs.timing.median_s,
          .bytes = runs.bytes,
          .turn_s = runs.turn_s};
}

double decoding_error(const Layer& layer, const Batch& batch) {
  const NoGrad guard;
  const auto decoder = layer.decoder(batch.prefix);
  decoder->rewind();
  const Tensor whole = narrow(layer(batch.x), 1, batch.x.dim(1) - 1, 1);
  return max(abs(decoder->step(batch.last) - whole)).item<double>();
}
