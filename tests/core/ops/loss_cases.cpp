#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

Tensor targets() { return from_data(std::vector<std::int64_t>{2, -100, 0, 4}, {2, 2}); }

// Only cross_entropy has its own backward; the others are compositions of tested ops, and are
// checked here as whole formulas, under the name of one of their ops.
const bool added = add_grad_cases({
    {"cross_entropy",
     [](const std::vector<Tensor>& x) { return cross_entropy(x[0], targets()); },
     {randn64({2, 2, 5}, 1)}},
    {"cross_entropy",
     [](const std::vector<Tensor>& x) {
       return cross_entropy(x[0], targets(),
                            {.ignore_index = -100,
                             .label_smoothing = 0.2,
                             .weight = uniform64({5}, 0.5, 2, 3),
                             .reduction = Reduction::none});
     },
     {randn64({2, 2, 5}, 2)}},
    {"gather",
     [](const std::vector<Tensor>& x) {
       return nll_loss(x[0], targets(), {.weight = uniform64({5}, 0.5, 2, 3)});
     },
     {randn64({2, 2, 5}, 4)}},
    {"square",
     [](const std::vector<Tensor>& x) { return mse_loss(x[0], x[1]); },
     {randn64({2, 3}, 5), randn64({2, 3}, 6)}},
    {"abs",
     [](const std::vector<Tensor>& x) {
       return l1_loss(x[0], zeros({2, 3}, DType::f64), Reduction::sum);
     },
     {away_from_zero64({2, 3}, 0.1, 7)}},
    {"where",
     [](const std::vector<Tensor>& x) { return smooth_l1_loss(x[0], x[1], 0.7); },
     {randn64({3, 3}, 8), randn64({3, 3}, 9)}},
    {"softplus",
     [](const std::vector<Tensor>& x) {
       return bce_with_logits(x[0], x[1], {.pos_weight = uniform64({3}, 0.5, 2, 10)});
     },
     {randn64({2, 3}, 11), uniform64({2, 3}, 0, 1, 12)}},
    {"log",
     [](const std::vector<Tensor>& x) {
       return kl_div(log_softmax(x[0]), x[1], {.reduction = Reduction::batchmean});
     },
     {randn64({2, 3}, 13), uniform64({2, 3}, 0.1, 1, 14)}},
    {"exp",
     [](const std::vector<Tensor>& x) { return kl_div(x[0], x[1], {.log_target = true}); },
     {randn64({2, 3}, 15), randn64({2, 3}, 16)}},
});

}  // namespace
}  // namespace fovea::test
