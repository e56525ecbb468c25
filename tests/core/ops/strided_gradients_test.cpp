// Gradients passed on without a copy: any_strides(), and the parts of a split.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/tests/support/compare.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;

namespace {

// y = 2 x, whose backward records the layout of its dy.
Tensor twice(const Tensor& x, bool strided, Tensor& received) {
  const auto backward = [&received](const Tensor& dy, NeedsGrad) {
    received = dy;
    return Grads(dy * 2.0);
  };
  const NoGrad off(false);
  Tensor y = without_graph(x) * 2.0;
  return strided ? record<"strided_gradients_test">(y, {x}, any_strides(backward))
                 : record<"strided_gradients_test">(y, {x}, backward);
}

}  // namespace

TEST_CASE("a backward receives dense gradients, unless it accepts any strides") {
  Rng rng(1);
  const Tensor dy = randn({3, 2}, rng);
  for (const bool strided : {false, true}) {
    Tensor x = randn({2, 3}, rng), received;
    x.set_requires_grad();
    transpose(twice(x, strided, received), 0, 1).backward(dy);
    CHECK(received.is_contiguous() == !strided);
    CHECK(max_difference(received, transpose(dy, 0, 1)) == 0);
    CHECK(max_difference(x.grad(), 2.0 * transpose(dy, 0, 1)) == 0);
  }
}

// Two parts whose gradients are adjacent in memory, or one element too far apart if `gap`.
TEST_CASE("the gradient of a split is a view if its parts are adjacent") {
  Rng rng(2);
  for (const std::int64_t gap : {0, 1}) {
    Tensor x = randn({4, 5}, rng);
    x.set_requires_grad();
    const std::vector<Tensor> parts = split(x, {2, 3}, 1);
    const std::byte* address = nullptr;
    const Tensor both = record<"strided_gradients_test">(
        zeros({1}), {parts[0], parts[1]}, [&address, gap](const Tensor&, NeedsGrad) {
          const Tensor block = arange(30).to(DType::f32);
          address = block.raw_data();
          return Grads(alias(block, {4, 2}, {5, 1}), alias(block, {4, 3}, {5, 1}, 2 + gap));
        });
    both.backward(ones({1}));
    CHECK((x.grad().raw_data() == address) == (gap == 0));
    for (std::int64_t row = 0; row < 4; ++row)
      for (std::int64_t c = 0; c < 5; ++c)
        CHECK(x.grad().to_vector<float>()[static_cast<std::size_t>(5 * row + c)] ==
              static_cast<float>(5 * row + c + (c < 2 ? 0 : gap)));
  }
}

// q, k and v as columns of one projection: in order, in another order, two of three, and separate.
TEST_CASE("attention's gradients do not depend on the layout of its inputs") {
  constexpr std::int64_t B = 2, T = 5, H = 3, D = 4;
  Rng rng(3);
  const Tensor all = randn({B, T, 3 * H * D}, rng), dy = randn({B, H, T, D}, rng);
  const auto heads = [](const Tensor& x) {
    return transpose(reshape(x, {B, T, H, D}), 1, 2);  // (B, H, T, D)
  };
  const std::vector<Tensor> own = split(all, H * D, -1);
  for (const std::vector<std::size_t>& order :
       {std::vector<std::size_t>{0, 1, 2}, {2, 0, 1}, {1, 2, 0}, {0, 0, 0}}) {
    Tensor joined = all.clone(), q = own[order[0]].clone(), k = own[order[1]].clone(),
           v = own[order[2]].clone();
    for (Tensor* x : {&joined, &q, &k, &v}) x->set_requires_grad();
    const std::vector<Tensor> part = split(joined, H * D, -1);
    scaled_dot_product_attention(heads(part[order[0]]), heads(part[order[1]]),
                                 heads(part[order[2]]))
        .backward(dy);
    scaled_dot_product_attention(heads(q), heads(k), heads(v)).backward(dy);
    std::vector<Tensor> expected(3);
    for (std::size_t i = 0; i < 3; ++i) {
      const Tensor d = i == 0 ? q.grad() : i == 1 ? k.grad() : v.grad();
      Tensor& sum = expected[order[i]];
      sum = sum.defined() ? sum + d : d;
    }
    for (Tensor& d : expected)
      if (!d.defined()) d = zeros({B, T, H * D});
    CHECK(max_difference(joined.grad(), concat(expected, -1)) <= 1e-6);
  }
}
