// The cache against the full forward: in one chunk, token by token, with rows of different lengths,
// in a ring buffer.
#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/storage.h>
#include <fovea/nn/attention/kv_cache.h>
#include <fovea/tests/nn/parameters.h>
#include <fovea/tests/support/compare.h>

#include <algorithm>
#include <limits>
#include <type_traits>

#include <doctest/doctest.h>
#include <fmt/format.h>

using namespace fovea;
using namespace fovea::nn;
using test::max_difference;
using test::message_of;

namespace {

constexpr std::int64_t C = 16, H = 4;

struct Setting {
  std::int64_t kv_heads = H;
  bool turned = true;       // RoPE
  std::int64_t window = 0;  // 0: none
  DType dtype = DType::f64;
  bool ring = true;  // with a window
};

MultiheadAttention make_attention(const Setting& s) {
  static Rng rng(1);
  MultiheadAttentionOptions o{.embed_dim = C, .num_heads = H, .num_kv_heads = s.kv_heads};
  o.causal = true;
  if (s.window > 0) o.window_left = s.window - 1;
  if (s.turned) o.rope = RopeOptions{};
  MultiheadAttention attention(o, rng);
  test::cast(attention, s.dtype);
  attention.eval();
  return attention;
}

// The token counts of each step, one per row.
using Plan = std::vector<std::vector<std::int64_t>>;

Plan in_chunks(const std::vector<std::int64_t>& lengths, std::int64_t chunk) {
  Plan plan;
  const std::int64_t longest = *std::max_element(lengths.begin(), lengths.end());
  for (std::int64_t done = 0; done < longest; done += chunk) {
    plan.emplace_back();
    for (const std::int64_t length : lengths)
      plan.back().push_back(std::clamp<std::int64_t>(length - done, 0, chunk));
  }
  return plan;
}

std::int64_t largest(const std::vector<std::int64_t>& v) {
  return *std::max_element(v.begin(), v.end());
}

Tensor extended_by_hand(KvCache& cache, const MultiheadAttention& attention, const Tensor& x,
                        const std::vector<std::int64_t>& counts) {
  const auto heads = attention.project_self(x, cache.next_positions(x.dim(1)));
  const KvCache::Visible seen = cache.append(heads.kv, counts);
  return attention.attend_heads(heads.q, seen.kv, seen.mask);  // (B, T, C)
}

// The largest difference, relative to the largest value, between attention with a cache filled by
// `plan` and full attention. Tokens beyond a step's counts are NaN. `by_hand`: with append() and
// attend_heads() instead of extend().
double difference_from_full(const Setting& setting, const Plan& plan, bool by_hand) {
  const NoGrad guard;
  const MultiheadAttention attention = make_attention(setting);
  const auto B = static_cast<std::int64_t>(plan[0].size());
  std::vector<std::int64_t> lengths(plan[0].size(), 0);
  std::int64_t max_chunk = 1;
  for (const auto& counts : plan) {
    max_chunk = std::max(max_chunk, largest(counts));
    for (std::size_t b = 0; b < lengths.size(); ++b) lengths[b] += counts[b];
  }
  Rng rng(2);
  const Tensor x = randn({B, largest(lengths), C}, rng, setting.dtype);
  const Tensor whole_y = attention(x, Mask::lengths(lengths));  // (B, T, C)

  KvCache cache({.batch_size = B,
                 .num_kv_heads = setting.kv_heads,
                 .head_dim = C / H,
                 .capacity = setting.window > 0 && setting.ring ? 0 : largest(lengths),
                 .window = setting.window,
                 .max_chunk = max_chunk,
                 .dtype = setting.dtype});
  double difference = 0;
  for (const auto& counts : plan) {
    const std::int64_t T = largest(counts);
    const std::vector<std::int64_t> begin = cache.lengths();
    Tensor part = full({B, T, C}, std::nan(""), setting.dtype);
    for (std::int64_t b = 0; b < B; ++b) {
      const auto row = static_cast<std::size_t>(b);
      narrow(select(part, 0, b), 0, 0, counts[row])
          .copy_from(narrow(select(x, 0, b), 0, begin[row], counts[row]));
    }
    const bool whole =
        std::all_of(counts.begin(), counts.end(), [T](std::int64_t count) { return count == T; });
    const std::vector<std::int64_t> given = whole ? std::vector<std::int64_t>{} : counts;
    const Tensor y = by_hand ? extended_by_hand(cache, attention, part, given)
                             : cache.extend(attention, part, given);
    for (std::int64_t b = 0; b < B; ++b) {
      const auto row = static_cast<std::size_t>(b);
      difference = std::max(
          difference, max_difference(narrow(select(y, 0, b), 0, 0, counts[row]),
                                     narrow(select(whole_y, 0, b), 0, begin[row], counts[row])));
    }
  }
  CHECK(cache.lengths() == lengths);
  return difference / max_difference(whole_y, zeros(whole_y.shape(), setting.dtype));
}

void check_equal(const Setting& setting, const Plan& plan) {
  CAPTURE(setting.kv_heads);
  CAPTURE(setting.turned);
  CAPTURE(setting.window);
  for (const bool by_hand : {true, false})
    CHECK(difference_from_full(setting, plan, by_hand) <=
          (setting.dtype == DType::f64 ? 1e-12 : 1e-5));
}

std::vector<Setting> all_settings(std::int64_t window, bool ring = true) {
  std::vector<Setting> all;
  for (const DType dtype : {DType::f64, DType::f32})
    for (const std::int64_t kv_heads : {H, H / 2, std::int64_t{1}})
      for (const bool turned : {true, false})
        all.push_back({kv_heads, turned, window, dtype, ring});
  return all;
}

KvCache small_cache(std::int64_t capacity = 4) {
  return KvCache({.batch_size = 2, .num_kv_heads = 1, .head_dim = 3, .capacity = capacity});
}

KeyValue tokens(std::int64_t T, std::int64_t B = 2) {
  return {ones({B, 1, T, 3}), ones({B, 1, T, 3})};
}

}  // namespace

TEST_CASE("a cache equals the full forward, in chunks of any size") {
  for (const Setting& setting : all_settings(0))
    for (const std::int64_t chunk : {1, 3, 11}) check_equal(setting, in_chunks({11, 11}, chunk));
}

TEST_CASE("rows of unequal length") {
  for (const Setting& setting : all_settings(0))
    for (const std::int64_t chunk : {1, 3, 11}) check_equal(setting, in_chunks({11, 4, 7}, chunk));
}

TEST_CASE("rows with different lengths continue at their own positions") {
  const Plan plan{{3, 1, 0}, {2, 3, 3}, {1, 1, 1}, {0, 4, 2}, {1, 0, 1}, {2, 2, 2}};
  for (const Setting& setting : all_settings(0)) check_equal(setting, plan);
  for (const bool ring : {true, false})
    for (const Setting& setting : all_settings(3, ring)) check_equal(setting, plan);
}

TEST_CASE("with a window, a ring buffer and a full cache equal the full forward") {
  for (const std::int64_t window : {1, 4, 30})
    for (const bool ring : {true, false})
      for (const Setting& setting : all_settings(window, ring))
        for (const std::int64_t chunk : {1, 3, 23}) {
          check_equal(setting, in_chunks({23, 23}, chunk));
          check_equal(setting, in_chunks({23, 4, 17}, chunk));
        }
}

TEST_CASE(
    "one token per row of equal lengths needs no mask, in a full cache and in a ring buffer") {
  KvCache full = small_cache(),
          ring({.batch_size = 2, .num_kv_heads = 1, .head_dim = 3, .window = 2});
  for (int i = 0; i < 4; ++i) {
    CHECK(full.append(tokens(1)).mask.keeps_all());
    const KvCache::Visible seen = ring.append(tokens(1));
    CHECK(seen.mask.keeps_all());
    CHECK(seen.kv.k.shape() == Shape{2, 1, std::min(i + 1, 2), 3});
  }
}

TEST_CASE("observers of single tokens receive the weights, and do not change any bit") {
  struct Last : AttentionObserver {
    void on_attention(const Attention&, const AttentionCall& call) override {
      rows = call.rows(0, 1);
    }
    Tensor rows;  // (B, H, 1, S)
  } last;
  const NoGrad guard;
  for (const std::int64_t window : {0, 3}) {
    MultiheadAttention attention = make_attention({.kv_heads = 2, .window = window});
    const KvCacheOptions options{.batch_size = 2,
                                 .num_kv_heads = 2,
                                 .head_dim = C / H,
                                 .capacity = window > 0 ? 0 : 6,
                                 .window = window,
                                 .max_chunk = 2,
                                 .dtype = DType::f64};
    KvCache watched(options), alone(options), by_hand(options);
    Rng rng(7);
    for (int step = 0; step < 6; ++step) {
      const Tensor x = randn({2, 1, C}, rng, DType::f64);
      const Tensor y = alone.extend(attention, x);
      attention.watch(last);
      CHECK(max_difference(watched.extend(attention, x), y) == 0);
      const Tensor rows = last.rows;
      extended_by_hand(by_hand, attention, x, {});
      attention.unwatch(last);
      CHECK(max_difference(rows, last.rows) <= 1e-12);
      CHECK(watched.lengths() == by_hand.lengths());
    }
  }
}

TEST_CASE("a row without tokens attends to no key") {
  KvCache cache = small_cache();
  const KvCache::Visible seen = cache.append(tokens(2), {2, 0});
  const Tensor kept = seen.mask.to_tensor(2, 2, 2);
  CHECK(kept.to_vector<float>() == std::vector<float>{1, 0, 1, 1, 0, 0, 0, 0});
}

TEST_CASE("positions continue at the length of each row") {
  KvCache cache = small_cache();
  CHECK(cache.next_positions(3).to_vector<int64_t>() == std::vector<int64_t>{0, 1, 2});
  cache.append(tokens(2));
  CHECK(cache.next_positions(2).shape() == Shape{2});
  CHECK(cache.next_positions(2).to_vector<int64_t>() == std::vector<int64_t>{2, 3});
  cache.append(tokens(1), {0, 1});
  CHECK(cache.next_positions(2).shape() == Shape{2, 2});
  CHECK(cache.next_positions(2).to_vector<int64_t>() == std::vector<int64_t>{2, 3, 3, 4});
  cache.clear();
  CHECK(cache.lengths() == std::vector<int64_t>{0, 0});
}

TEST_CASE("the memory of a step does not grow with the cache") {
  const NoGrad guard;
  for (const std::int64_t window : {0, 64}) {
    const Setting setting{.kv_heads = 2, .window = window, .dtype = DType::f32};
    const MultiheadAttention attention = make_attention(setting);
    KvCache cache({.batch_size = 1,
                   .num_kv_heads = 2,
                   .head_dim = C / H,
                   .capacity = window > 0 ? 0 : 1024,
                   .window = window});
    const Tensor x = ones({1, 1, C});
    const std::byte* const place =
        cache.append({ones({1, 2, 1, 4}), ones({1, 2, 1, 4})}).kv.k.raw_data();
    std::vector<std::int64_t> peaks;
    for (int i = 0; i < 900; ++i) {
      const std::int64_t before = memory_stats().live_bytes;
      reset_peak_memory();
      const auto heads = attention.project_self(x, cache.next_positions(1));
      const KvCache::Visible seen = cache.append(heads.kv);
      attention.attend_heads(heads.q, seen.kv, seen.mask);
      CHECK(seen.kv.k.raw_data() == place);  // a view, not a copy
      peaks.push_back(memory_stats().peak_bytes - before);
    }
    CHECK(peaks[10] > 0);
    CHECK(peaks[899] == peaks[10]);
    CHECK(*std::max_element(peaks.begin() + 10, peaks.end()) == peaks[10]);
  }
}

TEST_CASE("a cache can be moved, not copied") {
  static_assert(!std::is_copy_constructible_v<KvCache> && !std::is_copy_assignable_v<KvCache>);
  KvCache cache = small_cache();
  cache.append(tokens(3));
  const KvCache moved = std::move(cache);
  CHECK(moved.lengths() == std::vector<int64_t>{3, 3});
  CHECK(message_of<StateError>([&] { cache.append(tokens(1)); }) ==
        "KvCache: the cache was moved from: must not be used");
}

TEST_CASE("errors") {
  KvCache cache = small_cache(4);
  for (const int64_t T : {int64_t{-1}, int64_t{5}, std::numeric_limits<int64_t>::max()})
    CHECK(message_of<ValueError>([&] { cache.next_positions(T); }) ==
          fmt::format("KvCache: T = {}: must be from 0 to 4", T));
  cache.append(tokens(3));
  CHECK(message_of<StateError>([&] { cache.append(tokens(2)); }) ==
        "KvCache: row 0: 3 cached and 2 new tokens: must be at most capacity = 4");
  CHECK(cache.lengths() == std::vector<int64_t>{3, 3});
  CHECK(message_of<ShapeError>([&] { cache.append(tokens(1, 3)); }) ==
        "KvCache: keys (3, 1, 1, 3) and values (3, 1, 1, 3): must be (2, 1, T, 3)");
  CHECK(message_of<ShapeError>([&] { cache.append(tokens(1), {1}); }) ==
        "KvCache: 1 counts for 2 rows: must be one per row");
  CHECK(message_of<ValueError>([&] {
          cache.append(tokens(1), {1, 2});
        }) == "KvCache: count = 2: must be from 0 to T = 1");
  CHECK_THROWS_AS(cache.append(tokens(1), {1, -1}), ValueError);
  CHECK(message_of<DTypeError>([&] {
          cache.append({ones({2, 1, 1, 3}, DType::f64), ones({2, 1, 1, 3}, DType::f64)});
        }) == "KvCache: dtype of keys = f64, of values = f64, of the cache = f32: must be equal");
  KeyValue with_grad = tokens(1);
  with_grad.v.set_requires_grad();
  CHECK(message_of<StateError>([&] { cache.append(with_grad); }) ==
        "KvCache: keys or values require a gradient: not supported by a cache, use NoGrad");
  {
    const NoGrad guard;
    cache.append(with_grad);
  }
  KvCache ring({.batch_size = 2, .num_kv_heads = 1, .head_dim = 3, .window = 4, .max_chunk = 2});
  CHECK(ring.slots() == 5);
  CHECK(message_of<ValueError>([&] { ring.append(tokens(3)); }) ==
        "KvCache: 3 tokens in one append: must be at most max_chunk = 2");
  CHECK(message_of<ValueError>([] { small_cache(0); }) ==
        "KvCache: capacity = 0, window = 0: one must be above 0");
  CHECK_THROWS_AS(KvCache({.batch_size = 0, .num_kv_heads = 1, .head_dim = 1, .capacity = 3}),
                  ValueError);
}
