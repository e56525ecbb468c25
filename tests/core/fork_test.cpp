// The child of a fork() can compute, although OpenMP's threads exist only in the parent.
#include <fovea/core/kernels/parallel.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/compare.h>

#include <functional>
#include <sys/wait.h>
#include <thread>
#include <unistd.h>

#include <doctest/doctest.h>

using namespace fovea;
using test::max_difference;

namespace {

// Large enough for several threads: a product, a map with a sum, attention, and the gradients.
Tensor work() {
  Rng rng(1);
  Tensor x = randn({300, 300}, rng), q = randn({2, 4, 128, 16}, rng);
  x.set_requires_grad();
  q.set_requires_grad();
  const Tensor y = sum(tanh(matmul(x, x))) + sum(scaled_dot_product_attention(q, q, q));
  y.backward();
  return concat({reshape(x.grad(), {-1}), reshape(q.grad(), {-1}), reshape(y.detach(), {1})});
}

// The exit code of a child that runs f; -1 if it did not end by itself within a minute.
int exit_code_of_child(const std::function<bool()>& f) {
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    _exit(f() ? 0 : 1);
  }
  int status = 0;
  waitpid(child, &status, 0);
  return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

// A sanitizer's allocator replaces the pool, and is not safe to fork while another thread uses it.
#ifdef FOVEA_SANITIZED
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

}  // namespace

// The first case: its other thread makes the first allocation of all, maybe during a fork().
TEST_CASE("a child can allocate while another thread of the parent was allocating" *
          doctest::skip(kSanitized)) {
  const std::jthread allocating([](const std::stop_token& stop) {
    while (!stop.stop_requested()) empty({1 << 16});
  });
  for (int i = 0; i < 50; ++i)
    REQUIRE(exit_code_of_child([] { return empty({1 << 18}).numel() == 1 << 18; }) == 0);
}

TEST_CASE("after parallel work the child and the parent compute the same bits") {
  set_num_threads(4);
  const Tensor expected = work();
  const auto is_expected = [&] { return max_difference(work(), expected) == 0; };
  CHECK(exit_code_of_child(is_expected) == 0);
  CHECK(is_expected());
  CHECK(exit_code_of_child(is_expected) == 0);
}

TEST_CASE("a child may set or pin threads and may fork") {
  set_num_threads(4);
  const Tensor expected = work();
  CHECK(exit_code_of_child([&] {
          set_num_threads(4);
          return num_threads() == 1 && !kernels::pin_threads() &&
                 max_difference(work(), expected) == 0;
        }) == 0);
  CHECK(exit_code_of_child([&] {
          return exit_code_of_child([&] { return max_difference(work(), expected) == 0; }) == 0;
        }) == 0);
  CHECK(num_threads() == 4);
}
