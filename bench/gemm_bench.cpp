// Speed of fovea's matrix product and of OpenBLAS, in GFLOP/s (2 M N K per product), for the shapes
// of the translation model and for square matrices.
//
//   ./gemm_bench                               all shapes, one thread and all threads
//   ./gemm_bench --benchmark_filter=1792       some of them
#include <fovea/core/kernels/gemm.h>
#include <fovea/core/kernels/parallel.h>

#include <string>
#include <vector>

#include <benchmark/benchmark.h>

using namespace fovea::kernels;

namespace {

struct Size {
  int64_t M, N, K;
  Trans ta, tb;
  const char* what;
};

constexpr Trans kNo = Trans::no, kYes = Trans::yes;
constexpr Size kSizes[] = {
    {256, 256, 256, kNo, kNo, "square"},
    {1024, 1024, 1024, kNo, kNo, "square"},
    {2048, 2048, 2048, kNo, kNo, "square"},
    {1792, 768, 256, kNo, kYes, "GRU, all inputs"},
    {64, 768, 256, kNo, kYes, "GRU, one step"},
    {64, 256, 512, kNo, kYes, "attention, one step"},
    {1792, 8000, 256, kNo, kYes, "logits"},
    {1792, 256, 8000, kNo, kNo, "logits, gradient of the input"},
    {8000, 256, 1792, kYes, kNo, "logits, gradient of the weight"},
    {28, 28, 64, kNo, kYes, "scores of one head"},
    {1, 768, 256, kNo, kYes, "decoding, one row"},
    {4, 768, 256, kNo, kYes, "decoding, four rows"},
};

struct Operands {
  explicit Operands(const Size& s)
      : size(s), a(filled(s.M * s.K)), b(filled(s.K * s.N)), c(filled(s.M * s.N)) {}

  static std::vector<float> filled(int64_t n) {
    return std::vector<float>(static_cast<std::size_t>(n), 0.01f);
  }
  int64_t lda() const { return size.ta == kYes ? size.M : size.K; }
  int64_t ldb() const { return size.tb == kYes ? size.K : size.N; }

  Size size;
  std::vector<float> a, b, c;
};

template <class F>
void measure(benchmark::State& state, const Size& size, F multiply) {
  Operands x(size);
  for (auto _ : state) {
    multiply(x);
    benchmark::ClobberMemory();
  }
  const double flops = 2.0 * static_cast<double>(size.M * size.N * size.K);
  state.counters["FLOP/s"] =
      benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void own(benchmark::State& state, const Size& size, int threads) {
  const int before = num_threads();
  set_num_threads(threads);
  measure(state, size, [&](Operands& x) {
    gemm<float>(size.ta, size.tb, size.M, size.N, size.K, 1, x.a.data(), x.lda(), x.b.data(),
                x.ldb(), 0, x.c.data(), size.N);
  });
  set_num_threads(before);
}

void packed(benchmark::State& state, const Size& size) {
  PackedB<float> b;
  const Operands weights(size);
  b.pack(size.tb, size.K, size.N, weights.b.data(), weights.ldb());
  measure(state, size, [&](Operands& x) {
    gemm_packed_serial<float>(size.M, 1, x.a.data(), x.lda(), b, 0, x.c.data(), size.N);
  });
}

void openblas(benchmark::State& state, const Size& size) {
  measure(state, size, [&](Operands& x) {
    gemm_blas<float>(size.ta, size.tb, size.M, size.N, size.K, 1, x.a.data(), x.lda(), x.b.data(),
                     x.ldb(), 0, x.c.data(), size.N);
  });
}

const bool registered = [] {
  const int all = num_threads();
  for (const Size& s : kSizes) {
    const std::string name = std::to_string(s.M) + "x" + std::to_string(s.N) + "x" +
                             std::to_string(s.K) + (s.ta == kYes ? " T" : " N") +
                             (s.tb == kYes ? "T" : "N") + ", " + s.what + ", ";
    const auto add = [&](const std::string& way, auto run) {
      benchmark::RegisterBenchmark((name + way).c_str(), run)->UseRealTime();
    };
    add("own, 1 thread", [s](benchmark::State& state) { own(state, s, 1); });
    if (all > 1)
      add("own, " + std::to_string(all) + " threads",
          [s, all](benchmark::State& state) { own(state, s, all); });
    if (s.ta == kNo) add("packed, 1 thread", [s](benchmark::State& state) { packed(state, s); });
    add("OpenBLAS, 1 thread", [s](benchmark::State& state) { openblas(state, s); });
  }
  return true;
}();

}  // namespace
