#include <fovea/core/autograd.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/rows_detail.h>
#include <fovea/core/sizes.h>
#include <fovea/nn/attention/kv_cache.h>

#include <algorithm>

namespace fovea::nn {
namespace {

KvCacheOptions checked(const KvCacheOptions& o) {
  check_sizes("KvCache", {{"batch_size", o.batch_size},
                          {"num_kv_heads", o.num_kv_heads},
                          {"head_dim", o.head_dim},
                          {"max_chunk", o.max_chunk}});
  check_sizes("KvCache", {{"capacity", o.capacity}, {"window", o.window}}, 0);
  if (o.capacity == 0 && o.window == 0)
    value_error("KvCache", "capacity = {}, window = {}: one must be above 0", o.capacity, o.window);
  return o;
}

std::int64_t slots_of(const KvCacheOptions& o) {
  return o.capacity > 0 ? o.capacity : o.window + o.max_chunk - 1;
}

bool all_equal(const std::vector<std::int64_t>& values) {
  return std::equal(values.begin() + 1, values.end(), values.begin());
}

std::int64_t largest(const std::vector<std::int64_t>& values) {
  return *std::max_element(values.begin(), values.end());
}

}  // namespace

// Zeros, not uninitialized memory: a masked slot may still be multiplied by a weight 0.
KvCache::KvCache(const KvCacheOptions& options)
    : options_(checked(options)),
      keys_(
          zeros({options_.batch_size, options_.num_kv_heads, slots_of(options_), options_.head_dim},
                options_.dtype)),
      values_(zeros(keys_.shape(), options_.dtype)),
      lengths_(static_cast<std::size_t>(options_.batch_size), 0) {}

KvCache::Step KvCache::checked_step(const KeyValue& kv,
                                    const std::vector<std::int64_t>& counts) const {
  const KvCacheOptions& o = options_;
  if (!keys_.defined()) state_error("KvCache", "the cache was moved from: must not be used");
  const std::int64_t T = kv.k.rank() == 4 ? kv.k.dim(2) : 0;
  const Shape shape{o.batch_size, o.num_kv_heads, T, o.head_dim};
  if (!(kv.k.shape() == shape) || !(kv.v.shape() == shape))
    shape_error("KvCache", "keys {} and values {}: must be ({}, {}, T, {})", kv.k.shape().str(),
                kv.v.shape().str(), o.batch_size, o.num_kv_heads, o.head_dim);
  if (kv.k.dtype() != o.dtype || kv.v.dtype() != o.dtype)
    dtype_error("KvCache", "dtype of keys = {}, of values = {}, of the cache = {}: must be equal",
                name_of(kv.k.dtype()), name_of(kv.v.dtype()), name_of(o.dtype));
  if (grad_enabled() && (kv.k.requires_grad() || kv.v.requires_grad()))
    state_error("KvCache",
                "keys or values require a gradient: not supported by a cache, use NoGrad");
  if (!counts.empty() && counts.size() != lengths_.size())
    shape_error("KvCache", "{} counts for {} rows: must be one per row", counts.size(),
                lengths_.size());
  if (is_ring() && T > o.max_chunk)
    value_error("KvCache", "{} tokens in one append: must be at most max_chunk = {}", T,
                o.max_chunk);
  Step step{.T = T, .begin = lengths_, .end = lengths_, .equal_rows = false};
  for (std::size_t b = 0; b < lengths_.size(); ++b) {
    const std::int64_t count = counts.empty() ? T : counts[b];
    if (count < 0 || count > T)
      value_error("KvCache", "count = {}: must be from 0 to T = {}", count, T);
    step.end[b] += count;
    if (o.capacity > 0 && step.end[b] > o.capacity)
      state_error("KvCache", "row {}: {} cached and {} new tokens: must be at most capacity = {}",
                  b, step.begin[b], count, o.capacity);
  }
  step.equal_rows =
      all_equal(step.begin) && all_equal(step.end) && step.end[0] == step.begin[0] + T;
  return step;
}

// Copies tokens [begin, end) of a row, tokens 0, 1, ... of the chunk, to their slots: in one block,
// or in two at the end of the ring buffer.
void KvCache::write(const KeyValue& kv, const Step& step) {
  const std::int64_t W = slots(), rows = step.equal_rows ? 1 : options_.batch_size;
  const auto copy = [&](Tensor& to, const Tensor& from, std::int64_t b, std::int64_t m,
                        std::int64_t n) {
    const std::int64_t num_rows = step.equal_rows ? options_.batch_size : 1;
    Tensor target = narrow(narrow(to, 0, b, num_rows), 2, m % W, n);
    target.copy_from(
        narrow(narrow(from, 0, b, num_rows), 2, m - step.begin[static_cast<std::size_t>(b)], n));
  };
  for (std::int64_t b = 0; b < rows; ++b) {
    const std::int64_t end = step.end[static_cast<std::size_t>(b)];
    for (std::int64_t m = step.begin[static_cast<std::size_t>(b)]; m < end;) {
      const std::int64_t n = std::min(end - m, W - m % W);
      copy(keys_, kv.k, b, m, n);
      copy(values_, kv.v, b, m, n);
      m += n;
    }
  }
}

KvCache::Visible KvCache::append(const KeyValue& kv, const std::vector<std::int64_t>& counts) {
  const Step step = checked_step(kv, counts);
  const NoGrad guard;
  write(kv, step);
  lengths_ = step.end;
  const std::int64_t S = std::min(slots(), largest(step.begin) + step.T);
  return {{narrow(keys_, 2, 0, S), narrow(values_, 2, 0, S)}, mask_of(step, S)};
}

// Whether x is one more token per row, without gradient, the rows have equal lengths, and it fits.
bool KvCache::takes_step(const MultiheadAttention& attn, const Tensor& x,
                         const std::vector<std::int64_t>& counts) const {
  const KvCacheOptions& o = options_;
  const MultiheadAttentionOptions& a = attn.options();
  const bool fits = x.rank() == 3 && x.dim(0) == o.batch_size && x.dim(1) == 1 &&
                    x.dtype() == o.dtype && a.num_kv_heads == o.num_kv_heads &&
                    a.head_dim == o.head_dim;
  return fits && !grad_enabled() && counts.empty() && o.batch_size <= kFusedDecodeRows &&
         all_equal(lengths_) && (is_ring() || lengths_[0] < o.capacity) && attn.has_step();
}

Tensor KvCache::extend(const MultiheadAttention& attn, const Tensor& x,
                       const std::vector<std::int64_t>& counts) {
  if (!takes_step(attn, x, counts)) {
    const auto heads = attn.project_self(x, next_positions(x.rank() == 3 ? x.dim(1) : 0));
    const Visible visible = append(heads.kv, counts);
    return attn.attend_heads(heads.q, visible.kv, visible.mask);
  }
  const std::int64_t m = lengths_[0], limit = options_.window > 0 ? options_.window : slots();
  const AttentionStepCache cache{keys_, values_, m, std::min(limit, m + 1)};
  const Tensor y = attn.step(x, cache);
  const Tensor position = attn.watched() ? next_positions(1) : Tensor();
  Step step{.T = 1, .begin = lengths_, .end = lengths_, .equal_rows = true};
  for (std::int64_t& end : step.end) ++end;
  lengths_ = step.end;
  if (attn.watched()) {  // the fused step does not return its queries: project them again
    const std::int64_t S = std::min(slots(), m + 1);
    attn.notify_observers(attn.project_self(x, position).q, narrow(keys_, 2, 0, S),
                          mask_of(step, S));
  }
  return y;  // (B, 1, C)
}

// Token m attends to tokens m' <= m, with a window to those with m - m' < window. A closed-form
// mask if slot s is token s and the chunk ends every row; else a (B, T, S) table.
Mask KvCache::mask_of(const Step& step, std::int64_t S) const {
  const std::int64_t window = options_.window, longest = largest(step.end);
  const bool in_order = longest <= slots();
  const bool ends_the_keys = all_equal(step.begin) && step.begin[0] + step.T == S;
  if (step.T == 1 && step.equal_rows && (window == 0 || S <= window)) return Mask::none();
  if (!in_order || (window > 0 && !step.equal_rows)) return table_of(step, S);
  if (window > 0) return Mask::window(window - 1, 0, Mask::Corner::bottom_right);
  if (step.T == 1) return Mask::lengths(step.end);
  if (!ends_the_keys) return table_of(step, S);
  const Mask causal = Mask::causal(Mask::Corner::bottom_right);
  return step.equal_rows ? causal : causal & Mask::lengths(step.end);
}

Mask KvCache::table_of(const Step& step, std::int64_t S) const {
  const std::int64_t W = slots(), T = step.T, B = step.equal_rows ? 1 : options_.batch_size;
  Tensor table = empty({B, T, S}, DType::boolean);
  bool* kept = table.mutable_data<bool>();
  for (std::int64_t b = 0; b < B; ++b) {
    const std::int64_t begin = step.begin[static_cast<std::size_t>(b)];
    const std::int64_t last = step.end[static_cast<std::size_t>(b)] - 1;
    for (std::int64_t t = 0; t < T; ++t)
      for (std::int64_t s = 0; s < S; ++s) {
        // The latest token written to slot s; below 0: none.
        const std::int64_t m = last - ((last - s) % W + W) % W, own = begin + t;
        *kept++ = m >= 0 && m <= own && (options_.window == 0 || own - m < options_.window);
      }
  }
  return Mask::keep(table);
}

Tensor KvCache::next_positions(std::int64_t T) const {
  checked_range("KvCache", "T", T, 0, is_ring() ? options_.max_chunk : options_.capacity);
  const bool equal = all_equal(lengths_);
  const std::size_t rows = equal ? 1 : lengths_.size();
  std::vector<std::int64_t> positions;
  for (std::size_t b = 0; b < rows; ++b)
    for (std::int64_t t = 0; t < T; ++t) positions.push_back(lengths_[b] + t);
  if (equal) return from_data(positions, {T});
  return from_data(positions, {options_.batch_size, T});
}

}  // namespace fovea::nn
