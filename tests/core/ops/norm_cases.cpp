#include <fovea/core/ops/norm.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

const bool added = add_grad_cases({
    {"layer_norm",
     [](const std::vector<Tensor>& x) { return layer_norm(x[0], x[1], x[2]); },
     {randn64({2, 2, 5}, 1), randn64({5}, 2), randn64({5}, 3)}},
    {"layer_norm",
     [](const std::vector<Tensor>& x) { return layer_norm(x[0]); },
     {randn64({3, 4}, 4)}},
    {"rms_norm",
     [](const std::vector<Tensor>& x) { return rms_norm(x[0], x[1]); },
     {randn64({2, 2, 5}, 5), randn64({5}, 6)}},
    {"rms_norm", [](const std::vector<Tensor>& x) { return rms_norm(x[0]); }, {randn64({3, 4}, 7)}},
});

}  // namespace
}  // namespace fovea::test
