// main() of the programs *_bench: Google Benchmark's flags and tables.
#include <fovea/examples/support/program.h>

#include <benchmark/benchmark.h>

int main(int argc, char** argv) {
  return support::run_program("bench", [&] {
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
    return 0;
  });
}
