// Every registered op has a case here whose graph contains it, and whose first and second
// derivatives agree with finite differences. Adding an op without a case fails this test.
#include <fovea/core/diagnose.h>
#include <fovea/tests/support/grad_cases.h>

#include <set>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

std::set<std::string> ops_in_graph(const Tensor& output) {
  std::set<std::string> names;
  std::set<const Node*> seen;
  std::vector<Node*> stack{output.impl()->node.get()};
  while (!stack.empty()) {
    Node* node = stack.back();
    stack.pop_back();
    if (node == nullptr || !seen.insert(node).second) continue;
    if (!node->is_leaf()) names.insert(node->op->name);
    for (const Edge& edge : node->edges()) stack.push_back(edge.node.get());
  }
  return names;
}

std::set<std::string> ops_of(const test::GradCase& c) {
  std::vector<Tensor> leaves;
  for (const Tensor& x : c.inputs) {
    leaves.push_back(x.detach().clone());
    leaves.back().set_requires_grad();
  }
  return ops_in_graph(c.f(leaves));
}

}  // namespace

TEST_CASE("first and second derivatives of every case agree with finite differences") {
  for (const test::GradCase& c : test::grad_cases()) {
    CAPTURE(c.op);
    const GradReport first = gradcheck(c.f, c.inputs, c.options);
    CHECK_MESSAGE(first.ok, first.message);
    const GradReport second = gradgradcheck(c.f, c.inputs, c.options);
    CHECK_MESSAGE(second.ok, second.message);
  }
}

TEST_CASE("the graph of every case contains its op") {
  for (const test::GradCase& c : test::grad_cases()) {
    CAPTURE(c.op);
    CHECK(ops_of(c).contains(c.op));
  }
}

TEST_CASE("every registered op has a case") {
  std::set<std::string> covered;
  for (const test::GradCase& c : test::grad_cases()) covered.insert(c.op);
  for (const OpInfo& op : registered_ops()) {
    if (!op.differentiable) continue;
    CAPTURE(std::string(op.name));
    CHECK(covered.contains(op.name));
  }
}
