// Flush to zero: results of ops for denormals, and the caller's floating-point mode around ops.
#include <fovea/core/autograd.h>
#include <fovea/core/denormals.h>
#include <fovea/core/kernels/float_mode.h>
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/grad_cases.h>

#include <algorithm>
#include <cmath>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

constexpr bool supported = kernels::kFlush != 0;

struct FlushDenormal {
  bool before = flush_denormal();
  explicit FlushDenormal(bool on) { set_flush_denormal(on); }
  ~FlushDenormal() { set_flush_denormal(before); }
};

struct Threads {
  int before = num_threads();
  explicit Threads(int n) { set_num_threads(n); }
  ~Threads() { set_num_threads(before); }
};

struct CallerMode {  // the mode of this thread, as set by a user
  std::uint64_t before = kernels::float_control();
  explicit CallerMode(std::uint64_t mode) { kernels::set_float_control(before | mode); }
  ~CallerMode() { kernels::set_float_control(before); }
};

// The mode without the sticky exception flags.
std::uint64_t mode() {
#if defined(__SSE2__)
  return kernels::float_control() & ~std::uint64_t{0x3F};
#else
  return kernels::float_control();
#endif
}

// 2^-140 and 2^-1060: denormals whose small multiples are exact.
double tiny(DType dtype) { return std::ldexp(1.0, dtype == DType::f32 ? -140 : -1060); }

// Names and values as the bytes of a file.
bool same_bits(const NamedTensors& a, const NamedTensors& b) {
  return to_safetensors(a) == to_safetensors(b);
}

// Fills may flush; data from the user stays.
Tensor tensor_of(double value, const Shape& shape, DType dtype) {
  const auto n = static_cast<std::size_t>(shape.numel());
  if (dtype == DType::f64) return from_data(std::vector<double>(n, value), shape);
  return from_data(std::vector<float>(n, static_cast<float>(value)), shape);
}

bool all_equal(const Tensor& x, double value) {
  const FlushDenormal exact(false);
  const std::vector<double> values = x.to_vector<double>();
  return !values.empty() &&
         std::all_of(values.begin(), values.end(), [=](double v) { return v == value; });
}

// f of denormals: 0 with flushing on, else `exact` times the smallest denormal.
template <class F>
void check(const char* what, DType dtype, double exact, const F& f) {
  CAPTURE(what);
  CAPTURE(name_of(dtype));
  {
    const FlushDenormal on(true);
    CHECK(all_equal(f(), 0));
  }
  const FlushDenormal off(false);
  CHECK(all_equal(f(), exact * tiny(dtype)));
}

}  // namespace

TEST_CASE("products and sums of denormals are 0, or exact") {
  if (!supported) return;
  for (const int threads : {1, 3})
    for (const DType dtype : {DType::f32, DType::f64}) {
      const Threads guard(threads);
      const auto of = [dtype](const Shape& shape) { return tensor_of(tiny(dtype), shape, dtype); };
      const auto matrix_product = [&](std::int64_t M, std::int64_t K, std::int64_t N) {
        check("matmul", dtype, static_cast<double>(K), [&] {
          return matmul(of({M, K}), ones({K, N}, dtype));
        });
      };
      matrix_product(1, 2, 1);
      matrix_product(2, 3, 2);
      matrix_product(5, 64, 300);
      matrix_product(200, 130, 190);
      matrix_product(64, 64, 1);
      check("matmul of a batch", dtype, 6, [&] {
        return matmul(of({40, 7, 6}), ones({40, 6, 5}, dtype));
      });
      check("matmul by a transpose", dtype, 32, [&] {
        return matmul(ones({3, 32}, dtype), transpose(of({70, 32}), 0, 1));
      });
      check("linear", dtype, 17, [&] {
        return linear(of({9, 16}), ones({8, 16}, dtype), of({8}));
      });
      for (const std::int64_t n : {1, 3, 1000, 100'000}) {
        check("multiply", dtype, 2, [&] { return of({n}) * 2.0; });
        check("add", dtype, 2, [&] { return of({n}) + of({n}); });
        check("relu", dtype, 1, [&] { return relu(of({n}) * 1.0); });
      }
      check("product of normals", dtype, 1, [&] {
        return tensor_of(std::sqrt(tiny(dtype)), {50}, dtype) *
               tensor_of(std::sqrt(tiny(dtype)), {50}, dtype);
      });
    }
}

TEST_CASE("gradients, states and updates flush too") {
  if (!supported) return;
  const DType dtype = DType::f32;
  const auto of = [&](const Shape& shape) { return tensor_of(tiny(dtype), shape, dtype); };
  check("a gradient", dtype, 3, [&] {
    Tensor x = ones({4, 5}).set_requires_grad();
    matmul(x, of({5, 3})).backward(ones({4, 3}));
    return x.grad();
  });
  check("a summed gradient", dtype, 2, [&] {
    Tensor x = ones({300}).set_requires_grad();
    for (int i = 0; i < 2; ++i) x.backward(of({300}));
    return x.grad();
  });
  check("sgd", dtype, -1, [&] {
    Tensor w = tensor_of(0, {100}, dtype), none;
    sgd_step(w, of({100}), none, {.lr = 1.0}, false);
    return w;
  });
}

TEST_CASE("other results keep their bits") {
  for (const test::GradCase& c : test::grad_cases()) {
    CAPTURE(c.op);
    const auto step = [&c](bool on) {
      const FlushDenormal guard(on);
      std::vector<Tensor> leaves;
      for (const Tensor& x : c.inputs) leaves.push_back(x.detach().clone().set_requires_grad());
      const Tensor y = c.f(leaves);
      y.backward(ones(y.shape(), y.dtype()));
      NamedTensors all{{"y", y.detach()}};
      for (std::size_t i = 0; i < leaves.size(); ++i)
        if (leaves[i].grad().defined()) all.emplace_back(std::to_string(i), leaves[i].grad());
      return all;
    };
    CHECK(same_bits(step(true), step(false)));
  }
}

TEST_CASE("every op leaves the caller's mode as it was") {
  if (!supported) return;
  for (const std::uint64_t flush : {std::uint64_t{0}, kernels::kFlush}) {
    const CallerMode caller(flush);
    const std::uint64_t before = mode();
    for (const bool on : {true, false}) {
      const FlushDenormal guard(on);
      for (const test::GradCase& c : test::grad_cases()) {
        CAPTURE(c.op);
        std::vector<Tensor> leaves;
        for (const Tensor& x : c.inputs) leaves.push_back(x.detach().clone().set_requires_grad());
        const Tensor y = c.f(leaves);
        REQUIRE(mode() == before);
        y.backward(ones(y.shape(), y.dtype()));
        REQUIRE(mode() == before);
      }
    }
  }
}

TEST_CASE("the caller computes denormals in its own mode") {
  if (!supported) return;
  volatile float small = 0x1p-140f, one = 1.0f;
  const Tensor x = tensor_of(0x1p-140, {1000}, DType::f32);
  CHECK(all_equal(x * 1.0, 0));
  CHECK(small * one == 0x1p-140f);
  const CallerMode flushing(kernels::kFlush);  // the caller's mode does not affect the ops
  const FlushDenormal off(false);
  const Tensor y = x * 1.0;
  kernels::set_float_control(kernels::float_control() & ~kernels::kFlush);
  CHECK(all_equal(y, 0x1p-140));
}

TEST_CASE("an exception leaves the caller's mode as it was") {
  if (!supported) return;
  const std::uint64_t before = mode();
  for (const int threads : {1, 2}) {
    const Threads guard(threads);
    CHECK_THROWS_AS(kernels::parallel_for(100, 1, [](std::int64_t, std::int64_t) { throw 1; }),
                    int);
    CHECK(mode() == before);
    CHECK_THROWS_AS(matmul(ones({2, 3}), ones({2, 3})), ShapeError);
    CHECK(mode() == before);
  }
}

TEST_CASE("all threads flush in the same way") {
  Rng rng(1);
  const Tensor a = randn({150, 90}, rng) * 1e-37, b = randn({90, 170}, rng) * 1e-1;
  for (const bool on : {true, false}) {
    const FlushDenormal guard(on);
    const auto results = [&](int threads) {
      const Threads several(threads);
      Tensor x = a.clone().set_requires_grad(), w = b.clone().set_requires_grad();
      const Tensor y = layer_norm(matmul(x, w), ones({170}), zeros({170}));
      const Tensor z = cumsum(matmul(x, w), 0) + y;
      z.backward(ones(z.shape()) * 1e-36);
      return NamedTensors{{"y", y.detach()}, {"z", z.detach()}, {"dx", x.grad()}, {"dw", w.grad()}};
    };
    const NamedTensors one = results(1);
    for (const int threads : {2, 3, 4, 8}) CHECK(same_bits(results(threads), one));
  }
}

TEST_CASE("set_flush_denormal and flush_denormal") {
  CHECK(flush_denormal() == supported);
  CHECK(set_flush_denormal(false) == supported);
  CHECK(!flush_denormal());
  CHECK(set_flush_denormal(true) == supported);
  CHECK(flush_denormal() == supported);
}
