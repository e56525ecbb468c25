#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/rope.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// B = 2, H = 2, T = 3, D = 6
const Tensor heads = randn64({2, 2, 3, 6}, 1);
const Tensor of_rows =
    from_data(std::vector<std::int64_t>{0, 1, 2, 7, 3, 100}, {2, 3});  // different per row

const bool added = add_grad_cases({
    {"rope", [](const Inputs& x) { return rope(x[0], arange(3)); }, {heads}},
    {"rope",
     [](const Inputs& x) {
       return rope(x[0], of_rows, {.base = 100, .pairing = RopePairing::halves, .dims = 4});
     },
     {heads}},
    {"rope",  // (B, T, H, D) in memory, as after a projection
     [](const Inputs& x) { return rope(transpose(x[0], 1, 2), of_rows); },
     {randn64({2, 3, 2, 4}, 2)}},
});

}  // namespace
}  // namespace fovea::test
