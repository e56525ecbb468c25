#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

Tensor product(const Inputs& x) { return matmul(x[0], x[1]); }
Tensor with_bias(const Inputs& x) { return linear(x[0], x[1], x[2]); }

const bool added = add_grad_cases({
    {"matmul", product, {randn64({2, 3}, 1), randn64({3, 4}, 2)}},
    {"matmul", product, {randn64({3}, 1), randn64({3}, 2)}},
    {"matmul", product, {randn64({3}, 1), randn64({2, 3, 2}, 2)}},
    {"matmul", product, {randn64({2, 2, 3}, 1), randn64({3}, 2)}},
    {"matmul", product, {randn64({2, 2, 3}, 1), randn64({2, 3, 2}, 2)}},
    // a shared right factor: its gradient is one product over all rows
    {"matmul", product, {randn64({2, 2, 3}, 1), randn64({3, 2}, 2)}},
    // broadcast on both sides: gradients accumulate over part of the batch
    {"matmul", product, {randn64({2, 1, 2, 3}, 1), randn64({3, 3, 2}, 2)}},
    // transposed factors
    {"matmul",
     [](const Inputs& x) { return matmul(transpose(x[0], -1, -2), transpose(x[1], -1, -2)); },
     {randn64({2, 3, 2}, 1), randn64({2, 4, 3}, 2)}},
    {"linear", with_bias, {randn64({2, 3}, 1), randn64({4, 3}, 2), randn64({4}, 3)}},
    {"linear", with_bias, {randn64({2, 2, 3}, 1), randn64({2, 3}, 2), randn64({2}, 3)}},
    {"linear",
     [](const Inputs& x) { return linear(x[0], x[1]); },
     {randn64({2, 3}, 1), randn64({2, 3}, 2)}},
});

}  // namespace
}  // namespace fovea::test
