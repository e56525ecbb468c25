// A dry run has the byte counts of a real run, computes nothing and takes almost no memory.
#include <fovea/core/autograd.h>
#include <fovea/core/dry_run.h>
#include <fovea/core/mask.h>
#include <fovea/core/ops/attention_step.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/feed_forward.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <thread>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

// Two layers, views and a broadcast: a gradient that is summed, copied and passed on.
void small_step(std::int64_t B) {
  Rng rng(1);
  Tensor w = randn({300, 500}, rng).set_requires_grad();
  Tensor bias = zeros({500}).set_requires_grad();
  const Tensor x = randn({B, 300}, rng);
  const Tensor h = tanh(matmul(x, w) + bias);
  const Tensor y = concat({transpose(h, 0, 1).contiguous(), transpose(h * h, 0, 1)}, 1);
  mean(y * y).backward();
}

std::int64_t measured_peak(std::int64_t B) {
  const std::int64_t before = memory_stats().live_bytes;
  reset_peak_memory();
  small_step(B);
  return memory_stats().peak_bytes - before;
}

}  // namespace

TEST_CASE("a dry run has the byte counts of the real step") {
  set_num_threads(1);
  for (const std::int64_t B : {1, 7, 64, 300}) {
    const std::int64_t measured = measured_peak(B);
    DryRun dry_run;
    small_step(B);
    CHECK(std::abs(dry_run.peak_bytes() - measured) <= 32 << 10);  // the counters' slack
    CHECK(dry_run.live_bytes() == 0);
  }
}

TEST_CASE("a dry run takes no memory, however large its tensors") {
  const MemoryStats before = memory_stats();
  DryRun dry_run;
  constexpr std::int64_t n = std::int64_t{1} << 20;
  const Tensor x = ones({n, 1024});  // 4 GiB
  const Tensor y = exp(x) + x.clone();
  CHECK(dry_run.live_bytes() == 2 * 4 * n * 1024);
  CHECK(dry_run.peak_bytes() == 4 * 4 * n * 1024);
  CHECK(y.shape() == Shape{n, 1024});
  CHECK(memory_stats().live_bytes == before.live_bytes);
  CHECK(memory_stats().system_bytes <= before.system_bytes + (32 << 20));  // one arena for headers
}

TEST_CASE("values from data stay, computed values are zero") {
  DryRun dry_run;
  const Tensor given = from_data(std::vector<std::int64_t>{3, 1, 2}, {3});
  CHECK(given.to_vector<std::int64_t>() == std::vector<std::int64_t>{3, 1, 2});
  CHECK((given + given).data<std::int64_t>()[0] == 0);
  CHECK(sum(ones({2000})).item<double>() == 0);
}

TEST_CASE("ids, lengths and masks have their real values") {
  DryRun dry_run;
  const std::vector<std::int64_t> ids{1, 1, 2, 3, 3, 3};
  const Tensor x = from_data(ids, {2, 3});
  CHECK(x.clone().to_vector<std::int64_t>() == ids);
  const Tensor turned = alias(x, {3, 2}, {1, 3});
  CHECK(turned.contiguous().to_vector<std::int64_t>() ==
        std::vector<std::int64_t>{1, 3, 1, 3, 2, 3});
  CHECK(x.to_vector<double>() == std::vector<double>(ids.begin(), ids.end()));
  CHECK(full({2}, 7, DType::i64).to_vector<std::int64_t>() == std::vector<std::int64_t>{7, 7});
  Tensor written = zeros({2, 3}, DType::i64);
  written.copy_from(x);
  CHECK(written.to_vector<std::int64_t>() == ids);

  const std::vector<bool> kept{true, false, true, true};
  const Tensor table = from_data(kept, {2, 2});
  const MaskSizes sizes{.B = 1, .H = 1, .T = 2, .S = 2};
  CHECK(kept_pairs(Mask::keep(table).plan(sizes), sizes) == 3);
  CHECK(kept_pairs(Mask::drop(table).plan(sizes), sizes) == 1);
  CHECK_NOTHROW(Mask::keep(table).strict().plan(sizes));
  CHECK_THROWS_AS(Mask::drop(table).strict().plan(sizes), ValueError);
  const MaskSizes rows{.B = 2, .H = 1, .T = 3, .S = 3};
  CHECK(kept_pairs(Mask::documents(x).plan(rows), rows) == 5 + 9);
}

TEST_CASE("nothing is computed outside the kernels either") {
  DryRun dry_run;
  const NoGrad guard;
  const Tensor w = from_data(std::vector<float>(64, 1.0f), {8, 8});
  const Tensor x = from_data(std::vector<float>(8, 1.0f), {1, 1, 8});
  const Tensor bias = from_data(std::vector<float>(8, 1.0f), {8});
  const Tensor ff = feed_forward(x, Activation::relu, {w, bias, w, bias, {}, {}});
  CHECK(ff.data<float>()[0] == 0);
  const AttentionStepCache cache{zeros({1, 1, 4, 8}), zeros({1, 1, 4, 8}), 0, 1};
  AttentionStepWeights weights;
  weights.q = from_data(std::vector<float>(192, 1.0f), {24, 8});
  weights.out = w;
  weights.out_bias = bias;
  const Tensor y = attention_step(x, weights, cache);
  CHECK(y.data<float>()[0] == 0);
  const Tensor many = from_data(std::vector<float>(100'000, 1.0f), {100'000});
  CHECK(logsumexp(many, 0).data<float>()[0] == 0);
  CHECK(matmul(w, w).data<float>()[0] == 0);
}

TEST_CASE("arguments are checked as usual") {
  DryRun dry_run;
  CHECK_THROWS_AS(matmul(ones({2, 3}), ones({2, 3})), ShapeError);
  CHECK_THROWS_AS(cross_entropy(ones({2, 3}), from_data(std::vector<std::int64_t>{0, 3}, {2})),
                  IndexError);
}

TEST_CASE("live bytes by module") {
  const std::string encoder = "encoder", attention = "encoder.attention";
  DryRun dry_run;
  const Tensor outside = ones({10});
  Tensor in_encoder, in_attention;
  {
    const ModuleTrail trail(&encoder);
    in_encoder = ones({100});
    const ModuleTrail inner(&attention);
    in_attention = ones({1000});
    const Tensor gone = ones({5});
  }
  const std::map<std::string, std::int64_t> alive{
      {"", 40}, {"encoder", 400}, {"encoder.attention", 4000}};
  CHECK(dry_run.live_by_module() == alive);
  CHECK(dry_run.live_bytes() == 4440);
  CHECK(dry_run.peak_bytes() == 4460);
  dry_run.reset_peak();
  CHECK(dry_run.peak_bytes() == 4440);
  CHECK(dry_run.allocations() == 4);
}

TEST_CASE("after a dry run all ops compute again") {
  Tensor survivor;
  {
    DryRun dry_run;
    survivor = ones({100'000});
    CHECK(DryRun::on());
  }
  CHECK(!DryRun::on());
  const MemoryStats before = memory_stats();
  CHECK(sum(ones({3})).item<double>() == 3);
  const Tensor x = ones({100'000});
  CHECK(memory_stats().live_bytes - before.live_bytes == 400'000);
  survivor = {};
  CHECK(memory_stats().live_bytes - before.live_bytes == 400'000);
}

TEST_CASE("other threads compute during a dry run, and may free its tensors") {
  DryRun dry_run;
  Tensor handed_over = ones({100'000});
  double total = 0;
  std::thread([&, mine = std::move(handed_over)]() mutable {
    total = sum(ones({1000})).item<double>();
    mine = {};
  }).join();
  CHECK(total == 1000);
  CHECK(dry_run.live_bytes() == 400'000);  // another thread freed it
}

TEST_CASE("one dry run at a time") {
  DryRun dry_run;
  CHECK(message_of<StateError>([] { DryRun second; }) ==
        "DryRun: a dry run is already active on this thread: must end first");
  CHECK(DryRun::on());
}
