#include <fovea/core/ops/elementwise.h>
#include <fovea/tests/support/grad_cases.h>

namespace fovea::test {
namespace {

using Inputs = std::vector<Tensor>;

// Functions of one tensor. Inputs are far enough from kinks and poles for finite differences.
const bool unary_added = add_grad_cases({
    {"square", [](const Inputs& x) { return square(x[0]); }, {randn64({3, 4}, 1)}},
    {"sqrt", [](const Inputs& x) { return sqrt(x[0]); }, {uniform64({3, 4}, 0.5, 2, 2)}},
    {"rsqrt", [](const Inputs& x) { return rsqrt(x[0]); }, {uniform64({3, 4}, 0.5, 2, 3)}},
    {"exp", [](const Inputs& x) { return exp(x[0]); }, {randn64({3, 4}, 4)}},
    {"log", [](const Inputs& x) { return log(x[0]); }, {uniform64({3, 4}, 0.5, 2, 5)}},
    {"erf", [](const Inputs& x) { return erf(x[0]); }, {randn64({3, 4}, 6)}},
    {"tanh", [](const Inputs& x) { return tanh(x[0]); }, {randn64({3, 4}, 7)}},
    {"sigmoid", [](const Inputs& x) { return sigmoid(x[0]); }, {randn64({3, 4}, 8)}},
    {"relu", [](const Inputs& x) { return relu(x[0]); }, {away_from_zero64({3, 4}, 0.1, 9)}},
    {"leaky_relu",
     [](const Inputs& x) { return leaky_relu(x[0], 0.3); },
     {away_from_zero64({3, 4}, 0.1, 10)}},
    {"gelu", [](const Inputs& x) { return gelu(x[0]); }, {randn64({3, 4}, 11)}},
    {"gelu_tanh", [](const Inputs& x) { return gelu(x[0], Gelu::tanh); }, {randn64({3, 4}, 12)}},
    {"silu", [](const Inputs& x) { return silu(x[0]); }, {randn64({3, 4}, 13)}},
    {"softplus", [](const Inputs& x) { return softplus(x[0]); }, {randn64({3, 4}, 14)}},
    {"abs", [](const Inputs& x) { return abs(x[0]); }, {away_from_zero64({3, 4}, 0.1, 15)}},
    {"clamp",
     [](const Inputs& x) { return clamp(x[0], -0.05, 5); },
     {away_from_zero64({3, 4}, 0.1, 16)}},
});

const bool number_added = add_grad_cases({
    {"add_number", [](const Inputs& x) { return x[0] + 2.0; }, {randn64({5}, 20)}},
    {"number_sub", [](const Inputs& x) { return 2.0 - x[0]; }, {randn64({5}, 21)}},
    {"mul_number", [](const Inputs& x) { return -3.0 * x[0]; }, {randn64({5}, 22)}},
    {"div_number", [](const Inputs& x) { return x[0] / 3.0; }, {randn64({5}, 23)}},
    {"div", [](const Inputs& x) { return 3.0 / x[0]; }, {away_from_zero64({5}, 0.5, 24)}},
    {"pow_number", [](const Inputs& x) { return pow(x[0], 3); }, {randn64({5}, 25)}},
    {"pow_number", [](const Inputs& x) { return pow(x[0], 0); }, {randn64({5}, 26)}},
    {"pow_number", [](const Inputs& x) { return pow(x[0], -1.5); }, {uniform64({5}, 0.5, 2, 27)}},
});

// Broadcasts the first, the second, both, or neither operand.
const bool binary_added = add_grad_cases({
    {"add",
     [](const Inputs& x) { return x[0] + x[1]; },
     {randn64({2, 3}, 30), randn64({2, 3}, 31)}},
    {"add", [](const Inputs& x) { return x[0] + x[1]; }, {randn64({2, 1}, 32), randn64({3}, 33)}},
    {"sub", [](const Inputs& x) { return x[0] - x[1]; }, {randn64({3}, 34), randn64({2, 3}, 35)}},
    {"mul",
     [](const Inputs& x) { return x[0] * x[1]; },
     {randn64({2, 3}, 36), randn64({2, 3}, 37)}},
    {"mul",
     [](const Inputs& x) { return x[0] * x[1]; },
     {randn64({2, 1, 3}, 38), randn64({4, 1}, 39)}},
    {"mul", [](const Inputs& x) { return x[0] * x[0]; }, {randn64({2, 3}, 40)}},
    {"div",
     [](const Inputs& x) { return x[0] / x[1]; },
     {randn64({2, 3}, 41), away_from_zero64({2, 3}, 0.5, 42)}},
    {"div",
     [](const Inputs& x) { return x[0] / x[1]; },
     {randn64({}, 43), away_from_zero64({2, 3}, 0.5, 44)}},
    {"pow",
     [](const Inputs& x) { return pow(x[0], x[1]); },
     {uniform64({2, 3}, 0.5, 2, 45), randn64({2, 3}, 46)}},
    {"pow",
     [](const Inputs& x) { return pow(x[0], x[1]); },
     {uniform64({2, 1}, 0.5, 2, 47), randn64({3}, 48)}},
    {"maximum",
     [](const Inputs& x) { return maximum(x[0], x[1]); },
     {randn64({3, 4}, 49), randn64({3, 4}, 50)}},
    {"maximum",
     [](const Inputs& x) { return maximum(x[0], x[1]); },
     {randn64({3, 4}, 51), randn64({4}, 52)}},
    {"minimum",
     [](const Inputs& x) { return minimum(x[0], x[1]); },
     {randn64({3, 4}, 53), randn64({3, 4}, 54)}},
    {"where",
     [](const Inputs& x) {
       return where(randn64({3, 4}, 55) > 0.0, x[0], x[1]);
     },
     {randn64({3, 1}, 56), randn64({4}, 57)}},
    // Operands of one shape, and a larger condition.
    {"where",
     [](const Inputs& x) {
       return where(randn64({3, 4}, 60) > 0.0, square(x[0]), x[1] * x[0]);
     },
     {randn64({4}, 61), randn64({4}, 62)}},
    {"where",
     [](const Inputs& x) {
       return where(randn64({2, 3, 4}, 63) > 0.0, x[0], x[1]);
     },
     {randn64({3, 1}, 64), randn64({3, 1}, 65)}},
    {"where",
     [](const Inputs& x) {
       return where(randn64({2, 3}, 66) > 0.0, square(x[0]), 0.5);
     },
     {randn64({}, 67)}},
    {"pow",
     [](const Inputs& x) { return pow(x[0], x[1]); },
     {uniform64({}, 0.5, 2, 68), randn64({2, 3}, 69)}},
    {"where",
     [](const Inputs& x) { return where(randn64({4}, 58) > 0.0, x[0], 7.0); },
     {randn64({3, 4}, 59)}},
});

}  // namespace
}  // namespace fovea::test
