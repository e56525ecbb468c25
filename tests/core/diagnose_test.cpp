// NaN tracing, the gradient audit and graph drawings.
#include <fovea/core/diagnose.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::message_of;
using Kind = GradientAudit::Kind;

namespace {

Tensor leaf(std::initializer_list<float> values) { return tensor(values).set_requires_grad(); }

using Named = std::vector<std::pair<std::string, Tensor>>;

}  // namespace

TEST_CASE("the first NaN forward: op, module and ranges of the inputs") {
  const std::string path = "encoder.layers.1";
  const ModuleTrail trail(&path);
  const TraceNonFinite trace;
  CHECK(message_of<NonFiniteError>([] {
          log(tensor({4, -1, 2}));
        }) ==
        "log: forward: the first NaN or infinity; output 0 (3,): finite values in [0.6931, 1.386], "
        "1 of 3 not finite; input 0 (3,): finite values in [-1, 4], 0 of 3 not finite, in "
        "encoder.layers.1");
  CHECK(message_of<NonFiniteError>([] { div(tensor({1}), tensor({0})); }) ==
        "div: forward: the first NaN or infinity; output 0 (1,): no finite value, 1 of 1 not "
        "finite; input 0 (1,): finite values in [1, 1], 0 of 1 not finite; input 1 (1,): finite "
        "values in [0, 0], 0 of 1 not finite, in encoder.layers.1");
}

// Tracing a non-contiguous view copies it; that copy is not traced itself.
TEST_CASE("a non-contiguous view is traced like any other input, forward and backward") {
  const Tensor turned = transpose(tensor({{1, -1}, {2, 4}}), 0, 1);
  const Tensor x = tensor({{0, 4}, {4, 4}}).set_requires_grad();
  const TraceNonFinite trace;
  CHECK(message_of<NonFiniteError>([&] { log(turned); }) ==
        "log: forward: the first NaN or infinity; output 0 (2, 2): finite values in [0, 1.386], 1 "
        "of 4 not finite; input 0 (2, 2): finite values in [-1, 4], 0 of 4 not finite");
  CHECK(message_of<NonFiniteError>([&] {
          sum(transpose(sqrt(x), 0, 1)).backward();
        }).starts_with("sqrt: backward: "));
}

TEST_CASE("an op with a NaN in its input is not reported") {
  const Tensor bad = log(tensor({-1}));
  const TraceNonFinite trace;
  CHECK_NOTHROW(exp(bad));
}

TEST_CASE("nothing is traced outside the scope") {
  { const TraceNonFinite trace; }
  CHECK_NOTHROW(log(tensor({-1})));
}

TEST_CASE("the first NaN in a backward: the op and the module that recorded it") {
  const Tensor x = leaf({0, 4});
  const std::string path = "decoder";
  Tensor root;
  {
    const ModuleTrail trail(&path);
    root = sqrt(x);  // its derivative at 0 is infinite
  }
  const TraceNonFinite trace;
  CHECK(message_of<NonFiniteError>([&] { sum(root * 2.0).backward(); }) ==
        "sqrt: backward: the first NaN or infinity; gradient of input 0 (2,): finite values in "
        "[0.5, 0.5], 1 of 2 not finite; gradient of output 0 (2,): finite values in [2, 2], 0 of 2 "
        "not finite, in decoder");
}

TEST_CASE("a composed backward is reported as one op, not as the ops inside") {
  const Tensor x = leaf({0});
  const Tensor y = record<"test_composed">(
      tensor({0}), {x}, [](const Tensor& dy, NeedsGrad) { return Grads(dy / 0.0); });
  const TraceNonFinite trace;
  CHECK(message_of<NonFiniteError>([&] { y.backward(); }).starts_with("test_composed: backward: "));
}

TEST_CASE("the audit reports nothing when all gradients are good") {
  const Tensor w = leaf({1, 2});
  const GradientAudit audit;
  sum(w * w).backward();
  const Named parameters{{"w", w}};
  CHECK(audit.findings(parameters).empty());
  CHECK(audit.report(parameters) == "every parameter got a finite, non-zero gradient\n");
}

TEST_CASE("the audit reports leaves that are not among the parameters, with their first use") {
  const Tensor w = leaf({1, 2}), b = leaf({3, 4}), constant = tensor({1, 1});
  const std::string path = "head";
  const GradientAudit audit;
  {
    const ModuleTrail trail(&path);
    const Tensor h = tanh(w * constant) + b;  // before b * b, unlike the order of operands
    sum(h + b * b).backward();
  }
  CHECK(audit.report(Named{{"w", w}, {"b", b}}) ==
        "every parameter got a finite, non-zero gradient\n");
  CHECK(audit.report(Named{{"w", w}}) ==
        "a leaf (2,) that add in head uses is not among the parameters: does visit() name its "
        "module?\n");
  CHECK(audit.findings({}).size() == 2);
}

TEST_CASE("the audit does not report leaves that were used under NoGrad only") {
  const Tensor w = leaf({1, 2}), teacher = leaf({3, 4});
  const GradientAudit audit;
  const auto evaluated = [&] {
    const NoGrad guard;
    return tanh(teacher);
  };
  sum(w * evaluated()).backward();
  CHECK(audit.findings(Named{{"w", w}}).empty());
  sum(w * teacher).backward();
  const auto findings = audit.findings(Named{{"w", w}});
  REQUIRE(findings.size() == 1);
  CHECK(findings[0].kind == Kind::unlisted);
  CHECK(findings[0].cut_by == "mul");
}

TEST_CASE("the audit names the parameter and the op that cut the path") {
  const Tensor used = leaf({1}), detached = leaf({2}), ungraded = leaf({3}), unused = leaf({4}),
               zero = leaf({5}), infinite = leaf({0}), counted = leaf({6});
  const std::string path = "encoder.gru";
  const GradientAudit audit;
  Tensor loss = used * 1.0;
  {
    const ModuleTrail trail(&path);
    loss = loss + (detached * 2.0).detach();
  }
  const auto without_record = [&] {
    const NoGrad guard;
    return ungraded * 2.0;
  };
  loss = loss + without_record() + zero * 0.0 + sqrt(infinite) + argmax(counted).to(DType::f32);
  loss.backward();
  const Named parameters{{"used", used},      {"detached", detached}, {"ungraded", ungraded},
                         {"unused", unused},  {"zero", zero},         {"infinite", infinite},
                         {"counted", counted}};
  CHECK(audit.report(parameters) ==
        "detached: no gradient: cut by detach in encoder.gru\n"
        "ungraded: no gradient: cut by mul_number (under NoGrad)\n"
        "unused: no gradient: the loss does not depend on it\n"
        "zero: zero gradient\n"
        "infinite: non-finite gradient\n"
        "counted: no gradient: cut by argmax\n");
  const auto findings = audit.findings(parameters);
  REQUIRE(findings.size() == 6);
  CHECK(findings[0].kind == Kind::none);
  CHECK(findings[3].kind == Kind::zero);
  CHECK(findings[4].kind == Kind::non_finite);
}

TEST_CASE("use of input values inside an op is not reported as a cut") {
  const std::pair<const char*, Tensor (*)(const Tensor&)> ops[] = {
      {"stack",
       [](const Tensor& x) {
         return stack({x, x}, 1);
       }},
      {"concat",
       [](const Tensor& x) {
         return concat({x, x}, 1);
       }},
      {"unbind", [](const Tensor& x) { return unbind(x, 0)[1]; }},
      {"select", [](const Tensor& x) { return select(x, 0, 1); }},
      {"reshape", [](const Tensor& x) { return reshape(transpose(x, 0, 1), {-1}); }},
      {"index_select",
       [](const Tensor& x) { return index_select(transpose(x, 0, 1), 0, arange(2)); }},
      {"matmul", [](const Tensor& x) { return matmul(x, slice(x, 1, 0, 3, 2)); }},
      {"linear",
       [](const Tensor& x) {
         return linear(slice(x, 1, 0, 3, 2), ones({1, 2}), {});
       }},
      {"sum", [](const Tensor& x) { return sum(transpose(x, 0, 1), 1); }},
      {"to_vector", [](const Tensor& x) { return x * x.to_vector<double>()[0]; }},
  };
  for (const auto& [name, f] : ops) {
    const std::string op = name;
    CAPTURE(op);
    const Tensor w = ones({3, 3}).set_requires_grad();
    const GradientAudit audit;
    f(w).detach();
    const Named parameters{{"w", w}};
    CHECK(audit.report(parameters) == "w: no gradient: cut by detach\n");
  }
}

TEST_CASE("ops inside a backward are not reported as cuts") {
  const Tensor a = leaf({1}), b = leaf({2});
  const GradientAudit audit;
  const Tensor unused = a * b;
  (a * a * a).backward();
  const Named parameters{{"a", a}, {"b", b}};
  CHECK(audit.report(parameters) == "b: no gradient: the loss does not depend on it\n");
}

TEST_CASE("the drawn graph shows ops, modules, shapes and the names of leaves") {
  const Tensor w = leaf({1, 2, 3}), x = leaf({4, 5, 6});
  const std::string path = "model.\"head\"";
  Tensor h;
  {
    const ModuleTrail trail(&path);
    h = w * x;
  }
  const Named names{{"weight", w}};
  const std::string dot = graph_to_dot(sum(h + h), names);
  const auto contains = [&](const char* text) { return dot.find(text) != std::string::npos; };
  CHECK(dot.starts_with("digraph fovea {\n"));
  CHECK(dot.ends_with("}\n"));
  CHECK(contains("label=\"sum\\n()\""));
  CHECK(contains("label=\"mul in model.\\\"head\\\"\\n(3,)\""));
  CHECK(contains("label=\"weight\\n(3,)\", style=filled"));
  CHECK(contains("label=\"(3,)\", style=filled"));
  CHECK(contains("n2 -> n1"));
  CHECK(graph_to_dot(tensor({1})).find("label=") == std::string::npos);
}
