#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/scan.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// Both outputs in one tensor, so that each gets its own gradient.
Tensor both(const ScanOutput& out) { return concat({out.states, out.last}, 0); }

const RaggedIndex lengths({2, 0, 3});

const bool added = add_grad_cases({
    {"linear_recurrence",
     [](const Inputs& x) { return both(linear_recurrence(x[0], x[1], x[2], lengths)); },
     {randn64({5, 2}, 1), randn64({5, 2}, 2), randn64({3, 2}, 3)}},
    {"linear_recurrence",
     [](const Inputs& x) {
       return both(linear_recurrence(x[0], x[1], x[2], lengths, /*reverse=*/true));
     },
     {randn64({3}, 4), randn64({5, 3}, 5), randn64({3, 3}, 6)}},
    {"linear_recurrence",
     [](const Inputs& x) { return linear_recurrence(x[0], x[1], {}, lengths).states; },
     {randn64({5, 1}, 7), randn64({5, 1}, 8)}},
    {"linear_recurrence",
     [](const Inputs& x) { return linear_recurrence(x[0], x[1], x[2], lengths).last; },
     {randn64({2}, 9), randn64({5, 2}, 10), randn64({3, 2}, 11)}},
    {"complex_linear_recurrence",
     [](const Inputs& x) { return both(complex_linear_recurrence(x[0], x[1], x[2], lengths)); },
     {randn64({5, 4}, 1), randn64({5, 4}, 2), randn64({3, 4}, 3)}},
    {"complex_linear_recurrence",
     [](const Inputs& x) {
       return both(complex_linear_recurrence(x[0], x[1], x[2], lengths, /*reverse=*/true));
     },
     {randn64({2}, 4), randn64({5, 2}, 5), randn64({3, 2}, 6)}},
    {"complex_linear_recurrence",
     [](const Inputs& x) { return complex_linear_recurrence(x[0], x[1], {}, lengths).last; },
     {randn64({4}, 7), randn64({5, 4}, 8)}},
    {"polar",
     [](const Inputs& x) { return polar(x[0], x[1]); },
     {randn64({3}, 1), randn64({3}, 2)}},
});

}  // namespace
}  // namespace fovea::test
