// An undefined tensor is a StateError with the op and the argument, in every function.
#include <fovea/core/autograd.h>
#include <fovea/core/diagnose.h>
#include <fovea/core/gradcheck.h>
#include <fovea/core/mask.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/attention_step.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/feed_forward.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/rope.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/ops/score_mod_lambda.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ops/sparse_softmax.h>
#include <fovea/core/ops/step_linear.h>
#include <fovea/core/ops/straight_through.h>
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/state.h>
#include <fovea/tests/support/compare.h>
#include <fovea/tests/support/grad_cases.h>

#include <set>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;

namespace {

const Tensor none;

std::string before_colon(const std::string& message) {
  return message.substr(0, message.find(':'));
}

// Names in messages that only a check inside the implementation gives.
bool is_accessor(const std::string& op) {
  static const std::set<std::string> accessors{
      "shape", "strides", "rank", "dim", "data", "alias", "empty", "without_graph", "dispatch_all"};
  return accessors.contains(op);
}

// "" if f(inputs) rejects an undefined input i with the names of the op and the argument.
std::string problem(const test::GradCase& c, std::size_t i) {
  std::vector<Tensor> inputs = c.inputs;
  inputs[i] = Tensor();
  const std::string message = message_of<StateError>([&] { c.f(inputs); });
  if (message.find(" is undefined") == std::string::npos || is_accessor(before_colon(message)))
    return c.op + ", input " + std::to_string(i) + ": " + message;
  return "";
}

using Call = std::pair<std::string, std::function<void()>>;

void check_messages(const std::vector<Call>& calls) {
  for (const auto& [message, f] : calls) CHECK(message_of<StateError>(f) == message);
}

}  // namespace

TEST_CASE("every op of every gradient case rejects each undefined input") {
  // Inputs that the header allows to be undefined.
  const std::set<std::string> optional{
      "linear 2",      "layer_norm 1",        "layer_norm 2",
      "rms_norm 1",    "linear_recurrence 2", "complex_linear_recurrence 2",
      "step_linear 2", "early_linear 2",      "scaled_dot_product_attention 3"};
  const std::set<std::string> recurrent{"rnn", "gru", "lstm"};  // nearly all are
  REQUIRE(!test::grad_cases().empty());
  for (const test::GradCase& c : test::grad_cases())
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      if (optional.contains(c.op + " " + std::to_string(i)) || recurrent.contains(c.op)) continue;
      CHECK(problem(c, i) == "");
    }
}

TEST_CASE("recurrent layers treat an undefined input as omitted, or reject it by name") {
  for (const test::GradCase& c : test::grad_cases()) {
    if (c.op != "rnn" && c.op != "gru" && c.op != "lstm") continue;
    for (std::size_t i = 0; i < c.inputs.size(); ++i) {
      std::vector<Tensor> inputs = c.inputs;
      inputs[i] = Tensor();
      const std::string message = message_of<Error>([&] { c.f(inputs); });
      CHECK((message == "no error" || before_colon(message) == c.op));
    }
  }
}

TEST_CASE("the message has the op, the argument and the module") {
  const Tensor w = ones({2}).set_requires_grad();
  const std::string path = "encoder.layers.0";
  const ModuleTrail trail(&path);
  CHECK(message_of<StateError>([&] { w.grad() + 1.0; }) ==
        "add: x is undefined, in encoder.layers.0");
}

TEST_CASE("elementwise ops, comparisons and reductions") {
  const Tensor a = ones({2}), bools = ones({2}, DType::boolean);
  check_messages({
      {"add: x is undefined", [&] { none + 1.0; }},
      {"add: b is undefined", [&] { a + none; }},
      {"sub: x is undefined", [&] { 1.0 - none; }},
      {"div: x is undefined", [&] { 1.0 / none; }},
      {"mul: a is undefined", [&] { mul(none, a); }},
      {"neg: x is undefined", [&] { -none; }},
      {"where: condition is undefined", [&] { where(none, a, a); }},
      {"where: b is undefined", [&] { where(bools, 0.0, none); }},
      {"lt: b is undefined", [&] { a < none; }},
      {"eq: x is undefined", [&] { eq(none, 1.0); }},
      {"logical_not: x is undefined", [&] { logical_not(none); }},
      {"logical_or: a is undefined", [&] { logical_or(none, bools); }},
      {"clamp: x is undefined", [&] { clamp(none, 0, 1); }},
      {"sum: x is undefined", [&] { sum(none); }},
      {"mean: x is undefined", [&] { mean(none, 0); }},
      {"argmax: x is undefined", [&] { argmax(none); }},
      {"argmin: x is undefined", [&] { argmin(none, 0); }},
      {"max_with_index: x is undefined", [&] { max_with_index(none, 0); }},
      {"cumsum: x is undefined", [&] { cumsum(none, 0); }},
      {"sum_to: grad is undefined", [&] { sum_to(none, {}); }},
  });
}

TEST_CASE("layout, indices and masks") {
  const Tensor a = ones({2, 2}), ids = zeros({2}, DType::i64);
  check_messages({
      {"reshape: x is undefined", [&] { reshape(none, {1}); }},
      {"squeeze: x is undefined", [&] { squeeze(none); }},
      {"expand: x is undefined", [&] { expand(none, {2}); }},
      {"concat: tensor 1 is undefined",
       [&] {
         concat({a, none});
       }},
      {"stack: tensor 0 is undefined",
       [&] {
         stack({none, a});
       }},
      {"split: x is undefined", [&] { split(none, 1); }},
      {"unbind: x is undefined", [&] { unbind(none); }},
      {"embedding: ids is undefined", [&] { embedding(a, none); }},
      {"embedding: weight is undefined", [&] { embedding(none, ids); }},
      {"gather: index is undefined", [&] { gather(a, 0, none); }},
      {"index_select: index is undefined", [&] { index_select(a, 0, none); }},
      {"index_add: source is undefined", [&] { index_add(a, 0, ids, none); }},
      {"scatter_add: index is undefined", [&] { scatter_add(a, 0, none, a); }},
      {"one_hot: ids is undefined", [&] { one_hot(none, 3); }},
      {"masked_select: keep is undefined", [&] { masked_select(a, none); }},
      {"masked_select: x is undefined", [&] { masked_select(none, Mask::none()); }},
      {"masked_fill: mask is undefined", [&] { masked_fill(a, none, 0); }},
      {"masked_softmax: keep is undefined", [&] { masked_softmax(a, none); }},
      {"masked_softmax: x is undefined", [&] { masked_softmax(none, Mask::causal()); }},
      {"masked_sparsemax: keep is undefined", [&] { masked_sparsemax(a, none); }},
      {"Mask::keep: the mask is undefined", [&] { Mask::keep(none); }},
      {"Mask::drop: the mask is undefined", [&] { Mask::drop(none); }},
      {"Mask::keep_keys: the mask is undefined", [&] { Mask::keep_keys(none); }},
      {"Mask::documents: ids is undefined", [&] { Mask::documents(none); }},
      {"pack: x is undefined", [&] { pack(none, RaggedIndex({1})); }},
      {"pad: values is undefined",
       [&] {
         pad(Ragged{none, RaggedIndex({1})});
       }},
  });
}

TEST_CASE("layers' ops, attention, losses and updates") {
  const Tensor a = ones({2, 2}), x = ones({1, 1, 2, 2}), ids = zeros({2}, DType::i64);
  Tensor w = ones({2}), undefined;
  const RaggedIndex index({2});
  const auto lambda = [](auto score, const ScorePlace&, auto) { return score; };
  check_messages({
      {"matmul: b is undefined", [&] { matmul(a, none); }},
      {"linear: weight is undefined", [&] { linear(a, none); }},
      {"feed_forward: w2 is undefined",
       [&] {
         feed_forward(a, Activation::relu,
                      {.w1 = a, .b1 = {}, .w2 = {}, .b2 = {}, .w3 = {}, .b3 = {}});
       }},
      {"StepLinear: weight is undefined",
       [&] {
         StepLinear(ones({1, 1, 2}), none, none);
       }},
      {"gru: weight_hh is undefined", [&] { recurrent(a, {{}}, index, {RecurrentKind::gru}); }},
      {"rope: positions is undefined", [&] { rope(x, none); }},
      {"scaled_dot_product_attention: k is undefined",
       [&] { scaled_dot_product_attention(x, none, x); }},
      {"scaled_dot_product_attention: v is undefined",
       [&] {
         const Ragged r{ones({2, 1, 2}), index};
         scaled_dot_product_attention(r, r, Ragged{none, index});
       }},
      {"attention_step: keys is undefined",
       [&] {
         attention_step(ones({1, 1, 2}),
                        {.q = a, .k = {}, .v = {}, .bias = {}, .out = a, .out_bias = {}}, {});
       }},
      {"linear_attention: q is undefined", [&] { linear_attention(none, x, x); }},
      {"ScoreMod::bias: bias is undefined", [&] { ScoreMod::bias(none); }},
      {"ScoreMod::alibi: slopes is undefined", [&] { ScoreMod::alibi(none); }},
      {"score_mod: captured 0 is undefined", [&] { score_mod(lambda, {none}); }},
      {"cross_entropy: targets is undefined", [&] { cross_entropy(a, none); }},
      {"nll_loss: input is undefined", [&] { nll_loss(none, ids); }},
      {"mse_loss: target is undefined", [&] { mse_loss(a, none); }},
      {"kl_div: input is undefined", [&] { kl_div(none, a); }},
      {"sgd_step: dw is undefined", [&] { sgd_step(w, none, undefined, {}, true); }},
      {"adam_step: m is undefined", [&] { adam_step(w, w, undefined, w, {}, 1); }},
      {"sum_of_squares: x is undefined", [&] { sum_of_squares(none); }},
  });
  Rng rng(1);
  check_messages({
      {"dropout: x is undefined", [&] { dropout(none, 0.5, rng, false); }},
      {"relu_dropout: x is undefined", [&] { relu_dropout(none, 0.5, rng); }},
      {"polar: radius is undefined", [&] { polar(none, w); }},
      {"polar: angle is undefined", [&] { polar(w, none); }},
      {"elu_feature: x is undefined", [&] { elu_feature(none); }},
      {"straight_through: hard is undefined", [&] { straight_through(none, w); }},
      {"straight_through: soft is undefined", [&] { straight_through(w, none); }},
      {"linear_attention: q is undefined",
       [&] {
         linear_attention_weights(none, ones({1, 2, 2}), Mask::causal(), 0, 1);
       }},
      {"scaled_dot_product_attention: k is undefined",
       [&] { attention_weights(x, none, Mask::none(), {}, 0, 1); }},
      {"scaled_dot_product_attention: q is undefined",
       [&] {
         attention_head_mean(none, x, Mask::none(), {}, ones({1, 1, 2}));
       }},
      {"attention_head_mean: logsumexp is undefined",
       [&] { attention_head_mean(x, x, Mask::none(), {}, none); }},
  });
}

TEST_CASE("members of an undefined tensor") {
  Tensor u;
  check_messages({
      {"shape: the tensor is undefined", [&] { u.shape(); }},
      {"strides: the tensor is undefined", [&] { u.strides(); }},
      {"rank: the tensor is undefined", [&] { u.rank(); }},
      {"dim: the tensor is undefined", [&] { u.dim(0); }},
      {"data: the tensor is undefined", [&] { u.data<float>(); }},
      {"data: the tensor is undefined", [&] { u.mutable_data<bool>(); }},
      {"item: the tensor is undefined", [&] { u.item(); }},
      {"to_vector: the tensor is undefined", [&] { u.to_vector<float>(); }},
      {"to_vector: the tensor is undefined", [&] { u.to_vector<bool>(); }},
      {"contiguous: the tensor is undefined", [&] { u.contiguous(); }},
      {"clone: the tensor is undefined", [&] { u.clone(); }},
      {"to: the tensor is undefined", [&] { u.to(DType::f64); }},
      {"detach: the tensor is undefined", [&] { u.detach(); }},
      {"copy_from: the tensor is undefined", [&] { u.copy_from(ones({1})); }},
      {"copy_from: source is undefined", [&] { ones({1}).copy_from(u); }},
      {"fill: the tensor is undefined", [&] { u.fill(1); }},
      {"is_leaf: the tensor is undefined", [&] { u.is_leaf(); }},
      {"set_requires_grad: the tensor is undefined", [&] { u.set_requires_grad(); }},
      {"grad: the tensor is undefined", [&] { u.grad(); }},
      {"set_grad: the tensor is undefined", [&] { u.set_grad(ones({1})); }},
      {"zero_grad: the tensor is undefined", [&] { u.zero_grad(); }},
      {"retain_grad: the tensor is undefined", [&] { u.retain_grad(); }},
      {"register_hook: the tensor is undefined", [&] { u.register_hook({}); }},
      {"backward: the tensor is undefined", [&] { u.backward(); }},
      {"alias: base is undefined", [&] { alias(u, {}, {}); }},
      {"empty: a tensor is undefined", [&] { empty({2}, u.dtype()); }},
  });
  CHECK_FALSE(u.defined());
  CHECK_FALSE(u.requires_grad());
  CHECK(u.numel() == 0);
  CHECK(name_of(u.dtype()) == "undefined");
}

TEST_CASE("copies and moves of undefined tensors, and moved-from tensors") {
  Tensor a = ones({2}), b;
  const Tensor copy = b;
  CHECK_FALSE(copy.defined());
  const Tensor moved = std::move(a);
  CHECK(moved.defined());
  CHECK(message_of<StateError>([&] { sum(a); }) == "sum: x is undefined");
  b = moved;
  b = std::move(b);
  CHECK(b.impl() == moved.impl());
  b = {};
  CHECK_FALSE(b.defined());
  CHECK(sum(moved).item() == 2);
}

TEST_CASE("gradients of undefined tensors, and saving them") {
  const Tensor x = ones({2}).set_requires_grad(), y = sum(x);
  const NamedTensors named{{"w", x}, {"b", none}};
  Rng rng(1);
  check_messages({
      {"grad: output 0 is undefined", [&] { grad(none, x); }},
      {"grad: input 0 is undefined", [&] { grad(y, none); }},
      {"gradcheck: input 0 is undefined",
       [&] { gradcheck([](const std::vector<Tensor>& in) { return in[0]; }, {none}); }},
      {"checkpoint: input 1 is undefined",
       [&] {
         const Tensor inputs[] = {x, none};
         checkpoint([](std::span<const Tensor> in) { return in[0]; }, inputs);
       }},
      {"my_op: the output is undefined",
       [&] { record<"my_op">(Tensor(), {x}, [](const Tensor&, NeedsGrad) { return Grads(1); }); }},
      {"save: 'b' is undefined", [&] { save("undefined.safetensors", named); }},
      {"to_safetensors: 'b' is undefined", [&] { to_safetensors(named); }},
      {"load_into: 'b' is undefined",
       [&] {
         load_into(SafetensorsFile::parse(to_safetensors({{"w", x}}), "test"), named);
       }},
      {"rng_from_tensor: state is undefined", [&] { rng_from_tensor(rng, none); }},
      {"GradientAudit: 'b' is undefined", [&] { GradientAudit().report(named); }},
      {"graph_to_dot: output is undefined", [&] { graph_to_dot(none); }},
  });
  const Saved saved = keep(none);
  CHECK_FALSE(saved.defined());
}
