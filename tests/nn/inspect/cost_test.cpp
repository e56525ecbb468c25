// The forecast against measured memory, by phase and module.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/threads.h>
#include <fovea/nn/inspect/cost.h>
#include <fovea/nn/linear.h>
#include <fovea/nn/transformer_lm.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/clip.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using nn::inspect::CostLedger;
using nn::inspect::parse_bytes;
using nn::inspect::readable_bytes;
using test::message_of;

namespace {

constexpr std::int64_t slack = 32 << 10;  // of the counters, see MemoryStats

// A language model of the sequence 0 1 2 ...
struct Training {
  Rng rng{1};
  nn::TransformerLM model;
  optim::AdamW adam;
  std::int64_t B, T;

  Training(const nn::TransformerLMOptions& options, std::int64_t batch, std::int64_t length)
      : model(options, rng), adam(model.parameters(), {.lr = 1e-3}), B(batch), T(length) {
    model.name_tree("lm");
  }

  Tensor loss() {
    std::vector<std::int64_t> ids;
    for (std::int64_t i = 0; i < B * T; ++i) ids.push_back(i % model.options().vocab);
    const Tensor batch = from_data(ids, {B, T});
    return cross_entropy(model(batch), batch);
  }

  CostLedger forecast(DryRun& dry_run) {
    return nn::inspect::forecast_step(dry_run, model,
                                      {.loss = [this] { return loss(); },
                                       .update = [this] { adam.step(); },
                                       .optimizer_state = [this] { return adam.state(); }});
  }

  std::int64_t measured_peak() {
    for (int i = 0; i < 3; ++i) {
      adam.zero_grad();
      reset_peak_memory();
      const Tensor now = loss();
      now.backward();
      adam.step();
    }
    return memory_stats().peak_bytes;
  }
};

nn::TransformerLMOptions small_model() {
  nn::TransformerLMOptions o{.vocab = 100};
  o.d_model = 64;
  o.nhead = 4;
  o.num_layers = 2;
  o.dim_feedforward = 128;
  o.max_len = 128;
  o.dropout = 0.1;
  return o;
}

CostLedger forecast_of(std::int64_t batch, std::int64_t length) {
  DryRun dry_run;
  return Training(small_model(), batch, length).forecast(dry_run);
}

}  // namespace

TEST_CASE("the forecast equals the measured memory") {
  set_num_threads(1);
  for (const std::int64_t batch : {1, 9})
    for (const std::int64_t length : {5, 128}) {
      const CostLedger cost = forecast_of(batch, length);
      const std::int64_t measured = Training(small_model(), batch, length).measured_peak();
      INFO(batch, " ", length, ": ", cost.peak_bytes(), " ", measured);
      CHECK(std::abs(cost.peak_bytes() - measured) <= slack);
    }
}

TEST_CASE("parameters, gradients and optimizer are counted separately") {
  const CostLedger cost = forecast_of(2, 16);
  Rng rng(1);
  const std::int64_t count = nn::TransformerLM(small_model(), rng).parameter_count();
  CHECK(cost.parameters == count);
  CHECK(cost.gradient_bytes == 4 * count);
  CHECK(cost.optimizer_bytes > 8 * count);  // two moments per element, a learning rate, and counts
  CHECK(cost.optimizer_bytes < 8 * count + 1024);
  std::int64_t parameters = 0, saved = 0;
  for (const auto& row : cost.modules) parameters += row.parameters, saved += row.saved_bytes;
  CHECK(parameters == count);
  CHECK(saved == cost.saved_bytes);
}

TEST_CASE("activations grow with the batch, parameters do not") {
  const CostLedger one = forecast_of(4, 32), two = forecast_of(8, 32), four = forecast_of(16, 32);
  CHECK(two.saved_bytes > one.saved_bytes);
  CHECK(four.saved_bytes - two.saved_bytes == 2 * (two.saved_bytes - one.saved_bytes));
  CHECK(one.optimizer_bytes == four.optimizer_bytes);
}

TEST_CASE("a real model is counted too, and not changed") {
  Training training(small_model(), 4, 32);
  const std::int64_t live = memory_stats().live_bytes;
  const auto before = training.model.parameters()[0].second.to_vector<float>();
  CostLedger cost;
  {
    DryRun dry_run;
    cost = training.forecast(dry_run);
  }
  CHECK(memory_stats().live_bytes == live);
  CHECK(training.model.parameters()[0].second.to_vector<float>() == before);
  CHECK(std::abs(cost.peak_bytes() - training.measured_peak()) <= slack);
}

TEST_CASE("a validation counts too, without a graph") {
  DryRun dry_run;
  Training training(small_model(), 2, 16), larger(small_model(), 64, 128);
  nn::inspect::TrainingStep step{.loss = [&] { return training.loss(); }};
  const CostLedger without = nn::inspect::forecast_step(dry_run, training.model, step);
  CHECK(without.validation_peak_bytes == 0);
  step.validation = [&] {
    CHECK(!grad_enabled());
    const Tensor loss = larger.loss();
  };
  const CostLedger with = nn::inspect::forecast_step(dry_run, training.model, step);
  CHECK(with.step_peak_bytes() == without.peak_bytes());
  CHECK(with.peak_bytes() == with.validation_peak_bytes);
  CHECK(with.peak_bytes() > without.peak_bytes());
  CHECK(with.peak_phase() == std::string("validation"));
}

namespace {

// A net of known work: its loss is the sum of the output of two layers.
struct TwoLayers final : nn::Module {
  explicit TwoLayers(Rng& rng)
      : first({.in_features = 7, .out_features = 5}, rng),
        second({.in_features = 5, .out_features = 3, .bias = false}, rng) {}
  void visit(nn::Visitor& v) override { v("first", first), v("second", second); }
  nn::Linear first, second;
};

const nn::inspect::ModuleCost& row(const CostLedger& cost, const std::string& module) {
  for (const auto& one : cost.modules)
    if (one.module == module) return one;
  FAIL("no row " << module);
  return cost.modules.front();
}

}  // namespace

TEST_CASE("exact work of two layers, by module and phase") {
  DryRun dry_run;
  Rng rng(1);
  TwoLayers net(rng), other(rng);
  net.name_tree("net");
  other.name_tree("net2");  // begins as the net's name does, but is not below it
  optim::Adam adam(net.parameters(), {.lr = 1e-3});
  double max_norm = 0;
  const std::int64_t N = 4;
  const nn::inspect::TrainingStep step{
      .loss =
          [&] {
            return sum(net.second(net.first(ones({N, 7})))) + sum(other.first(ones({7})));
          },
      .update =
          [&] {
            if (max_norm > 0) optim::clip_grad_norm(net.parameters(), max_norm);
            adam.step();
          }};
  const CostLedger cost = nn::inspect::forecast_step(dry_run, net, step);
  const double first = 2.0 * N * 7 * 5, second = 2.0 * N * 5 * 3, outside = 2.0 * 7 * 5;
  CHECK(row(cost, "first").forward.flops == first);
  CHECK(row(cost, "first").backward.flops == first + N * 5);  // dW and db: x requires no gradient
  CHECK(row(cost, "second").forward.flops == second);
  CHECK(row(cost, "second").backward.flops == 2 * second);
  CHECK(row(cost, "net2.first").forward.flops == outside);
  CHECK(row(cost, "").forward.flops == N * 3 + 5 + 1);  // two sums, and that of both
  CHECK(cost.forward.flops == first + second + outside + N * 3 + 5 + 1);
  const auto count = static_cast<double>(cost.parameters);
  CHECK(cost.parameters == 7 * 5 + 5 + 5 * 3);
  CHECK(cost.update.flops == 12 * count);
  max_norm = 1e-7;
  const CostLedger clipped = nn::inspect::forecast_step(dry_run, net, step);
  CHECK(clipped.forward.flops == cost.forward.flops);
  CHECK(clipped.backward.flops == cost.backward.flops);
  CHECK(clipped.update.flops == (12 + 2 + 1) * count);  // squares, and the scaling
}

TEST_CASE("recomputation in the backward counts as backward") {
  DryRun dry_run;
  Rng rng(1);
  TwoLayers net(rng);
  const auto forward = [&](std::span<const Tensor> in) { return net.second(net.first(in[0])); };
  const auto cost_of_step = [&](bool again) {
    return nn::inspect::forecast_step(
        dry_run, net, {.loss = [&] {
          const Tensor x = ones({4, 7}).set_requires_grad();
          return sum(again ? checkpoint(forward, std::span(&x, 1)) : forward(std::span(&x, 1)));
        }});
  };
  const CostLedger plain = cost_of_step(false), again = cost_of_step(true);
  CHECK(again.forward.flops == plain.forward.flops);
  CHECK(again.backward.flops == plain.backward.flops + 2.0 * 4 * (7 * 5 + 5 * 3));
}

TEST_CASE("a loss that throws leaves a real model without gradients") {
  Training training(small_model(), 2, 8);
  {
    DryRun dry_run;
    CHECK(message_of<ValueError>([&] {
            nn::inspect::forecast_step(dry_run, training.model, {.loss = [&]() -> Tensor {
                                         training.loss().backward();
                                         value_error("loss", "not today");
                                       }});
          }).starts_with("loss: not today"));
  }
  for (const auto& [name, parameter] : training.model.parameters())
    CHECK_FALSE(parameter.grad().defined());
}

TEST_CASE("work is counted by module, and grows with the batch") {
  const CostLedger one = forecast_of(2, 16), two = forecast_of(4, 16);
  // Every element of a weight matrix has one multiply-add per token in the forward, and two in the
  // backward. The rest is attention, norms, sums and the loss.
  const double weights = 2.0 * 2 * 16 * static_cast<double>(one.parameters);
  CHECK(one.forward.flops > 0.6 * weights);
  CHECK(one.forward.flops < 1.6 * weights);
  CHECK(one.backward.flops > 1.7 * one.forward.flops);
  CHECK(one.backward.flops < 3 * one.forward.flops);
  CHECK(two.forward.flops > 1.95 * one.forward.flops);
  CHECK(two.update.flops == one.update.flops);
  CHECK(one.update.flops > 0);
  CHECK(one.forward.bytes > 4.0 * static_cast<double>(one.parameters) * 0.5);
  CHECK(one.unknown_ops == 0);
  double forward = 0, backward = 0;
  for (const auto& row : one.modules) forward += row.forward.flops, backward += row.backward.flops;
  CHECK(forward == doctest::Approx(one.forward.flops));
  CHECK(backward == doctest::Approx(one.backward.flops));
}

TEST_CASE("the table has modules and totals") {
  const std::string text = forecast_of(2, 16).table();
  for (const char* part : {"module", "parameters", "transformer.layers.0", "transformer.layers.1",
                           "total", "optimizer state", "saved for the backward",
                           "peak in the backward", "FLOP", "moved by a step"})
    CHECK(text.find(part) != std::string::npos);
  CHECK(text.find("layers.0.") == std::string::npos);  // joined
  CHECK(forecast_of(2, 16).table(4).find("layers.0.self_attn") != std::string::npos);
}

TEST_CASE("a step without a loss") {
  Rng rng(1);
  nn::TransformerLM model(small_model(), rng);
  DryRun dry_run;
  CHECK(message_of<ValueError>([&] { nn::inspect::forecast_step(dry_run, model, {}); }) ==
        "forecast_step: loss: must be a function");
}

TEST_CASE("formatting and parsing of bytes") {
  CHECK(readable_bytes(0) == "0 B");
  CHECK(readable_bytes(999) == "999 B");
  CHECK(readable_bytes(1000) == "1.00 kB");
  CHECK(readable_bytes(999'499) == "999 kB");
  CHECK(readable_bytes(999'600) == "1.00 MB");
  CHECK(readable_bytes(12'345'678) == "12.3 MB");
  CHECK(readable_bytes(2'500'000'000) == "2.50 GB");
  CHECK(nn::inspect::readable(1.25e10, "FLOP") == "12.5 GFLOP");
  CHECK(parse_bytes("2.5GB") == 2'500'000'000);
  CHECK(parse_bytes("800 MB") == 800'000'000);
  CHECK(parse_bytes("1GiB") == 1 << 30);
  CHECK(parse_bytes("512k") == 512'000);
  CHECK(parse_bytes("4096") == 4096);
  for (const char* wrong : {"", "GB", "-1GB", "0", "1XB", "1 G B x", "nan", "inf", "1e99"})
    CHECK_THROWS_AS(parse_bytes(wrong), ValueError);
  CHECK(message_of<ValueError>([] { parse_bytes("much"); }) ==
        "parse_bytes: 'much': must be a number of bytes, such as 800MB, 2.5GB or 1GiB");
}
