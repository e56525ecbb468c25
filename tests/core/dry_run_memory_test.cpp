// A dry run accesses no floats, forward and backward: of tensors of 64 MiB and more it touches only
// the pages of their headers. Integers and bools are real, such as the mask of masked_select().
#include <fovea/core/autograd.h>
#include <fovea/core/mask.h>
#include <fovea/core/ops/additive_attention.h>
#include <fovea/core/ops/attention.h>
#include <fovea/core/ops/dropout.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/feed_forward.h>
#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/linear_attention.h>
#include <fovea/core/ops/loss.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/core/ops/norm.h>
#include <fovea/core/ops/optimizer.h>
#include <fovea/core/ops/recurrent.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/ops/rope.h>
#include <fovea/core/ops/scan.h>
#include <fovea/core/ops/score_mod.h>
#include <fovea/core/ops/softmax.h>
#include <fovea/core/ops/sparse_softmax.h>
#include <fovea/core/ragged.h>
#include <fovea/core/random.h>
#include <fovea/core/threads.h>
#include <fovea/tests/support/dry.h>

#include <functional>

#include <doctest/doctest.h>

using namespace fovea;

namespace {

constexpr std::int64_t n = 4096;       // (n, n) floats are 64 MiB, 16,384 pages
constexpr std::int64_t allowed = 700;  // pages of nodes, of integers and of code

Tensor leaf(const Shape& shape, DType dtype = DType::f32) {
  return ones(shape, dtype).set_requires_grad();
}

Tensor ids(std::int64_t count, std::int64_t below) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  for (std::int64_t i = 0; i < count; ++i) values[static_cast<std::size_t>(i)] = i % below;
  return from_data(values, {count});
}

void backward(const Tensor& y) { y.backward(ones(y.shape(), y.dtype())); }

struct Case {
  std::string name;
  std::function<Tensor()> f;
};

// f() forward and backward; the first run is for code and caches.
void check_dry(const std::vector<Case>& cases) {
  for (const Case& c : cases) {
    CAPTURE(c.name);
    const auto step = [&c] {
      const Tensor y = c.f();
      if (y.requires_grad()) backward(y);
    };
    test::pages_of_dry_run(step);
    CHECK(test::pages_of_dry_run(step) < allowed);
  }
}

}  // namespace

TEST_CASE("the measurement detects a touched tensor") {
  DryRun dry_run;
  Tensor x = ones({n, n});
  const std::int64_t before = test::touched_pages();
  double sum = 0;
  for (std::int64_t i = 0; i < n; ++i) sum += static_cast<double>(x.data<float>()[i * n]);
  CHECK(sum == 0);
  CHECK(test::touched_pages() - before > allowed);
}

TEST_CASE("factories") {
  Rng rng(1);
  check_dry({{"ones",
              [] {
                return ones({n, n});
              }},
             {"rand",
              [&] {
                return rand({n, n}, rng);
              }},
             {"randn",
              [&] {
                return randn({n, n}, rng, DType::f64);
              }},
             {"arange", [] { return arange(0, 1e8, 1, DType::f32); }},
             {"eye", [] { return eye(n); }},
             {"zeros of integers",
              [] {
                return zeros({n, n}, DType::i64);
              }},
             {"one_hot", [] { return one_hot(ids(n, 100), n, DType::f32); }},
             {"alibi_slopes", [] { return alibi_slopes(8); }}});
}

TEST_CASE("elementwise") {
  const auto x = [] { return leaf({n, n}); };
  check_dry({{"tanh", [&] { return tanh(x()); }},
             {"gelu", [&] { return gelu(x()); }},
             {"pow", [&] { return pow(x(), x()); }},
             {"clamp", [&] { return clamp(x(), 0, 1); }},
             {"maximum", [&] { return maximum(x(), x()); }},
             {"broadcast",
              [&] {
                return x() * leaf({n}) + leaf({n, 1});
              }},
             {"where", [&] { return where(gt(x(), 0.5), x(), 0.0); }},
             {"masked_fill", [&] { return masked_fill(x(), gt(x(), 0.5), 1.0); }},
             {"to f64 and back", [&] { return x().to(DType::f64).to(DType::f32); }},
             {"bool to float", [&] { return gt(x(), 0.5).to(DType::f32) * x(); }},
             {"clone", [&] { return x().clone(); }}});
}

TEST_CASE("reductions") {
  const auto x = [] { return leaf({n, n}); };
  check_dry({{"sum", [&] { return sum(x()); }},
             {"sum of columns", [&] { return sum(x(), {0}); }},
             {"mean", [&] { return mean(x(), {1}); }},
             {"var", [&] { return var(x(), {0}); }},
             {"max", [&] { return max(x()); }},
             {"min of rows", [&] { return min(x(), {1}); }},
             {"max_with_index", [&] { return max_with_index(x(), 0).first; }},
             {"argmax", [&] { return argmax(x(), 1); }},
             {"logsumexp", [&] { return logsumexp(x(), {1}); }},
             {"cumsum", [&] { return cumsum(x(), 0); }},
             {"sum_of_squares", [&] { return scalar(sum_of_squares(x())); }}});
}

TEST_CASE("layout and index") {
  const auto x = [] { return leaf({n, n}); };
  const RaggedIndex lengths(std::vector<std::int64_t>(64, 50));
  check_dry({{"transpose", [&] { return transpose(x(), 0, 1).contiguous(); }},
             {"flip", [&] { return flip(x(), {0}); }},
             {"slice", [&] { return slice(x(), 1, 0, n, 3); }},
             {"pad",
              [&] {
                return fovea::pad(x(), {1, 2, 3, 4}, 1.0);
              }},
             {"concat",
              [&] {
                return concat({x(), x()}, 1);
              }},
             {"stack",
              [&] {
                return stack({x(), x()}, 1);
              }},
             {"split", [&] { return split(x(), 1000, 1)[2]; }},
             {"expand",
              [&] {
                return expand(leaf({n, 1}), {n, n}).contiguous();
              }},
             {"pack",
              [&] {
                return pack(leaf({64, 60, n}), lengths).values;
              }},
             {"pad of packed",
              [&] {
                return fovea::pad(Ragged{leaf({64 * 50, n}), lengths});
              }},
             {"embedding", [&] { return embedding(x(), ids(n, n)); }},
             {"index_select", [&] { return index_select(x(), 1, ids(n, n)); }},
             {"index_add", [&] { return index_add(x(), 0, ids(n, n), x()); }},
             {"gather", [&] {
                return gather(x(), 0, reshape(ids(n, n), {1, n}));
              }}});
}

TEST_CASE("products, norms and losses") {
  const auto x = [] { return leaf({n, n}); };
  const Tensor targets = ids(n, n);
  Rng rng(1);
  check_dry(
      {{"matmul", [&] { return matmul(x(), x()); }},
       {"matmul of a batch",
        [&] {
          return matmul(leaf({64, 512, 512}), leaf({64, 512, 512}));
        }},
       {"matmul by a vector", [&] { return matmul(x(), leaf({n})); }},
       {"linear", [&] { return linear(x(), x(), leaf({n})); }},
       {"softmax", [&] { return softmax(x()); }},
       {"softmax of columns", [&] { return softmax(x(), 0); }},
       {"log_softmax", [&] { return log_softmax(x()); }},
       {"masked_softmax", [&] { return masked_softmax(x(), gt(x(), 0.5)); }},
       {"sparsemax", [&] { return sparsemax(x()); }},
       {"entmax15", [&] { return entmax15(x()); }},
       {"layer_norm", [&] { return layer_norm(x(), leaf({n}), leaf({n})); }},
       {"rms_norm", [&] { return rms_norm(x(), leaf({n})); }},
       {"dropout", [&] { return dropout(x(), 0.1, rng); }},
       {"cross_entropy", [&] { return cross_entropy(x(), targets); }},
       {"cross_entropy with weights",
        [&] { return cross_entropy(x(), targets, {.label_smoothing = 0.1, .weight = ones({n})}); }},
       {"nll_loss", [&] { return nll_loss(log_softmax(x()), targets); }},
       {"mse_loss",
        [&] {
          return mse_loss(x(), ones({n, n}));
        }},
       {"bce_with_logits", [&] {
          return bce_with_logits(x(), ones({n, n}));
        }}});
}

TEST_CASE("attention") {
  const auto x = [] { return leaf({4, 8, 2048, 256}); };  // (B, H, T, D)
  const auto attend = [](const Tensor& q, const Mask& mask, const AttentionOptions& options = {}) {
    return scaled_dot_product_attention(q, leaf(q.shape()), leaf(q.shape()), mask, options);
  };
  Rng rng(1);
  check_dry({
      {"fused", [&] { return attend(x(), Mask::none()); }},
      {"causal, dropout",
       [&] { return attend(x(), Mask::causal(), {.dropout = 0.1, .rng = &rng}); }},
      {"window, alibi",
       [&] {
         return attend(x(), Mask::window(64, 64), {.score_mod = ScoreMod::alibi(alibi_slopes(8))});
       }},
      {"wide heads",
       [&] {
         return attend(leaf({1, 1, 512, 32768}), Mask::none());
       }},
      {"packed",
       [&] {
         const RaggedIndex index = RaggedIndex::equal(8, 1024);
         const auto part = [&] { return Ragged{leaf({8 * 1024, 8, 256}), index}; };
         return scaled_dot_product_attention(part(), part(), part()).values;
       }},
      {"reference",
       [&] {
         return attention_reference(leaf({8, 4, 1024, 64}), leaf({8, 4, 1024, 64}),
                                    leaf({8, 4, 1024, 64}), Mask::causal())
             .output;
       }},
      {"linear_attention",
       [&] {
         return linear_attention(leaf({4, 4096, 1024}), leaf({4, 4096, 1024}),
                                 leaf({4, 4096, 4096}), Mask::causal());
       }},
      {"additive_attention",
       [&] {
         return additive_attention(leaf({4, 64, 65536}), leaf({4, 64, 65536}), leaf({65536}),
                                   leaf({4, 64, 65536}), Mask::none())
             .context;
       }},
      {"feed_forward",
       [&] {
         return feed_forward(
             leaf({2, n}), Activation::gelu,
             {.w1 = leaf({n, n}), .b1 = {}, .w2 = leaf({n, n}), .b2 = {}, .w3 = {}, .b3 = {}});
       }},
      {"rope", [&] { return rope(x(), arange(2048)); }},
  });
}

TEST_CASE("recurrent nets and scans") {
  const auto run = [](RecurrentKind kind, std::int64_t gates) {
    constexpr std::int64_t B = 64, T = 16, H = 4096;
    RecurrentDirection direction;
    direction.weight_ih = leaf({gates * H, H}), direction.weight_hh = leaf({gates * H, H});
    return recurrent(leaf({B * T, H}), {direction}, RaggedIndex::equal(B, T), {.kind = kind})
        .states;
  };
  constexpr std::int64_t H = 4096;
  const RaggedIndex index = RaggedIndex::equal(4, 2500);
  const auto x = [&] { return leaf({index.total(), H}); };
  check_dry({
      {"rnn", [&] { return run(RecurrentKind::rnn_tanh, 1); }},
      {"gru", [&] { return run(RecurrentKind::gru, 3); }},
      {"lstm", [&] { return run(RecurrentKind::lstm, 4); }},
      {"linear_recurrence", [&] { return linear_recurrence(x(), x(), {}, index).states; }},
      {"complex_linear_recurrence",
       [&] { return complex_linear_recurrence(leaf({H}), x(), {}, index).states; }},
      {"polar", [&] { return polar(leaf({n * n}), leaf({n * n})); }},
  });
}

TEST_CASE("updates") {
  const auto step = [](bool adam) {
    Tensor w = ones({n, n}), m = zeros({n, n}), v = zeros({n, n});
    if (adam)
      adam_step(w, ones({n, n}), m, v, {}, 1);
    else
      sgd_step(w, ones({n, n}), m, {.lr = 0.1, .momentum = 0.9}, false);
    return w;
  };
  check_dry({{"adam", [&] { return step(true); }}, {"sgd", [&] { return step(false); }}});
}
