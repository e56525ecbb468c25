#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// Several outputs combined with different weights, so that swapped gradients are detected.
Tensor weighted(const std::vector<Tensor>& parts) {
  Tensor all = reshape(parts[0], {-1});
  for (std::size_t i = 1; i < parts.size(); ++i)
    all = concat({all, static_cast<double>(i + 1) * reshape(parts[i], {-1})});
  return all;
}

const Tensor block = randn64({2, 3, 4}, 1);

const bool added = add_grad_cases({
    {"reshape",
     [](const Inputs& x) {
       return reshape(x[0], {4, -1});
     },
     {block}},
    {"reshape",
     [](const Inputs& x) {
       return reshape(transpose(x[0], 0, 2), {6, 4});
     },
     {block}},
    {"reshape", [](const Inputs& x) { return view(x[0], {24}); }, {block}},
    {"reshape", [](const Inputs& x) { return squeeze(x[0]); }, {randn64({1, 3, 1}, 2)}},
    {"reshape", [](const Inputs& x) { return squeeze(x[0], 0); }, {randn64({1, 3, 1}, 2)}},
    {"reshape", [](const Inputs& x) { return unsqueeze(x[0], 1); }, {block}},
    {"expand",
     [](const Inputs& x) {
       return expand(x[0], {2, -1, 4});
     },
     {randn64({3, 1}, 2)}},
    {"expand",
     [](const Inputs& x) {
       return broadcast_to(x[0], {2, 2});
     },
     {randn64({}, 2)}},
    {"transpose", [](const Inputs& x) { return transpose(x[0], 0, -1); }, {block}},
    {"permute",
     [](const Inputs& x) {
       return permute(x[0], {2, 0, 1});
     },
     {block}},
    {"flip",
     [](const Inputs& x) {
       return flip(x[0], {0, 2});
     },
     {block}},
    {"slice", [](const Inputs& x) { return slice(x[0], 1, 1, 3); }, {block}},
    {"slice", [](const Inputs& x) { return slice(x[0], 2, 1, 4, 2); }, {block}},
    {"slice", [](const Inputs& x) { return slice(x[0], 0, 1, 7, 3); }, {randn64({7, 2}, 2)}},
    {"slice", [](const Inputs& x) { return slice(x[0], 0, 0, 7, 4); }, {randn64({7, 2}, 2)}},
    {"slice", [](const Inputs& x) { return narrow(x[0], -1, 2, 2); }, {block}},
    {"select", [](const Inputs& x) { return select(x[0], 1, -1); }, {block}},
    {"pad",
     [](const Inputs& x) {
       return pad(x[0], {1, 2, 0, 3}, 7.0);
     },
     {block}},
    {"concat",
     [](const Inputs& x) {
       return concat({x[0], x[1], x[0]}, 1);
     },
     {block, randn64({2, 1, 4}, 2)}},
    {"stack",
     [](const Inputs& x) {
       return stack({x[0], x[1]}, -1);
     },
     {block, randn64({2, 3, 4}, 2)}},
    {"split",
     [](const Inputs& x) {
       return weighted(split(x[0], {1, 0, 3}, -1));
     },
     {block}},
    {"split", [](const Inputs& x) { return split(x[0], 2, 1)[1]; }, {block}},
    {"split", [](const Inputs& x) { return weighted(chunk(x[0], 2, 1)); }, {block}},
    {"unbind", [](const Inputs& x) { return weighted(unbind(x[0], 1)); }, {block}},
    {"unbind", [](const Inputs& x) { return unbind(x[0], 2)[3]; }, {block}},
});

}  // namespace
}  // namespace fovea::test
