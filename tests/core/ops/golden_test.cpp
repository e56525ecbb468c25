// Every op that also exists in PyTorch, against PyTorch: values and gradients.
// The cases: tests/golden/op_cases.py and loss_cases.py. The tolerances: support/golden.h.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/tests/support/golden.h>

#include <string>
#include <utility>
#include <vector>

#include <doctest/doctest.h>

using namespace fovea;
using test::check_golden;
using test::GoldenCase;
using test::GoldenCheck;

namespace {

using nlohmann::json;
using Tensors = std::vector<Tensor>;

// Checks f({x0, x1, ...}, options), which returns several tensors.
template <class F>
GoldenCheck many(F f) {
  return [f](const GoldenCase& golden) {
    NamedTensors inputs;
    Tensors x;
    for (std::string key = "x0"; golden.has(key); key = "x" + std::to_string(x.size())) {
      x.push_back(golden.input(key));
      inputs.emplace_back(key, x.back());
    }
    test::check_values_and_gradients(golden, f(x, golden.options), inputs);
  };
}

// Checks f({x0, x1, ...}, options), which returns one tensor.
template <class F>
GoldenCheck one(F f) {
  return many([f](const Tensors& x, const json& options) -> Tensors { return {f(x, options)}; });
}

GoldenCheck unary(Tensor (*f)(const Tensor&)) {
  return one([f](const Tensors& x, const json&) { return f(x[0]); });
}

GoldenCheck binary(Tensor (*f)(const Tensor&, const Tensor&)) {
  return one([f](const Tensors& x, const json&) { return f(x[0], x[1]); });
}

GoldenCheck along(Tensor (*f)(const Tensor&, std::int64_t)) {
  return one([f](const Tensors& x, const json& o) { return f(x[0], o["axis"]); });
}

Tensor input_or_none(const Tensors& x, std::size_t i) { return i < x.size() ? x[i] : Tensor(); }

template <class List>
List list(const json& numbers) {
  const auto values = numbers.get<std::vector<std::int64_t>>();
  List result;
  for (const std::int64_t value : values) result.push_back(value);
  return result;
}

GoldenCheck reduction(Tensor (*f)(const Tensor&, const Axes&, bool)) {
  return one([f](const Tensors& x, const json& o) {
    return f(x[0], list<Axes>(o["axes"]), o["keepdim"]);
  });
}

GoldenCheck position(Tensor (*f)(const Tensor&, std::int64_t, bool)) {
  return one([f](const Tensors& x, const json& o) { return f(x[0], o["axis"], o["keepdim"]); });
}

GoldenCheck value_and_position(std::pair<Tensor, Tensor> (*f)(const Tensor&, std::int64_t, bool)) {
  return many([f](const Tensors& x, const json& o) -> Tensors {
    const auto [value, index] = f(x[0], o["axis"], o["keepdim"]);
    return {value, index};
  });
}

Reduction reduction_of(const json& options) {
  const std::string name = options["reduction"];
  if (name == "none") return Reduction::none;
  if (name == "sum") return Reduction::sum;
  return name == "batchmean" ? Reduction::batchmean : Reduction::mean;
}

GoldenCheck elementwise_loss(Tensor (*f)(const Tensor&, const Tensor&, Reduction)) {
  return one([f](const Tensors& x, const json& o) { return f(x[0], x[1], reduction_of(o)); });
}

Tensor golden_cross_entropy(const Tensors& x, const json& o) {
  return cross_entropy(x[0], x[1],
                       {.ignore_index = o.value("ignore_index", -100),
                        .label_smoothing = o["label_smoothing"],
                        .weight = input_or_none(x, 2),
                        .reduction = reduction_of(o)});
}

Tensor golden_nll(const Tensors& x, const json& o) {
  return nll_loss(x[0], x[1],
                  {.ignore_index = o.value("ignore_index", -100),
                   .weight = input_or_none(x, 2),
                   .reduction = reduction_of(o)});
}

// kl_div of two distributions computed from scores.
Tensor golden_kl_div(const Tensors& x, const json& o) {
  const bool log_target = o["log_target"];
  const Tensor target = log_target ? log_softmax(x[1]) : softmax(x[1]);
  return kl_div(log_softmax(x[0]), target,
                {.log_target = log_target, .reduction = reduction_of(o)});
}

}  // namespace

TEST_CASE("golden: elementwise ops") {
  check_golden("elementwise",
               {{"add", binary(add)},
                {"sub", binary(sub)},
                {"mul", binary(mul)},
                {"div", binary(div)},
                {"maximum", binary(maximum)},
                {"minimum", binary(minimum)},
                {"equal", binary(eq)},
                {"not_equal", binary(ne)},
                {"less", binary(lt)},
                {"less_equal", binary(le)},
                {"greater", binary(gt)},
                {"greater_equal", binary(ge)},
                {"neg", unary(neg)},
                {"exp", unary(fovea::exp)},
                {"tanh", unary(fovea::tanh)},
                {"sigmoid", unary(sigmoid)},
                {"relu", unary(relu)},
                {"silu", unary(silu)},
                {"softplus", unary(softplus)},
                {"abs", unary(fovea::abs)},
                {"erf", unary(fovea::erf)},
                {"square", unary(square)},
                {"log", unary(fovea::log)},
                {"sqrt", unary(fovea::sqrt)},
                {"rsqrt", unary(rsqrt)},
                {"pow", one([](auto& x, auto& o) {
                   const double exponent = o["exponent"];
                   return pow(x[0], exponent);
                 })},
                {"pow_of_tensors", binary(fovea::pow)},
                {"logical_not", unary(logical_not)},
                {"logical_and", binary(logical_and)},
                {"logical_or", binary(logical_or)},
                {"leaky_relu", one([](auto& x, auto& o) { return leaky_relu(x[0], o["slope"]); })},
                {"gelu", one([](auto& x, auto& o) {
                   return gelu(x[0], o["approximate"] == "tanh" ? Gelu::tanh : Gelu::erf);
                 })},
                {"clamp", one([](auto& x, auto& o) { return clamp(x[0], o["low"], o["high"]); })},
                {"where", one([](auto& x, auto&) { return where(x[0], x[1], x[2]); })}});
}

TEST_CASE("golden: reductions") {
  check_golden("reduce", {{"sum", reduction(sum)},
                          {"mean", reduction(mean)},
                          {"max", reduction(max)},
                          {"min", reduction(min)},
                          {"logsumexp", reduction(logsumexp)},
                          {"var", one([](auto& x, auto& o) {
                             return var(x[0], list<Axes>(o["axes"]), o["correction"], o["keepdim"]);
                           })},
                          {"argmax", position(argmax)},
                          {"argmin", position(argmin)},
                          {"max_with_index", value_and_position(max_with_index)},
                          {"min_with_index", value_and_position(min_with_index)},
                          {"cumsum", along(cumsum)}});
}

TEST_CASE("golden: matrix products") {
  check_golden(
      "matmul",
      {{"matmul", binary(matmul)},
       {"linear", one([](auto& x, auto&) { return linear(x[0], x[1], input_or_none(x, 2)); })}});
}

TEST_CASE("golden: layout") {
  check_golden(
      "layout",
      {{"reshape", one([](auto& x, auto& o) { return reshape(x[0], list<Shape>(o["shape"])); })},
       {"transpose", one([](auto& x, auto& o) { return transpose(x[0], o["dim0"], o["dim1"]); })},
       {"permute", one([](auto& x, auto& o) { return permute(x[0], list<Dims>(o["order"])); })},
       {"slice",
        one([](auto& x, auto& o) { return slice(x[0], o["axis"], o["begin"], o["end"]); })},
       {"concat", one([](auto& x, auto& o) { return concat(x, o["axis"]); })},
       {"stack", one([](auto& x, auto& o) { return stack(x, o["axis"]); })},
       {"flip", one([](auto& x, auto& o) { return flip(x[0], {o["axis"]}); })},
       {"split", many([](auto& x, auto& o) {
          return split(x[0], list<std::vector<std::int64_t>>(o["sizes"]), o["axis"]);
        })},
       {"chunk", many([](auto& x, auto& o) { return chunk(x[0], o["chunks"], o["axis"]); })},
       {"expand", one([](auto& x, auto& o) { return expand(x[0], list<Shape>(o["shape"])); })},
       {"select", one([](auto& x, auto& o) { return select(x[0], o["dim"], o["index"]); })},
       {"unbind", many([](auto& x, auto& o) { return unbind(x[0], o["dim"]); })},
       {"squeeze", along(squeeze)},
       {"unsqueeze", along(unsqueeze)},
       {"pad", one([](auto& x, auto& o) {
          return pad(x[0], {o["before"], o["after"]}, o["value"]);
        })}});
}

TEST_CASE("golden: indexing") {
  check_golden(
      "index",
      {{"embedding",
        one([](auto& x, auto& o) { return embedding(x[1], x[0], o.value("padding_idx", -1)); })},
       {"gather", one([](auto& x, auto& o) { return gather(x[0], o["axis"], x[1]); })},
       {"scatter_add",
        one([](auto& x, auto& o) { return scatter_add(x[0], o["axis"], x[1], x[2]); })},
       {"index_add", one([](auto& x, auto& o) { return index_add(x[0], o["axis"], x[1], x[2]); })},
       {"index_select", one([](auto& x, auto& o) { return index_select(x[0], o["axis"], x[1]); })},
       {"one_hot", one([](auto& x, auto& o) { return one_hot(x[0], o["classes"]); })},
       {"masked_select", binary(masked_select)},
       {"masked_fill", one([](auto& x, auto& o) { return masked_fill(x[0], x[1], o["value"]); })}});
}

TEST_CASE("golden: softmax") {
  check_golden("softmax", {{"softmax", along(softmax)}, {"log_softmax", along(log_softmax)}});
}

TEST_CASE("golden: normalization") {
  check_golden("norm", {{"layer_norm", one([](auto& x, auto& o) {
                           return layer_norm(x[0], input_or_none(x, 1), input_or_none(x, 2),
                                             o["eps"]);
                         })},
                        {"rms_norm", one([](auto& x, auto& o) {
                           return rms_norm(x[0], input_or_none(x, 1), o["eps"]);
                         })}});
}

TEST_CASE("golden: losses") {
  check_golden("loss", {{"cross_entropy", one(golden_cross_entropy)},
                        {"nll", one(golden_nll)},
                        {"mse", elementwise_loss(mse_loss)},
                        {"l1", elementwise_loss(l1_loss)},
                        {"smooth_l1", one([](auto& x, auto& o) {
                           return smooth_l1_loss(x[0], x[1], o["beta"], reduction_of(o));
                         })},
                        {"bce_with_logits", one([](auto& x, auto& o) {
                           return bce_with_logits(
                               x[0], x[1],
                               {.pos_weight = input_or_none(x, 2), .reduction = reduction_of(o)});
                         })},
                        {"kl_div", one(golden_kl_div)}});
}
