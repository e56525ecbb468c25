// The losses on attention weights, by hand and by finite differences, and training with them.
#include <fovea/core/autograd.h>
#include <fovea/core/gradcheck.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ragged.h>
#include <fovea/core/threads.h>
#include <fovea/nn/attention/alignment.h>
#include <fovea/nn/seq2seq.h>
#include <fovea/optim/adam.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

Tensor numbers(const std::vector<double>& values, const Shape& shape) {
  return from_data(values, shape);
}

}  // namespace

TEST_CASE("coverage loss: repeated attention, over steps without padding") {
  // Two sentences, three steps, two words; the second has one step and padding.
  const Tensor weights = numbers({0.75, 0.25, 0.5, 0.5, 0, 1, 0.5, 0.5, 1, 0, 1, 0}, {2, 3, 2});
  // step 2: min(.5, .75) + min(.5, .25); step 3: min(0, 1.25) + min(1, .75)
  CHECK(coverage_loss(weights, {3, 1}).item<double>() == doctest::Approx((0.75 + 0.75) / 4));
  CHECK(coverage_loss(weights, {1, 1}).item<double>() == 0);
  CHECK(coverage_loss(weights, {0, 0}).item<double>() == 0);
  CHECK(message_of<ShapeError>([&] { coverage_loss(weights, {3}); }) ==
        "coverage_loss: weights (2, 3, 2) and 1 lengths: must be (B, T, S) and B");
  CHECK(message_of<ShapeError>([&] {
          coverage_loss(weights, {3, 4});
        }) == "coverage_loss: weights (2, 3, 2) and a length of 4: must be at most T");
}

TEST_CASE("guided alignment: rows of links are normalized, rows without links are ignored") {
  const Tensor weights = numbers({0.75, 0.25, 0.5, 0.5, 0, 1}, {1, 3, 2});
  const Tensor links = numbers({1, 0, 1, 1, 0, 0}, {1, 3, 2});
  const double wanted = -(std::log(0.75) + 0.5 * (std::log(0.5) + std::log(0.5))) / 2;
  CHECK(guided_alignment_loss(weights, links).item<double>() ==
        doctest::Approx(wanted).epsilon(1e-6));
  CHECK(guided_alignment_loss(weights, 0.0 * links).item<double>() == 0);
  const Tensor missed = numbers({0, 0, 0, 0, 1, 0}, {1, 3, 2});  // a weight of 0: finite
  CHECK(guided_alignment_loss(weights, missed).item<double>() == doctest::Approx(-std::log(1e-7)));
  CHECK(message_of<ShapeError>([&] { guided_alignment_loss(weights, squeeze(links, 0)); }) ==
        "guided_alignment_loss: weights (1, 3, 2), links (3, 2): must be equal, (B, T, S)");
}

TEST_CASE("weights after the end of a target, without links, may be NaN") {
  const double nan = std::nan("");
  Tensor weights = numbers({0.5, 0.5, 0.25, 0.75, nan, nan}, {1, 3, 2}).set_requires_grad();
  const Tensor links = numbers({1, 0, 0, 1, 0, 0}, {1, 3, 2});
  const auto check = [&](const Tensor& loss, double wanted) {
    CHECK(loss.item<double>() == doctest::Approx(wanted).epsilon(1e-6));
    weights.zero_grad();
    loss.backward();
    const std::vector<double> slopes = weights.grad().to_vector<double>();
    CHECK(slopes[2] + slopes[3] != 0);
    CHECK(std::isfinite(slopes[2] + slopes[3]));
    CHECK(slopes[4] == 0);
    CHECK(slopes[5] == 0);
  };
  check(coverage_loss(weights, {2}), (0.25 + 0.5) / 2);
  check(guided_alignment_loss(weights, links), -(std::log(0.5) + std::log(0.75)) / 2);
}

TEST_CASE("gradients by finite differences") {
  Rng rng(2);
  const Tensor scores = randn({2, 4, 3}, rng, DType::f64);
  std::vector<bool> cells;
  for (int i = 0; i < 24; ++i) cells.push_back(rng.chance(0.4));
  const Tensor links = from_data(cells, {2, 4, 3}).to(DType::f64);
  const auto cover = [](const std::vector<Tensor>& x) {
    return coverage_loss(softmax(x[0]), {4, 2});
  };
  const auto guide = [&](const std::vector<Tensor>& x) {
    return guided_alignment_loss(softmax(x[0]), links);
  };
  for (const auto& report : {gradcheck(cover, {scores}), gradgradcheck(cover, {scores}),
                             gradcheck(guide, {scores}), gradgradcheck(guide, {scores})})
    CHECK_MESSAGE(report.ok, report.message);
}

namespace {

constexpr std::int64_t vocab = 9, words = 5, batch = 16;

struct Outcome {
  double diagonal;  // mean weight of the copied word
  double coverage;  // coverage_loss
};

// Trains copying of five words with guided_alignment_loss and coverage_loss at these weights.
Outcome learned_with(double guided, double covered) {
  Rng rng(1);
  Seq2Seq model({.source_vocab = vocab,
                 .target_vocab = vocab,
                 .embed_dim = 8,
                 .hidden_size = 16,
                 .coverage = true},
                rng);
  optim::Adam adam(model.parameters(), {.lr = 1e-2});
  const std::vector<std::int64_t> lengths(batch, words);
  std::vector<bool> diagonal;
  for (std::int64_t i = 0; i < batch * words * words; ++i)
    diagonal.push_back(i / words % words == i % words);
  const Tensor links = from_data(diagonal, {batch, words, words}).to(DType::f32);
  Outcome outcome{};
  for (int step = 0; step < 100; ++step) {
    std::vector<std::int64_t> said;
    for (std::int64_t i = 0; i < batch * words; ++i) said.push_back(4 + rng.below(vocab - 4));
    const Tensor source = from_data(said, {batch, words}), begin = full({batch, 1}, 2, DType::i64);
    const Tensor input = concat({begin, narrow(source, 1, 0, words - 1)}, 1);
    adam.zero_grad();
    Tensor weights;
    const Tensor logits = model.decode(model.encode(source, lengths), input, lengths, &weights);
    const Tensor coverage = coverage_loss(weights, lengths);
    const Tensor loss = cross_entropy(logits, reshape(source, {batch * words})) +
                        guided * guided_alignment_loss(weights, links) + covered * coverage;
    loss.backward();
    adam.step();
    outcome = {sum(links * weights.detach()).item<double>() / (batch * words),
               coverage.item<double>()};
  }
  return outcome;
}

}  // namespace

TEST_CASE("guided alignment trains a diagonal alignment; coverage loss spreads attention") {
  const int before = num_threads();
  set_num_threads(1);
  const Outcome free = learned_with(0, 0), guided = learned_with(1, 0),
                covered = learned_with(0, 1);
  set_num_threads(before);
  CAPTURE(free.diagonal);
  CAPTURE(guided.diagonal);
  CAPTURE(free.coverage);
  CAPTURE(covered.coverage);
  CHECK(guided.diagonal > 0.8);
  CHECK(free.diagonal < 0.6);
  CHECK(covered.coverage < 0.75 * free.coverage);
}
