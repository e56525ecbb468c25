#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// An op over some axes, with and without keepdim.
template <class Op>
TensorFunction over(Op op, Axes axes, bool keepdim = false) {
  return [=](const Inputs& x) { return op(x[0], axes, keepdim); };
}

Tensor biased_var(const Tensor& x, const Axes& axes, bool keepdim) {
  return var(x, axes, 0.0, keepdim);
}
Tensor largest(const Inputs& x) { return max_with_index(x[0], 1).first; }
Tensor smallest(const Inputs& x) { return min_with_index(x[0], 0, true).first; }

const Tensor block = randn64({2, 3, 4}, 1);

const bool added = add_grad_cases({
    {"sum", over(sum, {}), {block}},
    {"sum", over(sum, -1), {block}},
    {"sum", over(sum, {0, 2}, true), {block}},
    {"sum", over(sum, {}), {randn64({}, 2)}},
    {"mean", over(mean, {}), {block}},
    {"mean", over(mean, {0, 2}), {block}},
    {"mean", over(mean, 1, true), {block}},
    {"var", over(biased_var, {}), {block}},
    {"var", over(biased_var, {0, 2}, true), {block}},
    {"var", [](const Inputs& x) { return var(x[0], 1); }, {block}},
    {"max", over(max, {}), {block}},
    {"max", over(max, {0, 2}, true), {block}},
    {"min", over(min, {}), {block}},
    {"min", over(min, 1), {block}},
    {"max_with_index", largest, {block}},
    {"min_with_index", smallest, {block}},
    {"logsumexp", over(logsumexp, {}), {block}},
    {"logsumexp", over(logsumexp, {0, 2}, true), {block}},
    {"logsumexp", over(logsumexp, 1), {block}},
    {"cumsum", [](const Inputs& x) { return cumsum(x[0], 1); }, {block}},
    {"cumsum", [](const Inputs& x) { return cumsum(x[0], -1); }, {block}},
    {"sum",
     [](const Inputs& x) {
       return sum_to(x[0], {3, 1});
     },
     {block}},
});

}  // namespace
}  // namespace fovea::test
