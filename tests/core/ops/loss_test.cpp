#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/random.h>
#include <fovea/tests/support/compare.h>

#include <limits>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr float inf = std::numeric_limits<float>::infinity();

Tensor classes(std::vector<std::int64_t> numbers) {
  const auto n = static_cast<std::int64_t>(numbers.size());
  return from_data(numbers, {n});
}

using Loss = Tensor (*)(const Tensor&, const Tensor&, const CrossEntropyOptions&);

// d loss / d logits; per-row losses get random weights.
Tensor gradient_of(Loss loss, const Tensor& logits, const Tensor& targets,
                   const CrossEntropyOptions& options) {
  Tensor x = logits.clone();
  x.set_requires_grad();
  const Tensor y = loss(x, targets, options);
  Rng rng(8);
  y.backward(randn(y.shape(), rng, y.dtype()));
  return x.grad();
}

}  // namespace

TEST_CASE("cross_entropy: values by hand") {
  const Tensor logits = tensor({{0, std::log(3.0f)}, {0, 0}});
  const float quarter = -std::log(0.25f), half = -std::log(0.5f);
  const Tensor targets = classes({0, 1});
  CHECK(cross_entropy(logits, targets).item() == doctest::Approx((quarter + half) / 2));
  CHECK(cross_entropy(logits, targets, {.reduction = Reduction::sum}).item() ==
        doctest::Approx(quarter + half));
  CHECK(max_difference(cross_entropy(logits, targets, {.reduction = Reduction::none}),
                       tensor({quarter, half})) <= 1e-6);
}

TEST_CASE("cross_entropy: a weighted mean divides by the weights of the targets") {
  const Tensor logits = tensor({{0, std::log(3.0f)}, {0, 0}});
  const float quarter = -std::log(0.25f), half = -std::log(0.5f);
  CHECK(cross_entropy(logits, classes({0, 1}), {.weight = tensor({1, 3})}).item() ==
        doctest::Approx((quarter + 3 * half) / 4));
}

TEST_CASE("cross_entropy: values and gradients equal the reference, for all options") {
  for (const DType dtype : {DType::f32, DType::f64}) {
    Rng rng(1);
    const Tensor logits = 2.0 * randn({3, 4, 7}, rng, dtype);
    const Tensor weight = rand({7}, rng, dtype);
    std::vector<std::int64_t> numbers;
    for (std::int64_t row = 0; row < 12; ++row) numbers.push_back(row * 5 % 7);
    const Tensor targets = from_data(numbers, {3, 4});
    const double bound = dtype == DType::f32 ? 3e-5 : 1e-13;
    for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum})
      for (const double smoothing : {0.0, 0.1})
        for (const std::int64_t ignored : {-100, 3})
          for (const bool weighted : {false, true}) {
            const CrossEntropyOptions options{.ignore_index = ignored,
                                              .label_smoothing = smoothing,
                                              .weight = weighted ? weight : Tensor(),
                                              .reduction = reduction};
            CAPTURE(smoothing);
            CAPTURE(ignored);
            CAPTURE(weighted);
            CHECK(max_difference(cross_entropy(logits, targets, options),
                                 cross_entropy_reference(logits, targets, options)) <= bound);
            CHECK(max_difference(gradient_of(cross_entropy, logits, targets, options),
                                 gradient_of(cross_entropy_reference, logits, targets, options)) <=
                  bound);
          }
  }
}

TEST_CASE("cross_entropy: if all targets are ignored, loss and gradient are 0") {
  Tensor logits = ones({2, 3});
  logits.set_requires_grad();
  const Tensor loss = cross_entropy(logits, classes({-100, -100}));
  CHECK(loss.item() == 0);
  loss.backward();
  CHECK(logits.grad().to_vector<float>() == std::vector<float>(6, 0));
  CHECK(cross_entropy(zeros({0, 3}), classes({})).item() == 0);
}

TEST_CASE("cross_entropy: padding has no effect, even with NaN logits") {
  Rng rng(2);
  const Tensor real = randn({3, 5}, rng);
  const Tensor padded = concat({real, full({2, 5}, std::nan(""))}, 0);
  const Tensor loss = cross_entropy(real, classes({0, 4, 2}));
  CHECK(cross_entropy(padded, classes({0, 4, 2, -100, -100})).item() == loss.item());
}

TEST_CASE("cross_entropy: one class, impossible classes, logits far apart") {
  CHECK(cross_entropy(full({1, 1}, 5), classes({0})).item() == 0);
  CHECK(cross_entropy(tensor({{-inf, 0, 0}}), classes({1})).item() == doctest::Approx(std::log(2)));
  CHECK(cross_entropy(tensor({{-inf, 0, 0}}), classes({0})).item() == inf);
  CHECK(cross_entropy(tensor({{1e30f, 0}}), classes({1})).item() == doctest::Approx(1e30));
}

TEST_CASE("cross_entropy: logits and targets may be views") {
  Rng rng(3);
  const Tensor logits = randn({5, 4}, rng);
  const Tensor turned = transpose(logits, 0, 1);
  const Tensor targets = transpose(from_data(std::vector<std::int64_t>{0, 1, 2, 3}, {1, 4}), 0, 1);
  CHECK(cross_entropy(turned, squeeze(targets, 1)).item() ==
        cross_entropy(turned.clone(), classes({0, 1, 2, 3})).item());
}

TEST_CASE("cross_entropy: errors") {
  const Tensor x = zeros({2, 3});
  CHECK(message_of<IndexError>([&] {
          cross_entropy(x, classes({2, 3}));
        }) == "cross_entropy: target 3 in row 1: must be in [0, 3)");
  CHECK(message_of<IndexError>([&] {
          cross_entropy(x, classes({-1, 0}));
        }) == "cross_entropy: target -1 in row 0: must be in [0, 3)");
  CHECK(message_of<ShapeError>([&] {
          cross_entropy(x, classes({0, 1, 2}));
        }) == "cross_entropy: input (2, 3) and targets (3,): must be (N.., V) and (N..)");
  CHECK(message_of<ShapeError>([&] { cross_entropy(scalar(1), classes({0})); }) ==
        "cross_entropy: input (): its last axis must hold the classes");
  CHECK(message_of<DTypeError>([&] { cross_entropy(x, zeros({2})); }) ==
        "cross_entropy: targets are f32: must be i64");
  CHECK(message_of<DTypeError>([&] {
          cross_entropy(x.to(DType::i64), classes({0, 1}));
        }) == "cross_entropy: needs f32 or f64, and got i64");
  CHECK(message_of<ShapeError>([&] {
          cross_entropy(x, classes({0, 1}), {.weight = ones({2})});
        }) == "cross_entropy: weight (2,) for 3 classes: must have one element per class");
  CHECK(message_of<DTypeError>([&] {
          cross_entropy(x, classes({0, 1}), {.weight = ones({3}, DType::f64)});
        }) == "cross_entropy: input is f32, weight is f64: dtypes must be equal");
  CHECK(message_of<ValueError>([&] {
          cross_entropy(x, classes({0, 1}), {.label_smoothing = 1.5});
        }) == "cross_entropy: label_smoothing = 1.5: must be in [0, 1]");
  CHECK(message_of<ValueError>([&] {
          cross_entropy(x, classes({0, 1}), {.reduction = Reduction::batchmean});
        }) ==
        "cross_entropy: Reduction::batchmean: must be none, mean or sum, batchmean is for kl_div "
        "only");
}

TEST_CASE("cross_entropy, nll_loss: errors suggest that the classes are on axis 1") {
  const std::string advice =
      "; if the classes are on axis 1, as in PyTorch's (N, V, d..), move them to the last axis";
  const auto zero_targets = [](const Shape& shape) { return zeros(shape, DType::i64); };
  CHECK(message_of<ShapeError>([&] {
          cross_entropy(zeros({2, 5, 3}), zero_targets({2, 3}));
        }) ==
        "cross_entropy: input (2, 5, 3) and targets (2, 3): must be (N.., V) and (N..)" + advice);
  CHECK(message_of<ShapeError>([&] {
          nll_loss(zeros({2, 5, 3, 4}), zero_targets({2, 3, 4}));
        }).ends_with(advice));
  CHECK(message_of<ShapeError>([&] {
          cross_entropy_reference(zeros({2, 5, 3}), zero_targets({2, 4}));
        }) == "cross_entropy: input (2, 5, 3) and targets (2, 4): must be (N.., V) and (N..)");
}

TEST_CASE("nll_loss of log_softmax is cross_entropy") {
  Rng rng(4);
  const Tensor x = randn({5, 6}, rng, DType::f64), weight = rand({6}, rng, DType::f64);
  const Tensor targets = classes({0, 5, 2, 2, 1});
  for (const Reduction reduction : {Reduction::none, Reduction::mean, Reduction::sum})
    CHECK(max_difference(
              nll_loss(log_softmax(x), targets,
                       {.ignore_index = 2, .weight = weight, .reduction = reduction}),
              cross_entropy(x, targets,
                            {.ignore_index = 2, .weight = weight, .reduction = reduction})) <=
          1e-14);
}

TEST_CASE("nll_loss: impossible classes do not affect the others; errors") {
  const Tensor log_probs = tensor({{-inf, 0}, {-inf, -1}});
  CHECK(nll_loss(log_probs, classes({1, -100})).item() == 0);
  CHECK(nll_loss(log_probs, classes({-100, -100})).item() == 0);
  CHECK(message_of<IndexError>([&] {
          nll_loss(log_probs, classes({1, 2}));
        }) == "nll_loss: target 2 in row 1: must be in [0, 2)");
  CHECK(message_of<DTypeError>([&] {
          nll_loss(log_probs.to(DType::i64), classes({1, 1}));
        }) == "nll_loss: needs f32 or f64, and got i64");
}

// As a double it would be out of the i64 range, or equal to the rounded value of other integers.
TEST_CASE("cross_entropy and nll_loss: ignore_index may be any i64") {
  const Tensor x = tensor({{0, 1}, {2, 5}});
  for (const std::int64_t ignored :
       {std::numeric_limits<std::int64_t>::min(), std::numeric_limits<std::int64_t>::max()}) {
    CAPTURE(ignored);
    const Tensor some = classes({1, ignored}), first = slice(x, 0, 0, 1);
    CHECK(cross_entropy(x, some, {.ignore_index = ignored}).item() ==
          cross_entropy(first, classes({1})).item());
    CHECK(nll_loss(x, some, {.ignore_index = ignored}).item() == -1);
    CHECK_THROWS_AS(nll_loss(x, classes({1, ignored ^ 1}), {.ignore_index = ignored}), IndexError);
  }
}

TEST_CASE("mse, l1 and smooth_l1: values by hand, all reductions") {
  const Tensor a = tensor({1, 2, 5}), b = tensor({1, 4, 2});
  CHECK(mse_loss(a, b).item() == doctest::Approx(13.0 / 3));
  CHECK(mse_loss(a, b, Reduction::sum).item() == 13);
  CHECK(mse_loss(a, b, Reduction::none).to_vector<float>() == std::vector<float>{0, 4, 9});
  CHECK(l1_loss(a, b, Reduction::none).to_vector<float>() == std::vector<float>{0, 2, 3});
  CHECK(smooth_l1_loss(a, b, 2.5, Reduction::none).to_vector<float>() ==
        std::vector<float>{0, 0.8f, 1.75f});
  CHECK(smooth_l1_loss(a, b, 0, Reduction::none).to_vector<float>() ==
        l1_loss(a, b, Reduction::none).to_vector<float>());
}

TEST_CASE("smooth_l1: the second derivative at the target itself is 1 / beta") {
  const Tensor x = tensor({3}).set_requires_grad();
  const Tensor first = grad(smooth_l1_loss(x, tensor({3}), 4), x, {.create_graph = true});
  CHECK(first.item() == 0);
  CHECK(grad(first, x).item() == 0.25f);
}

TEST_CASE("bce_with_logits: equals the formula; large logits stay finite; weights") {
  const Tensor x = tensor({-1.5f, 0.25f, 2}), t = tensor({0, 1, 0.3f});
  const auto want = [](float logit, float target, float positive) {
    const double s = 1 / (1 + std::exp(-double{logit}));
    return static_cast<float>(-(positive * target * std::log(s) + (1 - target) * std::log(1 - s)));
  };
  const Tensor plain = tensor({want(-1.5f, 0, 1), want(0.25f, 1, 1), want(2, 0.3f, 1)});
  CHECK(max_difference(bce_with_logits(x, t, {.reduction = Reduction::none}), plain) <= 1e-6);
  const Tensor positive =
      tensor({2 * want(-1.5f, 0, 3), 2 * want(0.25f, 1, 4), 2 * want(2, 0.3f, 5)});
  const BceOptions options{
      .weight = full({1}, 2), .pos_weight = tensor({3, 4, 5}), .reduction = Reduction::none};
  CHECK(max_difference(bce_with_logits(x, t, options), positive) <= 4e-6);
  CHECK(bce_with_logits(tensor({-800, 800}), tensor({1, 0}), {.reduction = Reduction::none})
            .to_vector<float>() == std::vector<float>{800, 800});
  CHECK(bce_with_logits(tensor({-800, 800}), tensor({0, 1})).item() == 0);
}

TEST_CASE("kl_div: by hand, 0 log 0 = 0, and the same for log targets") {
  const Tensor input = log(tensor({{0.5f, 0.5f}, {0.25f, 0.75f}}));
  const Tensor target = tensor({{1, 0}, {0.5f, 0.5f}});
  const double first = std::log(2.0);
  const double second = 0.5 * std::log(0.5 / 0.25) + 0.5 * std::log(0.5 / 0.75);
  CHECK(kl_div(input, target, {.reduction = Reduction::batchmean}).item() ==
        doctest::Approx((first + second) / 2));
  CHECK(kl_div(input, target).item() == doctest::Approx((first + second) / 4));
  const Tensor soft = tensor({{0.9f, 0.1f}, {0.5f, 0.5f}});
  CHECK(max_difference(kl_div(input, log(soft), {.log_target = true, .reduction = Reduction::none}),
                       kl_div(input, soft, {.reduction = Reduction::none})) <= 1e-6);
  // A probability that underflows to 0 counts as 0.
  CHECK(kl_div(tensor({-inf, -inf}), tensor({-200, -inf}),
               {.log_target = true, .reduction = Reduction::none})
            .to_vector<float>() == std::vector<float>{0, 0});
  CHECK(message_of<ShapeError>([] {
          kl_div(scalar(0), scalar(1), {.reduction = Reduction::batchmean});
        }) == "kl_div: input (): batchmean needs a batch axis");
}

TEST_CASE("elementwise losses: errors") {
  const Tensor a = zeros({3, 1}), b = zeros({3});
  CHECK(message_of<ShapeError>([&] { mse_loss(a, b); }) ==
        "mse_loss: input (3, 1) and target (3,): must have the same shape");
  CHECK(message_of<ShapeError>([&] { l1_loss(a, b); }).find("l1_loss: ") == 0);
  CHECK(message_of<ShapeError>([&] { bce_with_logits(a, b); }).find("bce_with_logits: ") == 0);
  CHECK(message_of<ShapeError>([&] { kl_div(a, b); }).find("kl_div: ") == 0);
  CHECK(message_of<ShapeError>([&] {
          bce_with_logits(b, b, {.pos_weight = zeros({2, 3})});
        }) ==
        "bce_with_logits: input (3,) and pos_weight (2, 3): pos_weight must broadcast to the "
        "input's shape");
  CHECK(
      message_of<ShapeError>([&] { bce_with_logits(b, b, {.weight = a}); }) ==
      "bce_with_logits: input (3,) and weight (3, 1): weight must broadcast to the input's shape");
  CHECK(message_of<DTypeError>([&] { mse_loss(b, b.to(DType::f64)); }) ==
        "mse_loss: input is f32, target is f64: dtypes must be equal");
  CHECK(message_of<ValueError>([&] { smooth_l1_loss(b, b, -1); }) ==
        "smooth_l1_loss: beta = -1: must not be negative");
  CHECK(message_of<ValueError>([&] { mse_loss(b, b, Reduction::batchmean); }) ==
        "mse_loss: Reduction::batchmean: must be none, mean or sum, batchmean is for kl_div only");
}
