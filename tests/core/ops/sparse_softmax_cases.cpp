#include <fovea/core/ops/kept_products_detail.h>
#include <fovea/core/ops/sparse_softmax.h>
#include <fovea/core/ops/straight_through.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// The second query is fully masked.
Tensor some_keep() {
  return from_data(std::vector<bool>{true, true, false, true, false, false, false, false}, {2, 4});
}

const bool added = add_grad_cases({
    {"sparsemax", [](const Inputs& x) { return sparsemax(x[0]); }, {randn64({4, 5}, 1)}},
    {"sparsemax",
     [](const Inputs& x) { return masked_sparsemax(x[0], some_keep()); },
     {randn64({2, 2, 2, 4}, 2)}},
    {"entmax15", [](const Inputs& x) { return entmax15(x[0]); }, {randn64({4, 5}, 3)}},
    {"entmax15",
     [](const Inputs& x) { return masked_entmax15(x[0], some_keep()); },
     {randn64({2, 2, 2, 4}, 4)}},
    // With hard = soft the estimate is the derivative; with other values, such as one-hot rows, it
    // is meant to differ: see straight_through's own test.
    {"straight_through",
     [](const Inputs& x) { return straight_through(x[0].detach(), x[0]); },
     {randn64({2, 3}, 5)}},
    {"skip_zero_gradient",
     [](const Inputs& x) { return detail::skip_zero_gradient(x[0]); },
     {randn64({2, 3}, 6)}},
});

}  // namespace
}  // namespace fovea::test
