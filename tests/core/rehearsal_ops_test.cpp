// Every op can be rehearsed, forwards and backwards, and takes then what it really takes.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/rehearsal.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/grad_cases.h>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

// A case's function and its gradients, from leaves of its own on.
void step(const test::GradCase& c) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : c.inputs) leaves.push_back(x.detach().clone().set_requires_grad());
  const Tensor y = c.f(leaves);
  y.backward(ones(y.shape(), y.dtype()));
}

}  // namespace

TEST_CASE("every op takes in a rehearsal what it takes in earnest") {
  set_num_threads(1);
  REQUIRE(!test::grad_cases().empty());
  for (const test::GradCase& c : test::grad_cases()) {
    CAPTURE(c.op);
    step(c);  // what is made once only
    const MemoryStats before = memory_stats();
    reset_peak_memory();
    step(c);
    const MemoryStats after = memory_stats();
    Rehearsal rehearsal;
    CHECK_NOTHROW(step(c));
    CHECK(rehearsal.allocations() == after.allocations - before.allocations);
    CHECK(std::abs(rehearsal.peak_bytes() - (after.peak_bytes - before.live_bytes)) <=
          32 << 10);  // the counters' slack
    CHECK(rehearsal.live_bytes() == after.live_bytes - before.live_bytes);
  }
}
