// The sums, tables and trace of a profile; it changes no results, and records nothing when stopped.
#include <fovea/core/diagnose.h>
#include <fovea/core/files.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/nn/inspect/profile.h>
#include <fovea/nn/transformer_lm.h>
#include <fovea/optim/adam.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/thread_bits.h>

#include <chrono>
#include <map>
#include <memory>
#include <stdexcept>
#include <thread>

#include <doctest/doctest.h>
#include <fmt/format.h>
#include <nlohmann/json.hpp>

using namespace fovea;
using nn::inspect::Profile;
using nn::inspect::ProfileRow;
using nn::inspect::ProfileTotals;
using test::message_of;

namespace {

const ProfileRow& row(const std::vector<ProfileRow>& rows, const std::string& name) {
  for (const ProfileRow& r : rows)
    if (r.name == name) return r;
  FAIL("no row " << name);
  return rows.front();
}

struct Learner {
  Rng rng{1};
  nn::TransformerLM model{
      {.vocab = 11, .d_model = 16, .nhead = 2, .num_layers = 2, .dim_feedforward = 32}, rng};
  optim::AdamW adam{model.parameters(), {.lr = 1e-2}};

  Learner() { model.name_tree("lm"); }
  double step() {
    const Tensor ids = from_data(std::vector<std::int64_t>{1, 2, 3, 4, 5, 6, 7, 8}, {2, 4});
    const Tensor loss = cross_entropy(model(ids), ids);
    model.zero_grad();
    loss.backward();
    adam.step();
    return loss.item<double>();
  }
};

void wait_ms(int ms) { std::this_thread::sleep_for(std::chrono::milliseconds(ms)); }

}  // namespace

TEST_CASE("rows of ops: calls, operations, saved bytes; the sums are the totals") {
  const Tensor x = ones({4, 8}), w = ones({3, 8}).set_requires_grad();
  Profile profile;
  for (int i = 0; i < 2; ++i) {
    profile.step();
    sum(tanh(linear(x, w))).backward();
  }
  profile.stop();
  const std::vector<ProfileRow> ops = profile.by_op();
  const ProfileRow& linear_row = row(ops, "linear");
  CHECK(linear_row.calls == 2);
  CHECK(linear_row.flops == 2 * (2.0 * 4 * 8 * 3 + 2.0 * 4 * 8 * 3));  // x needs no gradient
  CHECK(linear_row.saved_bytes == 2 * 4 * 8 * 4);
  CHECK(linear_row.forward_ms > 0);
  CHECK(linear_row.backward_ms > 0);
  CHECK(row(ops, "tanh").saved_bytes == 2 * 4 * 3 * 4);
  CHECK(row(ops, "(backward engine)").backward_ms > 0);
  CHECK(ops.size() == 4);

  const ProfileTotals totals = profile.totals();
  double ms = 0, flops = 0, last = 1e300;
  for (const ProfileRow& r : ops) {
    CHECK(r.ms() <= last);  // most time first
    last = r.ms();
    ms += r.ms();
    flops += r.flops;
  }
  CHECK(totals.steps == 2);
  CHECK(ms == doctest::Approx(totals.op_ms).epsilon(1e-9));
  CHECK(flops == totals.flops);
  CHECK(totals.op_ms + totals.observer_ms <= totals.wall_ms);
}

TEST_CASE("rows of modules include their children, updates are outside") {
  Learner learner;
  Profile profile;
  learner.step();
  profile.stop();
  const std::vector<ProfileRow> modules = profile.by_module();
  const ProfileRow &all = row(modules, "lm"), &none = row(modules, "(no module)");
  CHECK(all.flops + none.flops == profile.totals().flops);
  CHECK(all.ms() + none.ms() == doctest::Approx(profile.totals().op_ms).epsilon(1e-9));
  double layers = 0;
  for (const ProfileRow& r : modules)
    if (r.name.ends_with("layers.0") || r.name.ends_with("layers.1")) layers += r.flops;
  CHECK(layers > 0);
  CHECK(layers < all.flops);
  const std::vector<ProfileRow> ops = profile.by_op();
  const ProfileRow& adam = row(ops, "adam_step");
  CHECK(adam.calls == std::ssize(learner.model.parameters()));
  CHECK(none.flops >= adam.flops);
}

TEST_CASE("every op of a training step has a cost, and is in the tables") {
  Learner learner;
  learner.step();
  Profile profile({.peak_gflops = 100});
  profile.step();
  learner.step();
  profile.stop();
  for (const ProfileRow& r : profile.by_op()) {
    CAPTURE(r.name);
    CHECK(r.known);
  }
  const std::string table = profile.table();
  CAPTURE(table);
  CHECK(table.starts_with("1 steps of "));
  for (const char* word : {"% peak", "scaled_dot_product_attention", "adam_step",
                           "(backward engine)", "\ntotal ", "lm.", "peak 100.0 GFLOP/s"})
    CHECK(table.find(word) != std::string::npos);
  CHECK(profile.table(3).find(fmt::format("{} more", profile.by_op().size() - 3)) !=
        std::string::npos);
}

TEST_CASE("pauses take no time, and nothing is recorded in them") {
  const Tensor x = ones({3}).set_requires_grad();
  const auto start = std::chrono::steady_clock::now();
  Profile profile;
  exp(x);
  profile.stop();
  CHECK_FALSE(autograd_mode.observed);
  exp(x);
  wait_ms(60);
  CHECK(message_of<StateError>([&] {
          profile.start();
          profile.start();
        }) == "Profile: start: already recording");
  exp(x);
  profile.stop();
  profile.stop();
  CHECK(row(profile.by_op(), "exp").calls == 2);
  const std::chrono::duration<double, std::milli> elapsed =
      std::chrono::steady_clock::now() - start;
  CHECK(profile.totals().wall_ms <= elapsed.count() - 60);
  const auto trace = nlohmann::json::parse(profile.trace());
  double end = 0;
  for (const auto& e : trace.at("traceEvents"))
    if (e.at("ph") == "X")
      end = std::max(end, e.at("ts").get<double>() + e.at("dur").get<double>());
  CHECK(end <= 1e3 * profile.totals().wall_ms);
}

TEST_CASE("two profiles end in any order: the inner one records, and no observer remains") {
  const Tensor x = ones({3}).set_requires_grad();
  const auto calls = [](const Profile& profile) {
    return profile.by_op().empty() ? 0 : row(profile.by_op(), "exp").calls;
  };
  Profile a;
  exp(x);
  Profile b;
  exp(x);
  a.stop();
  exp(x);
  b.stop();
  CHECK(autograd_mode.observe == nullptr);
  CHECK_FALSE(autograd_mode.observed);
  exp(x);
  CHECK(calls(a) == 1);
  CHECK(calls(b) == 2);
  a.start();
  b.start();
  b.stop();
  exp(x);
  a.stop();
  CHECK(calls(a) == 2);
  CHECK(calls(b) == 2);
  auto first = std::make_unique<Profile>();  // three, of which the middle one ends first
  auto second = std::make_unique<Profile>();
  const Profile third;
  second.reset();
  first.reset();
  exp(x);
  CHECK(calls(third) == 1);
}

TEST_CASE("anomaly detection that started during a profile does not keep it recording") {
  const Tensor x = ones({3});
  Profile profile;
  {
    const TraceNonFinite trace;
    profile.stop();
    CHECK(message_of<NonFiniteError>([&] { log(x - 1.0); }) != "no error");
  }
  CHECK_FALSE(autograd_mode.observed);
}

TEST_CASE("a profile cannot be stopped on another thread or inside a backward") {
  Profile profile;
  std::string message;
  std::thread([&] { message = message_of<StateError>([&] { profile.stop(); }); }).join();
  CHECK(message == "Profile: stop: must be called on the recorded thread");
  const Tensor x = ones({3}).set_requires_grad();
  Tensor y = exp(x);
  y.register_hook([&](const Tensor&) -> Tensor {
    profile.stop();
    return {};
  });
  CHECK(message_of<StateError>([&] {
          sum(y).backward();
        }).starts_with("Profile: stop: must not be called inside a backward"));
  CHECK(profile.watching());
  profile.stop();
  CHECK_FALSE(autograd_mode.observed);
}

TEST_CASE("a profile ends with its scope, also after an exception") {
  try {
    const Profile profile;
    throw std::runtime_error("stop");
  } catch (const std::runtime_error&) {
  }
  CHECK_FALSE(autograd_mode.observed);
  CHECK(autograd_mode.observe == nullptr);
}

TEST_CASE("losses are bitwise the same with and without it") {
  Learner plain, watched;
  Profile profile;
  profile.stop();
  for (int i = 0; i < 5; ++i) {
    const double expected = plain.step();
    profile.start();
    const double found = watched.step();
    profile.stop();
    CHECK(expected == found);
  }
}

TEST_CASE("without gradients many tokens run the single layers, few the fused op") {
  Learner learner;
  learner.model.eval();
  const NoGrad guard;
  const auto ops_of = [&](const Shape& shape) {
    Profile profile;
    learner.model(zeros(shape, DType::i64));
    profile.stop();
    std::string names;
    for (const ProfileRow& r : profile.by_op()) names += r.name + " ";
    for (const ProfileRow& r : profile.by_module()) names += r.name + " ";
    return names;
  };
  const std::string many = ops_of({3, 4}), few = ops_of({2, 4});
  CHECK(many.find("feed_forward ") == std::string::npos);
  CHECK(many.find("layers.0.linear1 ") != std::string::npos);
  CHECK(many.find("layers.1.linear2 ") != std::string::npos);
  CHECK(few.find("feed_forward ") != std::string::npos);
  CHECK(few.find("layers.0.linear1 ") == std::string::npos);
}

TEST_CASE("an op of unknown cost is marked") {
  const Tensor x = ones({3}).set_requires_grad();
  Profile profile;
  record<"users_op">(ones({3}), {x}, [](const Tensor& dy, NeedsGrad) { return Grads(dy); });
  CHECK_FALSE(row(profile.by_op(), "users_op").known);
  CHECK(profile.table().find("FLOP unknown") != std::string::npos);
}

TEST_CASE("the trace: well formed, slices nest, and their times are the tables'") {
  Learner learner;
  Profile profile;
  learner.step();
  learner.step();
  profile.stop();
  const test::Folder folder("profile_test");
  const std::filesystem::path path = folder / "trace.json";
  profile.write_trace(path);
  const auto trace = nlohmann::json::parse(read_file(path));

  struct Slice {
    double begin, end;
    std::string name;
  };
  std::map<int, std::vector<Slice>> threads;
  double adam_us = 0, linear_flops = 0;
  int names = 0;
  for (const auto& e : trace.at("traceEvents")) {
    CHECK(e.at("pid") == 1);
    if (e.at("ph") == "M") {
      ++names;
      continue;
    }
    REQUIRE(e.at("ph") == "X");
    const double begin = e.at("ts"), duration = e.at("dur");
    CHECK(begin >= 0);
    CHECK(duration >= 0);
    threads[e.at("tid")].push_back({begin, begin + duration, e.at("name")});
    if (e.at("name") == "adam_step") adam_us += duration;
    if (e.at("name") == "linear") {
      linear_flops += e.at("args").at("flops").get<double>();
      CHECK(e.at("args").at("module").get<std::string>().starts_with("lm"));
      CHECK(e.at("args").at("shape").get<std::string>().find(") -> (") != std::string::npos);
    }
  }
  CHECK(names == 2);
  CHECK(threads.size() == 2);
  for (auto& entry : threads) {
    CAPTURE(entry.first);
    auto& slices = entry.second;
    // Two slices of a thread are nested or disjoint; 1 ps of rounding.
    std::sort(slices.begin(), slices.end(), [](const Slice& a, const Slice& b) {
      return a.begin != b.begin ? a.begin < b.begin : a.end > b.end;
    });
    std::vector<Slice> open;
    for (const Slice& s : slices) {
      while (!open.empty() && open.back().end <= s.begin + 1e-6) open.pop_back();
      CAPTURE(s.name);
      if (!open.empty()) CHECK(s.end <= open.back().end + 1e-6);
      open.push_back(s);
    }
  }
  const std::vector<ProfileRow> ops = profile.by_op();
  CHECK(adam_us * 1e-3 == doctest::Approx(row(ops, "adam_step").ms()).epsilon(1e-6));
  CHECK(linear_flops == row(ops, "linear").flops);
  int layers = 0;
  for (const Slice& s : threads[2]) layers += s.name.ends_with("layers.1");
  CHECK(layers == 4);  // forward and backward, twice
}

TEST_CASE("a full trace has the number of omitted events; an unwritable path is an error") {
  const Tensor x = ones({3});
  Profile profile({.max_trace_events = 2});
  for (int i = 0; i < 5; ++i) exp(x);
  profile.stop();
  const auto trace = nlohmann::json::parse(profile.trace());
  CHECK(trace.at("otherData").at("events_left_out") == 3);
  CHECK(row(profile.by_op(), "exp").calls == 5);
  CHECK(message_of<Error>([&] {
          profile.write_trace("/no/such/folder/trace.json");
        }).find("/no/such/folder") != std::string::npos);
}

TEST_CASE("the sgemm rate is a rate") {
  const double rate = nn::inspect::measure_sgemm_gflops();
  CHECK(rate > 0.01);
  CHECK(rate < 1e5);
}

TEST_CASE("a trace is UTF-8 for any bytes in module names") {
  Learner learner;
  learner.model.name_tree("l\xFFm");
  Profile profile;
  learner.step();
  profile.stop();
  const auto trace = nlohmann::json::parse(profile.trace());
  bool seen = false;
  for (const auto& e : trace.at("traceEvents")) seen = seen || e.at("name") == "l\xEF\xBF\xBDm";
  CHECK(seen);
}
