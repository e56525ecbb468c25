// Properties of every mechanism, with every mask, in training and eval, in f32 and f64.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/nn/attention/make.h>
#include <fovea/nn/attention/multihead.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <cmath>
#include <memory>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;

namespace {

constexpr std::int64_t B = 3, T = 5, S = 5, C = 4;

struct NamedMask {
  std::string name;
  Mask mask;
};

Tensor bools(const Shape& shape, std::uint64_t seed) {
  Rng rng(seed);
  std::vector<bool> values(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = rng.chance(0.5);
  return from_data(values, shape);
}

// Every kind of mask, alone and combined; most have a fully masked query.
std::vector<NamedMask> masks() {
  const Tensor ids = from_data(std::vector<std::int64_t>{7, 7, 2, 7, 2}, {S});
  const Tensor other_ids = from_data(std::vector<std::int64_t>{1, 7, 7, 2, 3}, {T});
  return {{"none", Mask::none()},
          {"causal", Mask::causal()},
          {"lengths", Mask::lengths({5, 2, 0})},
          {"causal & lengths", Mask::causal() & Mask::lengths({0, 5, 3})},
          {"window", Mask::window(1, 0)},
          {"window ahead", Mask::window(-2, 3) & Mask::window(0, 1) & Mask::lengths({2, 5, 1})},
          {"keep (T, S)", Mask::keep(bools({T, S}, 1))},
          {"keep (B, T, S)", Mask::keep(bools({B, T, S}, 2))},
          {"drop (B, 1, S)", Mask::drop(bools({B, 1, S}, 3))},
          {"nothing", Mask::keep(zeros({1, 1}, DType::boolean))},
          {"documents", Mask::documents(ids)},
          {"documents of queries and keys", Mask::documents(other_ids, ids)},
          {"prefix", Mask::prefix_lm({3, 0, 5})},
          {"all", Mask::causal() & Mask::documents(ids) & Mask::keep(bools({B, T, S}, 4))}};
}

struct Mechanism {
  std::string name;
  std::function<std::unique_ptr<nn::Attention>(Rng&)> make;
  std::int64_t heads = 1;
  Mask own = Mask::none();  // what the mechanism's options keep
};

std::vector<Mechanism> mechanisms() {
  std::vector<Mechanism> all;
  const auto add = [&](const std::string& name, nn::AttentionNormalizer weights) {
    all.push_back(
        {name, [=](Rng& rng) {
           return nn::make_attention(
               name, {.query_dim = C, .key_dim = C, .attention_dim = 3, .weights = weights}, rng);
         }});
  };
  for (const std::string& name : nn::single_head_attention_names())
    add(name, nn::AttentionNormalizer::softmax);
  const auto add_step = [&](const std::string& label, const std::string& name,
                            nn::AttentionFactoryOptions sizes, std::int64_t heads) {
    all.push_back({label, [=](Rng& rng) { return nn::make_attention(name, sizes, rng); }, heads});
  };
  nn::AttentionFactoryOptions sizes{
      .query_dim = C, .key_dim = C, .attention_dim = 6, .num_heads = 2};
  add_step("multihead, step by step", "multihead", sizes, 2);
  sizes.coverage = true;
  add_step("additive with coverage", "additive", sizes, 1);
  for (const std::string name : {"additive", "general", "location"}) {
    add(name, nn::AttentionNormalizer::sparsemax);
    add(name, nn::AttentionNormalizer::entmax15);
  }
  const auto add_multihead = [&](const std::string& name,
                                 const nn::MultiheadAttentionOptions& options) {
    all.push_back(
        {name,
         [options](Rng& rng) { return std::make_unique<nn::MultiheadAttention>(options, rng); }, 2,
         options.causal ? Mask::causal() & Mask::window(options.window_left, -1) : Mask::none()});
  };
  add_multihead("multihead", {.embed_dim = C, .num_heads = 2});
  add_multihead("multihead with dropout", {.embed_dim = C, .num_heads = 2, .dropout = 0.3});
  add_multihead("multihead, grouped, rope",
                {.embed_dim = C, .num_heads = 2, .num_kv_heads = 1, .rope = RopeOptions{}});
  add_multihead("multihead, causal window",
                {.embed_dim = C, .num_heads = 2, .causal = true, .window_left = 2});
  return all;
}

// Linear attention is a sum over a prefix: it supports only these.
bool takes(const Mechanism& mechanism, const std::string& mask) {
  return mechanism.name != "linear" || mask == "none" || mask == "causal" || mask == "lengths" ||
         mask == "causal & lengths";
}

class Recorder final : public nn::AttentionObserver {
 public:
  void on_attention(const nn::Attention&, const nn::AttentionCall& call) override {
    calls.push_back(call.rows(0, call.T));  // (B, H, T, S)
  }
  std::vector<Tensor> calls;
};

bool all_finite(const Tensor& x) {
  for (const double value : x.to_vector<double>())
    if (!std::isfinite(value)) return false;
  return true;
}

// The weights of one call, or of one call per query.
Tensor joined(const std::vector<Tensor>& calls) {
  return calls.size() == 1 ? calls[0] : concat(calls, 2);
}

// Rows of weights sum to 1 (less with a Gaussian factor), or to 0 if fully masked; masked keys have
// weight 0.
void check_weights(const Tensor& weights, const Tensor& kept, double tolerance,
                   bool may_be_less = false) {
  const std::int64_t H = weights.dim(1);
  REQUIRE(weights.shape() == Shape{B, H, T, S});
  const Tensor allowed = broadcast_to(kept, weights.shape()).contiguous();
  const std::vector<double> w = weights.to_vector<double>();
  const std::vector<bool> may = allowed.to_vector<bool>();
  for (std::size_t row = 0; row < w.size() / S; ++row) {
    double total = 0;
    bool any = false;
    for (std::size_t s = row * S; s < (row + 1) * S; ++s) {
      total += w[s];
      any |= may[s];
      CHECK((may[s] || w[s] == 0));
    }
    if (!any)
      CHECK(total == 0);
    else
      CHECK((std::abs(total - 1) <= tolerance || (may_be_less && total > 0 && total < 1)));
  }
}

// For each (b, t): whether any key is unmasked. The masks here are equal for all heads.
std::vector<bool> keeps_any_key(const Tensor& kept, std::int64_t heads) {
  const Tensor written = broadcast_to(kept, {B, heads, T, S}).contiguous();
  const std::vector<bool> cells = select(written, 1, 0).contiguous().to_vector<bool>();
  std::vector<bool> found;
  for (auto row = cells.begin(); row != cells.end(); row += S)
    found.push_back(std::find(row, row + S, true) != row + S);
  return found;
}

void check_laws(const Mechanism& mechanism, const NamedMask& masked, bool training, DType dtype) {
  Rng rng(5);
  const std::unique_ptr<nn::Attention> attention = mechanism.make(rng);
  test::cast(*attention, dtype);
  attention->train(training);
  const auto input = [&](std::uint64_t seed) {
    Rng of_input(seed);
    return randn({B, T, C}, of_input, dtype).set_requires_grad();
  };
  Tensor q = input(1), k = input(2), v = input(3);
  const Tensor kept =
      (masked.mask & mechanism.own).to_tensor({B, mechanism.heads, T, S});  // (B|1, H|1, T, S)

  const RngState before = rng.state();
  const Tensor y = (*attention)(q, k, v, masked.mask);  // (B, T, C)
  Recorder recorder;
  attention->watch(recorder);
  rng.set_state(before);
  const Tensor watched = (*attention)(q, k, v, masked.mask);
  CHECK(max_difference(y, watched) == 0);
  check_weights(joined(recorder.calls), kept, dtype == DType::f64 ? 1e-12 : 1e-5,
                mechanism.name == "local-p");

  // A fully masked query gives 0 (biases of projections are initialized to 0) ...
  CHECK(all_finite(y));
  const std::vector<bool> any_key = keeps_any_key(kept, mechanism.heads);  // of head 0
  for (std::int64_t b = 0; b < B; ++b)
    for (std::int64_t t = 0; t < T; ++t) {
      if (any_key[static_cast<std::size_t>(b * T + t)]) continue;
      const Tensor row = select(select(y, 0, b), 0, t);
      CHECK(max_difference(row, zeros({C}, dtype)) == 0);
    }
  // ... and gradients of 0; no gradient is NaN.
  sum(square(y) + y).backward();
  for (const Tensor& x : {q, k, v}) {
    if (!x.grad().defined()) continue;
    CHECK(all_finite(x.grad()));
  }
  for (const auto& [name, parameter] : attention->parameters())
    if (parameter.grad().defined()) CHECK(all_finite(parameter.grad()));
  if (q.grad().defined())
    for (std::int64_t b = 0; b < B; ++b)
      for (std::int64_t t = 0; t < T; ++t) {
        if (any_key[static_cast<std::size_t>(b * T + t)]) continue;
        if (mechanism.name == "local-p") continue;  // the window depends on the query
        const Tensor row = select(select(q.grad(), 0, b), 0, t);
        CHECK(max_difference(row, zeros({C}, dtype)) == 0);
      }
}

}  // namespace

TEST_CASE("every mechanism, every mask, train and eval, f32 and f64") {
  int checked = 0;
  for (const Mechanism& mechanism : mechanisms())
    for (const NamedMask& masked : masks()) {
      if (!takes(mechanism, masked.name)) continue;
      for (const bool training : {true, false})
        for (const DType dtype : {DType::f32, DType::f64}) {
          CAPTURE(mechanism.name);
          CAPTURE(masked.name);
          CAPTURE(training);
          CAPTURE(name_of(dtype));
          check_laws(mechanism, masked, training, dtype);
          ++checked;
        }
    }
  CHECK(checked > 800);
}

TEST_CASE("masks that differ between heads, and strict ones") {
  Rng rng(1);
  const nn::MultiheadAttention attention({.embed_dim = C, .num_heads = 2}, rng);
  const Tensor x = randn({B, T, C}, rng);
  const Mask by_head = Mask::keep(bools({B, 2, T, S}, 9));
  Recorder recorder;
  const_cast<nn::MultiheadAttention&>(attention).watch(recorder);
  CHECK(all_finite(attention(x, by_head)));
  check_weights(joined(recorder.calls), by_head.to_tensor({B, 2, T, S}), 1e-5);
  CHECK(test::message_of<ValueError>([&] {
          attention(x, Mask::lengths({5, 0, 1}).strict());
        }) ==
        "Mask::strict: batch row 1, head 0, query 0 of 5 attends none of 5 keys: must attend at "
        "least one");
}

TEST_CASE("a child of fork() can watch while another thread of the parent was watching") {
  struct Nothing final : nn::AttentionObserver {
    void on_attention(const nn::Attention&, const nn::AttentionCall&) override {}
  };
  Rng rng(1);
  const auto layer =
      nn::make_attention("dot", {.query_dim = C, .key_dim = C, .attention_dim = C}, rng);
  const std::jthread watching([&](const std::stop_token& stop) {
    Nothing observer;
    while (!stop.stop_requested()) {
      layer->watch(observer);
      layer->unwatch(observer);
    }
  });
  for (int i = 0; i < 50; ++i) {
    const pid_t child = fork();
    if (child == 0) {
      alarm(60);
      Nothing observer;
      layer->watch(observer);
      _exit(0);
    }
    int status = -1;
    waitpid(child, &status, 0);
    REQUIRE(status == 0);
  }
}
