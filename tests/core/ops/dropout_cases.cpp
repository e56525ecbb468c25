#include <fovea/core/ops/dropout.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

const bool added = add_grad_cases({
    {"dropout",
     [](const std::vector<Tensor>& x) {
       Rng rng(11);  // new in every call: finite differences need the same mask
       return dropout(x[0], 0.4, rng);
     },
     {randn64({3, 5}, 1)}},
    {"relu_dropout",
     [](const std::vector<Tensor>& x) {
       Rng rng(12);
       return relu_dropout(x[0], 0.4, rng);
     },
     {randn64({3, 5}, 2)}},
});

}  // namespace
}  // namespace fovea::test
