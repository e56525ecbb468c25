// The events that an observer receives, and that observing changes no result.
#include <fovea/core/diagnose.h>
#include <fovea/core/mask.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/tests/support/compare.h>

#include <chrono>
#include <thread>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;
using Pass = OpEvent::Pass;

namespace {

struct Event {
  std::string name;
  Pass pass;
  std::string module;
  std::optional<OpSizes> sizes;
  std::int64_t begin_ns, end_ns, nested_ns, self_ns, saved_bytes;
  int depth;
  bool composed, needs_first;
};

struct Recorder final : OpObserver {
  std::vector<Event> events;
  void on_op(const OpEvent& op) noexcept override {
    events.push_back({op.name, op.pass, op.module ? *op.module : "",
                      op.sizes ? std::optional(*op.sizes) : std::nullopt, op.begin_ns, op.end_ns,
                      op.nested_ns, op.self_ns(), op.saved_bytes, op.depth, op.composed,
                      op.needs_grad[0]});
  }
  // "mul", "mul'" for its backward, "adam_step!", "backward.", in order; inner ones are indented.
  std::string text() const {
    std::string all;
    for (const Event& e : events)
      all += std::string(static_cast<std::size_t>(e.depth), '>') + e.name +
             std::string(1, " '!."[static_cast<int>(e.pass)]) + " ";
    return all;
  }
};

Tensor leaf(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed);
  return randn(shape, rng).set_requires_grad();
}

std::string seen_of(const std::function<void()>& f) {
  Recorder recorder;
  const ObserveOps observe(recorder);
  f();
  return recorder.text();
}

void wait_a_little() { std::this_thread::sleep_for(std::chrono::milliseconds(20)); }
constexpr std::int64_t a_little_ns = 20'000'000;

}  // namespace

TEST_CASE("forward and backward of every op, in order, with sizes, module and wanted") {
  const Tensor x = leaf({2, 3}, 1), c = full({3}, 2.0);
  Recorder recorder;
  const std::string path = "encoder.layers.1";
  {
    const ObserveOps observe(recorder);
    Tensor loss;
    {
      const ModuleTrail trail(&path);
      loss = sum(mul(c, x));
    }
    loss.backward();
  }
  CHECK(recorder.text() == "mul  sum  >sum' >mul' backward. ");
  const Event &mul = recorder.events[0], &back = recorder.events[3];
  CHECK(mul.module == path);
  CHECK(back.module == path);
  CHECK(recorder.events[4].module.empty());
  for (const Event* e : {&mul, &back}) {
    REQUIRE(e->sizes);
    CHECK(e->sizes->inputs[0].shape == Shape{3});
    CHECK(e->sizes->inputs[1].shape == Shape{2, 3});
    CHECK(e->sizes->outputs[0].shape == Shape{2, 3});
    CHECK(e->sizes->outputs[0].bytes() == 24);
  }
  CHECK_FALSE(back.needs_first);  // c does not require a gradient
  CHECK(recorder.events[2].needs_first);
}

TEST_CASE("ops without a graph, ops without a gradient and ops of an optimizer are observed, too") {
  Tensor w = leaf({3}, 1), none;
  CHECK(seen_of([&] {
          const NoGrad guard;
          gt(exp(w), 0.0);
          sgd_step(w, ones({3}), none, {.lr = 0.1}, true);
        }) == "exp  gt  sgd_step! ");
}

TEST_CASE("outside the scope nothing is observed; an inner scope replaces an outer one") {
  const Tensor x = leaf({3}, 1);
  Recorder outer, inner;
  exp(x);
  {
    const ObserveOps observe(outer);
    exp(x);
    {
      const ObserveOps again(inner);
      log(x);
    }
    tanh(x);
  }
  sum(square(x)).backward();
  CHECK_FALSE(autograd_mode.observed);
  CHECK(outer.text() == "exp  tanh  ");
  CHECK(inner.text() == "log  ");
}

TEST_CASE("ops of the observer itself are not observed") {
  struct Computing final : OpObserver {
    int calls = 0;
    void on_op(const OpEvent& op) noexcept override {
      ++calls;
      if (!op.outputs.empty()) sum(op.outputs[0]);
    }
  } computing;
  const ObserveOps observe(computing);
  exp(leaf({3}, 1));
  CHECK(computing.calls == 1);
}

TEST_CASE("ops inside a backward belong to its event, unless it is composed of recorded ops") {
  const Tensor x = leaf({3, 3}, 1), w = leaf({3, 3}, 2);
  // linear's backward multiplies matrices
  CHECK(seen_of([&] { sum(linear(x, w)).backward(); }) == "linear  sum  >sum' >linear' backward. ");
  const auto f = [](std::span<const Tensor> in) { return exp(in[0]); };
  Recorder recorder;
  {
    const ObserveOps observe(recorder);
    sum(checkpoint(f, std::span(&x, 1))).backward();
  }
  CHECK(recorder.text() ==
        "exp  checkpoint  sum  >sum' >>exp  >>>exp' >>backward. >checkpoint' backward. ");
  CHECK(recorder.events[7].composed);
  CHECK_FALSE(recorder.events[3].composed);
  // the second derivative: exp's backward is recorded itself
  const std::string twice = seen_of([&] {
    const Tensor dx = grad(sum(exp(x)), x, {.create_graph = true});
    sum(dx).backward();
  });
  CHECK(twice ==
        "exp  sum  >>reshape  >>expand  >sum' >contiguous  >>mul  >exp' backward. "
        "sum  >sum' >mul' >exp' backward. ");
}

TEST_CASE("intervals of forwards do not overlap, inner events are inside, self times add up") {
  const Tensor x = leaf({64, 64}, 1);
  Recorder recorder;
  {
    const ObserveOps observe(recorder);
    const auto f = [](std::span<const Tensor> in) { return tanh(matmul(in[0], in[0])); };
    sum(checkpoint(f, std::span(&x, 1))).backward();
  }
  std::int64_t last_end = 0, sum_of_self = 0;
  for (const Event& e : recorder.events) {
    CAPTURE(e.name);
    CHECK(e.begin_ns <= e.end_ns);
    CHECK(e.self_ns >= 0);
    if (e.pass == Pass::forward) CHECK(e.begin_ns >= last_end);
    last_end = e.end_ns;
  }
  const Event& walk = recorder.events.back();
  REQUIRE(walk.pass == Pass::walk);
  for (const Event& e : recorder.events)
    if (e.begin_ns >= walk.begin_ns) {
      CHECK(e.end_ns <= walk.end_ns);
      sum_of_self += e.self_ns;
    }
  CHECK(sum_of_self <= walk.end_ns - walk.begin_ns);
}

TEST_CASE("a forward's time begins at the last mark; the observer's own time is excluded") {
  struct Slow final : OpObserver {
    std::vector<std::int64_t> self;
    void on_op(const OpEvent& op) noexcept override {
      self.push_back(op.self_ns());
      wait_a_little();
    }
  } slow;
  const Tensor x = leaf({3}, 1);
  const ObserveOps observe(slow);
  std::vector<std::int64_t> least(5, std::numeric_limits<std::int64_t>::max());
  for (int attempt = 0; attempt < 3; ++attempt) {  // one may be held up by other programs
    slow.self.clear();
    detail::mark_begin();
    wait_a_little();
    const Tensor y = exp(x);  // earlier work is counted with it
    wait_a_little();
    detail::mark_begin();
    sum(y).backward();
    REQUIRE(slow.self.size() == 5);
    for (std::size_t i = 0; i < 5; ++i) least[i] = std::min(least[i], slow.self[i]);
  }
  CHECK(least[0] >= a_little_ns);
  for (std::size_t i = 1; i < 5; ++i) CHECK(least[i] < a_little_ns);
}

TEST_CASE("saved bytes: each storage once; parameters and unrecorded ops never") {
  const Tensor w = leaf({100}, 1), data = ones({100});
  const auto saved_bytes = [](const std::function<void()>& f) {
    Recorder recorder;
    const ObserveOps observe(recorder);
    f();
    std::vector<std::int64_t> all;
    for (const Event& e : recorder.events)
      if (e.pass == Pass::forward) all.push_back(e.saved_bytes);
    return all;
  };
  using Bytes = std::vector<std::int64_t>;
  CHECK(saved_bytes([&] { w* data; }) == Bytes{400});
  CHECK(saved_bytes([&] { exp(exp(w)); }) == Bytes{400, 400});     // each saves its output
  CHECK(saved_bytes([&] { square(w + data); }) == Bytes{0, 400});  // the input
  CHECK(saved_bytes([&] { square(exp(w)); }) == Bytes{400, 0});    // exp saved it already
  CHECK(saved_bytes([&] { square(data) * w; }) == Bytes{0, 400});  // square is not recorded
  CHECK(saved_bytes([&] { square(data), w* data; }) == Bytes{0, 400});
  CHECK(saved_bytes([&] {
          for (int i = 0; i < 2; ++i) sum(w * data).backward();
        }) == Bytes{400, 0, 400, 0});
}

TEST_CASE("saved bytes: none by the first run of checkpoint(), then per recomputation") {
  const Tensor w = leaf({100}, 1), data = ones({100});
  const auto f = [](std::span<const Tensor> in) { return exp(in[0]); };
  Recorder recorder;
  const ObserveOps observe(recorder);
  const Tensor x = w * data;
  Tensor y = checkpoint(f, std::span(&x, 1));
  y = checkpoint(f, std::span(&y, 1));
  sum(y).backward();
  std::string saved_bytes;
  for (const Event& e : recorder.events)
    if (e.pass == Pass::forward) saved_bytes += e.name + " " + std::to_string(e.saved_bytes) + " ";
  CHECK(saved_bytes ==
        "mul 400 exp 0 checkpoint 400 exp 0 checkpoint 400 sum 0 "
        "exp 400 exp 400 ");
}

TEST_CASE("saved bytes and work of an op or backward pass that threw are dropped") {
  const Tensor w = leaf({100}, 1), big = ones({1000});
  Recorder recorder;
  const ObserveOps observe(recorder);
  const auto saved_by_last = [&] { return recorder.events.back().saved_bytes; };
  const auto throwing = [&] {
    const Saved saved = keep(big);
    detail::note_work([] { return std::int64_t{7}; });
    value_error("bad", "not today");
  };
  CHECK(message_of<ValueError>(throwing) != "no error");
  detail::mark_begin();
  const Tensor y = exp(w);
  CHECK(saved_by_last() == 400);
  CHECK(recorder.events.back().sizes->work == -1);
  const Tensor bad = record<"bad">(
      ones({3}), {w}, [](const Tensor&, NeedsGrad) -> Grads { value_error("bad", "not today"); });
  CHECK(message_of<ValueError>([&] { bad.backward(ones({3})); }) != "no error");
  square(y);
  CHECK(saved_by_last() == 400);  // saved again
}

TEST_CASE("an inner op under NoGrad does not change the saved bytes of the outer op") {
  const Tensor w = leaf({100}, 1), data = ones({100});
  Recorder recorder;
  const ObserveOps observe(recorder);
  Saved saved = keep(data);
  {
    const NoGrad guard;
    exp(data);
  }
  record<"outer">(ones({100}), {w}, [saved](const Tensor& dy, NeedsGrad) { return Grads(dy); });
  CHECK(recorder.text() == "exp  outer  ");
  CHECK(recorder.events.back().saved_bytes == 400);
}

TEST_CASE("a node is dropped with its graph: its address may be reused") {
  Recorder recorder;
  const ObserveOps observe(recorder);
  const Tensor y = exp(leaf({3}, 1));
  const Node& node = *y.impl()->node;
  y.backward(ones({3}), {.retain_graph = true});
  CHECK(observe.sizes_of(node));
  y.backward(ones({3}));
  CHECK_FALSE(observe.sizes_of(node));
}

TEST_CASE("the time of counting work is excluded inside a backward pass, too") {
  const Tensor x = leaf({3}, 1);
  const auto f = [](std::span<const Tensor> in) {
    detail::note_work([] {
      wait_a_little();
      return std::int64_t{1};
    });
    return exp(in[0]);
  };
  Recorder recorder;
  const ObserveOps observe(recorder);
  sum(checkpoint(f, std::span(&x, 1))).backward();
  const Event& inside = recorder.events[recorder.events.size() - 2];
  REQUIRE(inside.name == "checkpoint");
  CHECK(inside.nested_ns >= a_little_ns);
  CHECK(observe.observer_ns() >= 2 * a_little_ns);
}

TEST_CASE("work: attended pairs of masks, multiply-adds of recurrent layers") {
  Rng rng(1);
  const auto work = [](const std::function<void()>& f) {
    Recorder recorder;
    const ObserveOps observe(recorder);
    f();
    for (const Event& e : recorder.events)
      if (e.sizes && e.sizes->work >= 0) return e.sizes->work;
    return std::int64_t{-1};
  };
  const Tensor q = randn({2, 3, 5, 4}, rng);  // (B, H, T, D)
  const auto attend = [&](const Mask& mask) {
    return work([&] { scaled_dot_product_attention(q, q, q, mask); });
  };
  CHECK(attend(Mask::none()) == 2 * 3 * 25);
  CHECK(attend(Mask::causal()) == 2 * 3 * 15);
  CHECK(attend(Mask::lengths({5, 2})) == 3 * (25 + 10));
  CHECK(attend(Mask::window(1, 0)) == 2 * 3 * 9);
  CHECK(attend(Mask::drop(zeros({5, 5}, DType::boolean)) & Mask::causal()) == 2 * 3 * 15);
  CHECK(attend(Mask::drop(ones({2, 3, 5, 5}, DType::boolean))) == 0);
  CHECK(attend(Mask::documents(from_data(std::vector<std::int64_t>{1, 2, 1, 2, 1}, {5}))) ==
        2 * 3 * 13);
  CHECK(attend(Mask::documents(from_data(std::vector<std::int64_t>{1, 2, 1, 2, 1, 1, 1, 2, 1, 2},
                                         {2, 5}))) == 3 * (13 + 13));
  CHECK(attend(Mask::keep(
            from_data(std::vector<bool>{true, false, true, true, false, false, false, false, false,
                                        true, true, true, true, true, true},
                      {1, 3, 1, 5}))) == 2 * 5 * (3 + 1 + 5));
  CHECK(work([&] {
          attention_head_mean(q, q, Mask::causal(), {}, zeros({2, 3, 5}));
        }) == 2 * 3 * 15);
  const RaggedIndex index(std::vector<std::int64_t>{5, 2});
  const Ragged packed{randn({7, 3, 4}, rng), index};
  CHECK(work([&] { scaled_dot_product_attention(packed, packed, packed, Mask::causal()); }) ==
        3 * (15 + 3));
  CHECK(work([&] { exp(q); }) == -1);
  RecurrentDirection d;
  d.weight_ih = randn({4 * 6, 3}, rng);
  d.weight_hh = randn({4 * 6, 6}, rng);
  CHECK(work([&] {
          recurrent(randn({7, 3}, rng), {d, d}, index, {.kind = RecurrentKind::lstm});
        }) == 2 * 7 * 24 * (3 + 6));
}

TEST_CASE("a backward whose forward was not observed has no sizes") {
  const Tensor x = leaf({3}, 1);
  const Tensor y = exp(x);
  Recorder recorder;
  const ObserveOps observe(recorder);
  y.backward(ones({3}));
  REQUIRE(recorder.text() == ">exp' backward. ");
  CHECK_FALSE(recorder.events[0].sizes);
}

TEST_CASE("the observer works after an error in an op or in a backward") {
  const Tensor x = leaf({3}, 1);
  Recorder recorder;
  const ObserveOps observe(recorder);
  CHECK(message_of<ShapeError>([&] { exp(x) + ones({2}); }) != "no error");
  const Tensor bad = record<"bad">(
      ones({3}), {x}, [](const Tensor&, NeedsGrad) -> Grads { value_error("bad", "not today"); });
  CHECK(message_of<ValueError>([&] { sum(bad).backward(); }).starts_with("bad: not today"));
  CHECK(recorder.text() == "exp  bad  sum  >sum' ");
  sum(x).backward();
  CHECK(recorder.text() == "exp  bad  sum  >sum' sum  >sum' backward. ");
}

TEST_CASE("together with an audit and NaN tracing") {
  const Tensor x = tensor({4, 0}).set_requires_grad();
  Recorder recorder;
  const ObserveOps observe(recorder);
  {
    const GradientAudit audit;
    const TraceNonFinite trace;
    CHECK(message_of<NonFiniteError>([&] {
            sum(sqrt(x)).backward();
          }).starts_with("sqrt: backward: "));
  }
  CHECK(recorder.text() == "sqrt  sum  >sum' >sqrt' ");
  CHECK(autograd_mode.observed);
  sum(x);
  CHECK(recorder.events.back().name == "sum");
}

TEST_CASE("values and gradients are bitwise the same") {
  const Tensor x = leaf({16, 8}, 1), w = leaf({8, 8}, 2);
  const auto run = [&] {
    const auto f = [&w](std::span<const Tensor> in) { return tanh(linear(in[0], w)); };
    const Tensor y = sum(square(checkpoint(f, std::span(&x, 1)) + linear(x, w)));
    const Tensor inputs[] = {x, w};
    std::vector<Tensor> all = grad(std::span(&y, 1), inputs);
    all.push_back(y.detach());
    return all;
  };
  const std::vector<Tensor> plain = run();
  Recorder recorder;
  const ObserveOps observe(recorder);
  const std::vector<Tensor> seen = run();
  for (std::size_t i = 0; i < plain.size(); ++i)
    CHECK(plain[i].to_vector<float>() == seen[i].to_vector<float>());
  CHECK(recorder.events.size() > 5);
}
