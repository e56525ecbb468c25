// The ops that core itself records: copies, ragged batches, and those recorded in a backward only.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ragged.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

Tensor cube(std::span<const Tensor> x) { return x[0] * x[0] * x[0]; }

Tensor slope(const Tensor& y, const Tensor& x) { return grad(y, x, {.create_graph = true}); }

// The round trip through f32 is linear up to rounding, which is small compared to a large step.
constexpr GradcheckOptions in_f32{.step = 1.0, .tolerance = 1e-6};

const bool added = add_grad_cases({
    {"contiguous",
     [](const Inputs& x) { return transpose(x[0], 0, 1).contiguous() * x[1]; },
     {randn64({2, 3}, 1), randn64({3, 2}, 2)}},
    {"clone", [](const Inputs& x) { return x[0].clone() * x[0]; }, {randn64({2, 3}, 1)}},
    {"to",
     [](const Inputs& x) { return x[0].to(DType::f32).to(DType::f64); },
     {randn64({2, 3}, 1)},
     in_f32},
    {"checkpoint",
     [](const Inputs& x) {
       return checkpoint(cube, {&x[0], 1}) * x[1];
     },
     {randn64({3}, 1), randn64({3}, 2)}},
    {"pack_ragged",
     [](const Inputs& x) {
       const Tensor rows = pack(x[0], RaggedIndex({2, 0, 3})).values;
       return rows * rows;
     },
     {randn64({3, 4, 2}, 1)}},
    {"pad_ragged",
     [](const Inputs& x) {
       const Tensor table = pad({x[0], RaggedIndex({2, 0, 3})});
       return table * table;
     },
     {randn64({5, 2}, 1)}},
    // Only in the graph of a gradient: the sum of two gradients, and the inputs of a forward that a
    // backward runs again.
    {"accumulate",
     [](const Inputs& x) { return slope(sum(x[0] * x[0] * x[0]), x[0]); },
     {randn64({3}, 1)}},
    {"identity",
     [](const Inputs& x) {
       return slope(sum(checkpoint(cube, {&x[0], 1})), x[0]);
     },
     {randn64({3}, 1)}},
});

}  // namespace
}  // namespace fovea::test
