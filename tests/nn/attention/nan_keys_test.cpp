// Every mechanism: a NaN in a key or value affects only the queries that attend to it.
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/tests/support/compare.h>

#include <cmath>

#include "family.h"
#include <doctest/doctest.h>

using namespace fovea;
using namespace fovea::test;

namespace {

constexpr std::int64_t kB = 2, kT = 6;

struct Run {
  Tensor query, key, value, output;
  std::vector<Tensor> gradients;
};

// The NaN is in batch row 0. The loss uses its queries before `place`, and all of row 1.
Run run(const Mechanism& m, bool poisoned, std::int64_t place, bool in_value) {
  Rng rng(3);
  const auto layer = m.make(rng);
  layer->eval();
  Rng inputs(5);
  Run r{randn({kB, kT, 4}, inputs, DType::f64),
        randn({kB, kT, 4}, inputs, DType::f64),
        randn({kB, kT, 3}, inputs, DType::f64),
        {},
        {}};
  if (poisoned) select(select(in_value ? r.value : r.key, 0, 0), 0, place).fill(std::nan(""));
  for (Tensor* leaf : {&r.query, &r.key, &r.value}) leaf->set_requires_grad();
  r.output = (*layer)(r.query, r.key, r.value, Mask::causal());
  const Tensor loss = sum(square(select(narrow(r.output, 1, 0, place), 0, 0))) +
                      sum(square(select(r.output, 0, 1)));
  const Tensor leaves[] = {r.query, r.key, r.value};
  r.gradients = grad({&loss, 1}, leaves);
  return r;
}

}  // namespace

TEST_CASE("causal: a NaN in a later key or value changes no earlier query, nor its gradients") {
  for (const Mechanism& m : family())
    for (const std::int64_t place : {kT - 1, std::int64_t{3}})
      for (const bool in_value : {false, true}) {
        CAPTURE(m.label);
        CAPTURE(place);
        CAPTURE(in_value);
        const Run clean = run(m, false, place, in_value);
        const Run found = run(m, true, place, in_value);
        CHECK(max_difference(select(narrow(found.output, 1, 0, place), 0, 0),
                             select(narrow(clean.output, 1, 0, place), 0, 0)) <= 1e-12);
        CHECK(max_difference(select(found.output, 0, 1), select(clean.output, 0, 1)) <= 1e-12);
        if (!m.is("local-p"))  // it may predict a position far from this key
          CHECK(std::isnan(select(select(found.output, 0, 0), 0, place).to_vector<double>()[0]));
        for (const std::size_t i : {1, 2}) {
          if (m.is("linear"))  // the NaN row itself: 0 times NaN
            select(select(found.gradients[i], 0, 0), 0, place).fill(0);
          CHECK(max_difference(found.gradients[i], clean.gradients[i]) <= 1e-10);
        }
        CHECK(max_difference(narrow(found.gradients[0], 1, 0, place),
                             narrow(clean.gradients[0], 1, 0, place)) <= 1e-10);
      }
}
