// Every op supports dry runs, forward and backward, with the memory use of a real run.
#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/grad_cases.h>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

// A case's function and its gradients, with new leaves.
void step(const test::GradCase& c) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : c.inputs) leaves.push_back(x.detach().clone().set_requires_grad());
  const Tensor y = c.f(leaves);
  y.backward(ones(y.shape(), y.dtype()));
}

}  // namespace

TEST_CASE("every op uses the same memory in a dry run as in a real run") {
  set_num_threads(1);
  REQUIRE(!test::grad_cases().empty());
  for (const test::GradCase& c : test::grad_cases()) {
    CAPTURE(c.op);
    step(c);  // for one-time allocations
    const MemoryStats before = memory_stats();
    reset_peak_memory();
    step(c);
    const MemoryStats after = memory_stats();
    DryRun dry_run;
    CHECK_NOTHROW(step(c));
    CHECK(dry_run.allocations() == after.allocations - before.allocations);
    CHECK(std::abs(dry_run.peak_bytes() - (after.peak_bytes - before.live_bytes)) <=
          32 << 10);  // the counters' slack
    CHECK(dry_run.live_bytes() == after.live_bytes - before.live_bytes);
  }
}
