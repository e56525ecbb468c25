// Cost of linear recurrences: the scan and its reference implementation in elementary ops, and
// layers of minGRU, minLSTM, LRU and GRU, forward and backward.
//   B sequences of T steps, H wide
#include <fovea/core/autograd.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/random.h>
#include <fovea/nn/lru.h>
#include <fovea/nn/min_rnn.h>
#include <fovea/nn/recurrent.h>

#include <type_traits>

#include <benchmark/benchmark.h>

namespace {

using namespace fovea;

constexpr std::int64_t H = 128;

// Random values scaled so that the states are about 1.
struct Coefficients {
  explicit Coefficients(std::int64_t rows) {
    Rng rng(1);
    a = rand({rows, H}, rng).set_requires_grad();
    b = rand({rows, H}, rng).set_requires_grad();
  }
  Tensor a, b;
};

// Forward with `f` and backward from the sum of y, in each round.
template <class F>
void time_training(benchmark::State& state, std::int64_t rows, const F& f) {
  for (auto _ : state) sum(f()).backward();
  state.SetItemsProcessed(state.iterations() * rows);  // time steps of all sequences
}

void time_scan(benchmark::State& state, decltype(linear_recurrence)* recurrence) {
  const std::int64_t B = state.range(0), T = state.range(1);
  const RaggedIndex index = RaggedIndex::equal(B, T);
  Coefficients x(B * T);
  time_training(state, B * T, [&] {
    x.a.zero_grad();
    x.b.zero_grad();
    return recurrence(x.a, x.b, {}, index, false).states;
  });
}

template <class Net, class Options>
void time_layer(benchmark::State& state, std::type_identity<Net>, const Options& options) {
  const std::int64_t B = state.range(0), T = state.range(1);
  Rng rng(1);
  Net net(options, rng);
  const Ragged x{randn({B * T, H}, rng), RaggedIndex::equal(B, T)};
  time_training(state, B * T, [&] {
    net.zero_grad();
    const auto y = net(x);
    if constexpr (std::is_same_v<Net, nn::LRU>)
      return y.outputs.values;
    else
      return y.states.values;
  });
}

void sizes(benchmark::internal::Benchmark* bench) {
  bench->Args({16, 1024})->Args({1, 16384})->UseRealTime()->Unit(benchmark::kMillisecond);
}

constexpr nn::GRUOptions gru_options{.input_size = H, .hidden_size = H};
constexpr nn::MinRecurrentOptions min_options{.input_size = H, .hidden_size = H};

// In the reference, the gradient of each row is a tensor of all rows: quadratic time.
void small_sizes(benchmark::internal::Benchmark* bench) {
  bench->Args({16, 64})->UseRealTime()->Unit(benchmark::kMillisecond);
}

BENCHMARK_CAPTURE(time_scan, fused, linear_recurrence)
    ->Name("linear_recurrence")
    ->Apply(small_sizes)
    ->Apply(sizes);
BENCHMARK_CAPTURE(time_scan, twin, linear_recurrence_reference)
    ->Name("linear_recurrence_reference")
    ->Apply(small_sizes);
BENCHMARK_CAPTURE(time_layer, gru, std::type_identity<nn::GRU>{}, gru_options)
    ->Name("GRU")
    ->Apply(sizes);
BENCHMARK_CAPTURE(time_layer, min_gru, std::type_identity<nn::MinGRU>{}, min_options)
    ->Name("MinGRU")
    ->Apply(sizes);
BENCHMARK_CAPTURE(time_layer, min_lstm, std::type_identity<nn::MinLSTM>{}, min_options)
    ->Name("MinLSTM")
    ->Apply(sizes);
BENCHMARK_CAPTURE(time_layer, lru, std::type_identity<nn::LRU>{},
                  nn::LRUOptions{.width = H, .state_size = H / 2})
    ->Name("LRU")
    ->Apply(sizes);

}  // namespace
