#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// Both outputs in one tensor, so that each gets a gradient of its own.
Tensor both(const RecurrentOutput& out) { return concat({out.states, out.last}, 0); }

Tensor all(const LstmOutput& out) { return concat({out.states, out.last, out.last_cell}, 0); }

const RaggedIndex lengths({2, 0, 3});

const bool added = add_grad_cases({
    {"gru",
     [](const Inputs& x) {
       return both(gru({x[0], x[1], x[2], x[3]}, lengths));
     },
     {randn64({5, 6}, 1), randn64({6, 2}, 2), randn64({6}, 3), randn64({3, 2}, 4)}},
    {"gru",
     [](const Inputs& x) {
       return both(gru({x[0], x[1], x[2], x[3]}, lengths, /*reverse=*/true));
     },
     {randn64({5, 6}, 1), randn64({6, 2}, 2), randn64({6}, 3), randn64({3, 2}, 4)}},
    {"gru",
     [](const Inputs& x) {
       return both(gru({x[0], x[1], {}, {}}, lengths));
     },
     {randn64({5, 6}, 5), randn64({6, 2}, 6)}},
    {"gru",
     [](const Inputs& x) {
       return gru({x[0], x[1], x[2], {}}, RaggedIndex::equal(2, 2)).states;
     },
     {randn64({4, 9}, 7), randn64({9, 3}, 8), randn64({9}, 9)}},
    {"gru",
     [](const Inputs& x) {
       return gru({x[0], x[1], {}, x[2]}, lengths).last;
     },
     {randn64({5, 3}, 10), randn64({3, 1}, 11), randn64({3, 1}, 12)}},
    {"lstm",
     [](const Inputs& x) {
       return all(lstm({x[0], x[1], x[2], x[3], x[4]}, lengths));
     },
     {randn64({5, 8}, 1), randn64({8, 2}, 2), randn64({8}, 3), randn64({3, 2}, 4),
      randn64({3, 2}, 5)}},
    {"lstm",
     [](const Inputs& x) {
       return all(lstm({x[0], x[1], {}, {}, x[2]}, lengths, /*reverse=*/true));
     },
     {randn64({5, 8}, 6), randn64({8, 2}, 7), randn64({3, 2}, 8)}},
    {"lstm",
     [](const Inputs& x) {
       return lstm({x[0], x[1], x[2], {}, {}}, RaggedIndex::equal(2, 2)).states;
     },
     {randn64({4, 12}, 9), randn64({12, 3}, 10), randn64({12}, 11)}},
    {"lstm",
     [](const Inputs& x) {
       return lstm({x[0], x[1], {}, {}, {}}, lengths).last_cell;
     },
     {randn64({5, 4}, 12), randn64({4, 1}, 13)}},
});

}  // namespace
}  // namespace fovea::test
