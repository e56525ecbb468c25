// Graphs of layout ops with extreme arguments: see op_graph.h. A mismatch is an uncaught exception.
#include "fuzz_target.h"
#include "op_graph.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fovea::test::OpGraph(std::span(data, size)).run();
  return 0;
}
