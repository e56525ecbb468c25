#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

Tensor ints(const std::vector<int64_t>& values, const Shape& shape) {
  return from_data(values, shape);
}

const Tensor block = randn64({2, 3, 4}, 1);
const Tensor repeated = ints({2, 0, 2, 1, 2}, {5});
const Tensor per_column = ints({0, 2, 1, 1, 0, 0, 2, 2, 1, 1, 1, 1, 0, 2, 0, 0}, {2, 2, 4});
const Tensor keep = from_data(std::vector<bool>{true, false, true}, {3, 1});

// The padding row has no gradient although it affects the value: so it is masked here.
Tensor padded_embedding(const Inputs& x) {
  const Tensor ids = ints({3, 1, 3, 0}, {4});
  return masked_fill(embedding(x[0], ids, 3), unsqueeze(eq(ids, 3), -1), 0.0);
}

const bool added = add_grad_cases({
    {"embedding",
     [](const Inputs& x) {
       return embedding(x[0], ints({3, 1, 3, 0}, {2, 2}));
     },
     {randn64({5, 3}, 2)}},
    {"embedding", padded_embedding, {randn64({5, 3}, 2)}},
    {"index_select", [](const Inputs& x) { return index_select(x[0], 1, repeated); }, {block}},
    {"index_add",
     [](const Inputs& x) { return index_add(x[0], 1, repeated, x[1]); },
     {block, randn64({2, 5, 4}, 2)}},
    {"gather", [](const Inputs& x) { return gather(x[0], 1, per_column); }, {block}},
    {"scatter_add",
     [](const Inputs& x) { return scatter_add(x[0], 1, per_column, x[1]); },
     {block, randn64({2, 2, 4}, 2)}},
    {"index_select", [](const Inputs& x) { return masked_select(x[0], keep); }, {block}},
    {"index_select",
     [](const Inputs& x) {
       return masked_select(x[0], Mask::causal(Mask::Corner::bottom_right) & Mask::lengths({4, 2}));
     },
     {block}},
    {"where", [](const Inputs& x) { return masked_fill(x[0], keep, 3.0); }, {block}},
});

}  // namespace
}  // namespace fovea::test
