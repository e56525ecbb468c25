#include <fovea/core/ops/softmax.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

// The second query is fully masked.
Tensor some_keep() {
  return from_data(std::vector<bool>{true, true, false, false, false, false}, {2, 3});
}

const bool added = add_grad_cases({
    {"softmax", [](const std::vector<Tensor>& x) { return softmax(x[0]); }, {randn64({3, 5}, 1)}},
    {"softmax",
     [](const std::vector<Tensor>& x) { return softmax(x[0], 0); },
     {randn64({3, 2, 2}, 2)}},
    {"log_softmax",
     [](const std::vector<Tensor>& x) { return log_softmax(x[0]); },
     {randn64({3, 5}, 3)}},
    {"log_softmax",
     [](const std::vector<Tensor>& x) { return log_softmax(x[0], 1); },
     {randn64({2, 3, 2}, 4)}},
    {"masked_softmax",
     [](const std::vector<Tensor>& x) { return masked_softmax(x[0], some_keep()); },
     {randn64({2, 2, 2, 3}, 5)}},
});

}  // namespace
}  // namespace fovea::test
