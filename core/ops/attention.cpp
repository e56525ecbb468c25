// The fused attention op: checks and saved tensors. The reference is in attention_reference.cpp,
// the kernel calls are in attention_parts.cpp.
#include <fovea/core/autograd.h>
#include <fovea/core/kernels/philox.h>
#include <fovea/core/observe.h>
#include <fovea/core/ops/attention_detail.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/reduce.h>

namespace fovea {
namespace {

using detail::AttentionShape;
using Part = detail::AttentionPart;
using PartGrads = detail::AttentionPartGrads;
using Settings = detail::AttentionSettings;

// ---- Layouts -----------------------------------------------------------------------------------

Tensor with_dense_rows(const Tensor& x) {
  return x.dim(-1) <= 1 || x.strides()[x.rank() - 1] == 1 ? x : x.contiguous();
}

// A new (B, heads, rows, width) tensor with axes 1 and 2 in the memory order of `like`.
Tensor empty_in_order_of(const Tensor& like, std::int64_t width) {
  const std::int64_t B = like.dim(0), H = like.dim(1), T = like.dim(2);
  if (H == 1 || T == 1 || like.strides()[1] >= like.strides()[2])
    return empty({B, H, T, width}, like.dtype());
  const Tensor dense = empty({B, T, H, width}, like.dtype());
  return alias(dense, {B, H, T, width}, {T * H * width, width, H * width, 1});
}

// The stride of the rows of x, (B, heads, rows, width) or (N, heads, width), if the heads of each
// row are contiguous and rows evenly spaced; else 0.
std::int64_t row_distance(const Tensor& x) {
  const std::int64_t row_axis = x.rank() == 4 ? 2 : 0, W = x.strides()[row_axis];
  const bool joined = x.strides()[x.rank() - 1] == 1 &&
                      (x.dim(1) == 1 || x.strides()[1] == x.dim(-1)) &&
                      (row_axis == 0 || x.dim(0) == 1 || x.strides()[0] == x.dim(2) * W);
  return joined ? W : 0;
}

// True if xs are all columns of one matrix, in this order, as after splitting a projection.
bool are_columns_of_one(std::span<const Tensor> xs) {
  std::int64_t width = 0;
  for (const Tensor& x : xs) {
    const std::int64_t row_axis = x.rank() == 4 ? 2 : 0;
    if (x.impl()->storage != xs[0].impl()->storage || row_distance(x) != row_distance(xs[0]) ||
        x.dim(0) != xs[0].dim(0) || x.dim(row_axis) != xs[0].dim(row_axis) ||
        x.raw_data() != xs[0].raw_data() + width * static_cast<std::int64_t>(size_of(x.dtype())))
      return false;
    width += x.dim(1) * x.dim(-1);
  }
  return width > 0 && width == row_distance(xs[0]);
}

// New tensors with the layout of xs, so that the backward of split() needs no copy.
std::vector<Tensor> empty_columns_of_one(std::span<const Tensor> xs) {
  const std::int64_t rows = xs[0].numel() / (xs[0].dim(1) * xs[0].dim(-1)), W = row_distance(xs[0]);
  const Tensor all = empty({rows * W}, xs[0].dtype());
  std::vector<Tensor> parts;
  std::int64_t column = 0;
  for (const Tensor& x : xs) {
    parts.push_back(alias(all, x.shape(), x.strides(), column));
    column += x.dim(1) * x.dim(-1);
  }
  return parts;
}

// Buffers for the gradients of q, k and v, with their memory order.
//   inputs: (B, heads, rows, width) or (N, heads, width)
std::vector<Tensor> allocate_gradients(std::span<const Tensor> inputs, NeedsGrad needs_grad) {
  if (needs_grad[0] && needs_grad[1] && needs_grad[2] && are_columns_of_one(inputs))
    return empty_columns_of_one(inputs);
  std::vector<Tensor> buffers(3);
  if (needs_grad[1] && needs_grad[2] && are_columns_of_one(inputs.subspan(1))) {
    std::vector<Tensor> kv = empty_columns_of_one(inputs.subspan(1));
    buffers[1] = std::move(kv[0]);
    buffers[2] = std::move(kv[1]);
  }
  for (std::size_t i = 0; i < 3; ++i)
    if (needs_grad[i] && !buffers[i].defined())
      buffers[i] = inputs[i].rank() == 4 ? empty_in_order_of(inputs[i], inputs[i].dim(-1))
                                         : empty(inputs[i].shape(), inputs[i].dtype());
  return buffers;
}

// An undefined gradient is 0.
Tensor given_or_zeros(const Tensor& dy, const Shape& shape, DType dtype) {
  if (dy.defined()) return with_dense_rows(dy);
  return alias(zeros({shape.back()}, dtype), shape, {0, 0, 0, 1});
}

Settings settings_of(const AttentionOptions& options, std::int64_t D) {
  return {detail::attention_scale(options, D), options.dropout, options.score_mod,
          options.sinks.defined() ? without_graph(options.sinks.contiguous()) : Tensor()};
}

// Reserves the random words of one part.
RngState reserve(const AttentionOptions& options, const AttentionShape& n) {
  if (options.dropout == 0) return {};
  const auto from = options.rng->reserve(n.B * n.H * n.S * ((n.T + 3) / 4 * 4));
  return {.seed = from.seed, .stream = from.stream, .position = 2 * from.block};
}

std::vector<Tensor> inputs_of(const Tensor& q, const Tensor& k, const Tensor& v,
                              const AttentionOptions& options) {
  std::vector<Tensor> inputs{q, k, v};
  if (options.score_mod) {
    const std::vector<Tensor>& captured = options.score_mod.impl().captured;
    inputs.insert(inputs.end(), captured.begin(), captured.end());
  }
  if (options.sinks.defined()) inputs.push_back(options.sinks);
  return inputs;
}

// ---- Saved tensors -----------------------------------------------------------------------------

// Values saved for backward, for padded and packed calls.
struct Call {
  AttentionOptions options;  // its rng is not used in the backward
  Settings settings;
  std::vector<Saved> kept;  // the inputs, then the outputs
  std::size_t inputs;

  std::vector<Tensor> input_tensors() const {
    std::vector<Tensor> all;
    for (std::size_t i = 0; i < inputs; ++i) all.push_back(kept[i]);
    return all;
  }
  void check_versions() const {
    for (const Saved& x : kept) x.get();
  }
  std::size_t captured() const {
    return settings.score_mod ? settings.score_mod.impl().captured.size() : 0;
  }
  bool sinks_wanted(NeedsGrad needs_grad) const {
    return settings.sinks.defined() && needs_grad[inputs - 1];
  }
  // Zeroed accumulators where required: (B, H, ...) for each captured tensor.
  std::vector<Tensor> captured_grads(NeedsGrad needs_grad, std::int64_t B, std::int64_t H) const {
    std::vector<Tensor> all(captured());
    for (std::size_t i = 0; i < all.size(); ++i) {
      if (!needs_grad[3 + i]) continue;
      const Tensor& x = settings.score_mod.impl().captured[i];
      Shape shape = x.shape();
      shape[0] = B;
      shape[1] = H;
      all[i] = zeros(shape, x.dtype());
    }
    return all;
  }
};

Call call_of(const AttentionOptions& options, std::int64_t D, const std::vector<Tensor>& inputs,
             std::initializer_list<Tensor> outputs) {
  Call call{options, settings_of(options, D), {}, inputs.size()};
  call.options.rng = nullptr;
  for (const Tensor& x : inputs) call.kept.push_back(keep(x));
  for (const Tensor& x : outputs) call.kept.push_back(keep(x));
  return call;
}

// The reference with random numbers from `place` on; `in` are inputs as of inputs_of.
AttentionResult reference_of(const Call& call, const Tensor& q, const Tensor& k, const Tensor& v,
                             const Mask& mask, const RngState& place,
                             const std::vector<Tensor>& in) {
  Rng rng(place);
  AttentionOptions options = call.options;
  options.rng = &rng;
  const bool sinks = options.sinks.defined();
  if (sinks) options.sinks = in.back();
  const std::vector<Tensor> captured(in.begin() + 3, in.end() - (sinks ? 1 : 0));
  return detail::attention_reference_with(q, k, v, mask, options, captured);
}

std::int64_t pairs_of(const std::vector<Part>& parts) {
  std::int64_t pairs = 0;
  for (const Part& part : parts)
    pairs += kept_pairs(part.plan, {part.n.B, part.n.H, part.n.T, part.n.S});
  return pairs;
}

// The gradients of the inputs after q, k and v, from those of the parts.
void add_shared_grads(const Call& call, const std::vector<PartGrads>& parts, Grads& grads) {
  for (std::size_t i = 0; i < call.captured(); ++i)
    for (const PartGrads& part : parts) {
      if (!part.captured[i].defined()) continue;
      const Tensor d = sum_to(part.captured[i], call.settings.score_mod.impl().captured[i].shape());
      grads[3 + i] = grads[3 + i].defined() ? grads[3 + i] + d : d;
    }
}

// The backward of a padded batch.
Grads padded_backward(const Call& call, const std::vector<Part>& parts, std::span<const Tensor> dys,
                      NeedsGrad needs_grad) {
  const Part& part = parts[0];
  const AttentionShape& n = part.n;
  const DType dtype = part.q.dtype();
  std::vector<PartGrads> all(1);
  PartGrads& d = all[0];
  d.doutput = given_or_zeros(dys[0], part.output.shape(), dtype);
  if (dys[1].defined()) d.dlse = dys[1].contiguous();
  const std::vector<Tensor> buffers =
      allocate_gradients(std::vector<Tensor>{part.q, part.k, part.v}, needs_grad);
  d.dq = buffers[0];
  d.dk = buffers[1];
  d.dv = buffers[2];
  if (call.sinks_wanted(needs_grad)) d.dsinks = empty({n.B, n.H}, dtype);
  d.captured = call.captured_grads(needs_grad, n.B, n.H);
  detail::run_backward(parts, call.settings, all, dtype);
  Grads grads(call.inputs);
  grads[0] = d.dq;
  grads[1] = d.dk;
  grads[2] = d.dv;
  add_shared_grads(call, all, grads);
  if (d.dsinks.defined()) grads[call.inputs - 1] = sum(d.dsinks, 0);  // (H)
  return grads;
}

}  // namespace

AttentionResult scaled_dot_product_attention_with_lse(const Tensor& query, const Tensor& key,
                                                      const Tensor& value, const Mask& mask,
                                                      const AttentionOptions& options) {
  const AttentionShape n = detail::check_attention(query, key, value, options);
  MaskPlan plan = mask.plan({n.B, n.H, n.T, n.S});
  const Tensor q = with_dense_rows(query), k = with_dense_rows(key), v = with_dense_rows(value);
  Tensor output = empty_in_order_of(q, n.E), lse = empty({n.B, n.H, n.T}, q.dtype());
  std::vector<Part> parts;
  parts.push_back({n, without_graph(q), without_graph(k), without_graph(v), without_graph(output),
                   without_graph(lse), std::move(plan), reserve(options, n)});
  const std::vector<Tensor> inputs = inputs_of(q, k, v, options);
  Call call = call_of(options, n.D, inputs, {parts[0].output, parts[0].lse});
  detail::run_forward(parts, call.settings, q.dtype());
  detail::note_work([&] { return pairs_of(parts); });
  std::vector<Tensor> out = record_outputs<"scaled_dot_product_attention">(
      {std::move(output), std::move(lse)}, std::span<const Tensor>(inputs),
      any_strides([call = std::move(call), parts = std::move(parts), mask](
                      std::span<const Tensor> dys, NeedsGrad needs_grad) -> Grads {
        call.check_versions();
        if (!grad_enabled()) return padded_backward(call, parts, dys, needs_grad);
        const auto reference = [&](const std::vector<Tensor>& in) -> std::vector<Tensor> {
          AttentionResult y = reference_of(call, in[0], in[1], in[2], mask, parts[0].random, in);
          return {y.output, y.logsumexp};
        };
        return backward_by_reference(reference, call.input_tensors(), dys, needs_grad);
      }));
  return {std::move(out[0]), std::move(out[1])};
}

Tensor scaled_dot_product_attention(const Tensor& q, const Tensor& k, const Tensor& v,
                                    const Mask& mask, const AttentionOptions& options) {
  return scaled_dot_product_attention_with_lse(q, k, v, mask, options).output;
}

Tensor attention_head_mean(const Tensor& query, const Tensor& key, const Mask& mask,
                           const AttentionOptions& options, const Tensor& logsumexp) {
  constexpr const char* op = "attention_head_mean";
  const NoGrad guard;
  AttentionOptions before_dropout = options;
  before_dropout.dropout = 0;
  const AttentionShape n = detail::check_attention(query, key, key, before_dropout);
  check_defined(op, "logsumexp", logsumexp);
  if (!(logsumexp.shape() == Shape{n.B, n.H, n.T}))
    shape_error(op, "logsumexp {} for q {}: must be (B, H, T)", logsumexp.shape().str(),
                query.shape().str());
  if (logsumexp.dtype() != query.dtype())
    dtype_error(op, "logsumexp {}, q {}: dtypes must be equal", name_of(logsumexp.dtype()),
                name_of(query.dtype()));
  const Tensor q = without_graph(with_dense_rows(query)), k = without_graph(with_dense_rows(key));
  const Tensor lse = without_graph(logsumexp.contiguous()),
               mean = empty({n.B, n.T, n.S}, q.dtype());
  const std::vector<Part> parts{{n, q, k, k, {}, lse, mask.plan({n.B, n.H, n.T, n.S}), {}}};
  detail::run_head_mean(parts[0], settings_of(before_dropout, n.D), mean);
  detail::note_work([&] { return pairs_of(parts); });
  return record_cut<"attention_head_mean">(mean, {query, key, logsumexp});
}

// ---- Packed sequences --------------------------------------------------------------------------

namespace {

AttentionShape check_ragged(const Ragged& q, const Ragged& k, const Ragged& v, const Mask& mask,
                            const AttentionOptions& options) {
  constexpr const char* op = "scaled_dot_product_attention";
  const Tensor &a = q.values, &b = k.values, &c = v.values;
  check_defined(op, "q", a, "k", b, "v", c);
  if (a.rank() != 3 || b.rank() != 3 || c.rank() != 3 || b.dim(1) != c.dim(1) ||
      a.dim(2) != b.dim(2) || b.dim(1) == 0 || a.dim(1) == 0 || a.dim(1) % b.dim(1) != 0 ||
      a.dim(0) != q.index.total() || b.dim(0) != k.index.total() || c.dim(0) != v.index.total())
    shape_error(op,
                "packed q {} of {} rows, k {} of {}, v {} of {}: must be (rows, H, D), (rows, G, "
                "D), (rows, G, E), H a multiple of G, both at least 1",
                a.shape().str(), q.index.total(), b.shape().str(), k.index.total(), c.shape().str(),
                v.index.total());
  if (!(k.index == v.index) || q.index.batch_size() != k.index.batch_size())
    shape_error(op,
                "{} sequences of queries, {} of keys, {} of values: must be equal, with keys as "
                "long as values",
                q.index.batch_size(), k.index.batch_size(), v.index.batch_size());
  if (a.dtype() != b.dtype() || b.dtype() != c.dtype())
    dtype_error(op, "q {}, k {}, v {}: dtypes must be equal", name_of(a.dtype()),
                name_of(b.dtype()), name_of(c.dtype()));
  detail::check_attention_options(options, a.dim(1), a.dtype());
  const AttentionShape n{q.index.batch_size(), a.dim(1), b.dim(1), q.index.max_length(),
                         k.index.max_length(), a.dim(2), c.dim(2)};
  if (mask.keeps_all() || n.B == 0) return n;
  const MaskPlan padded = mask.plan({n.B, n.H, n.T, n.S});
  if (padded.per_row || !padded.tables.empty() || !padded.ids.empty())
    value_error(op, "mask: must be none, causal or window for packed sequences");
  return n;
}

// Sequence b of packed rows: (1, heads, rows, width)
Tensor sequence(const Tensor& values, const RaggedIndex& index, std::int64_t b) {
  const Strides& s = values.strides();
  return alias(values, {1, values.dim(1), index.length(b), values.dim(2)}, {0, s[1], s[0], s[2]},
               index.offset(b) * s[0]);
}

// The same, recorded.
Tensor recorded_sequence(const Tensor& values, const RaggedIndex& index, std::int64_t b) {
  return unsqueeze(transpose(narrow(values, 0, index.offset(b), index.length(b)), 0, 1), 0);
}

Grads ragged_backward(const Call& call, const std::vector<Part>& parts, const RaggedIndex& queries,
                      const RaggedIndex& keys, const Tensor& given, NeedsGrad needs_grad) {
  const auto N = static_cast<std::int64_t>(parts.size());
  const Tensor dy = with_dense_rows(given);
  Grads grads(call.inputs);
  const std::vector<Tensor> inputs = call.input_tensors();
  const std::vector<Tensor> buffers = allocate_gradients(std::span(inputs).first(3), needs_grad);
  for (std::size_t i = 0; i < 3; ++i) grads[i] = buffers[i];
  Tensor dsinks;
  if (call.sinks_wanted(needs_grad)) dsinks = empty({N, dy.dim(1)}, dy.dtype());
  std::vector<PartGrads> all;
  for (std::int64_t b = 0; b < N; ++b) {
    PartGrads& d = all.emplace_back();
    d.doutput = sequence(dy, queries, b);
    if (needs_grad[0]) d.dq = sequence(grads[0], queries, b);
    if (needs_grad[1]) d.dk = sequence(grads[1], keys, b);
    if (needs_grad[2]) d.dv = sequence(grads[2], keys, b);
    if (dsinks.defined()) d.dsinks = without_graph(narrow(dsinks, 0, b, 1));
    d.captured = call.captured_grads(needs_grad, 1, dy.dim(1));
  }
  detail::run_backward(parts, call.settings, all, dy.dtype());
  add_shared_grads(call, all, grads);
  if (dsinks.defined()) grads[call.inputs - 1] = sum(dsinks, 0);  // (H)
  return grads;
}

}  // namespace

Ragged scaled_dot_product_attention(const Ragged& query, const Ragged& key, const Ragged& value,
                                    const Mask& mask, const AttentionOptions& options) {
  const AttentionShape n = check_ragged(query, key, value, mask, options);
  const Tensor q = with_dense_rows(query.values), k = with_dense_rows(key.values),
               v = with_dense_rows(value.values);
  const RaggedIndex queries = query.index, keys = key.index;
  Tensor output = empty({q.dim(0), n.H, n.E}, q.dtype());
  const Tensor lse =
      empty({n.H * q.dim(0)}, q.dtype());  // (H, T_b) per sequence, one after another
  std::vector<Part> parts;
  for (std::int64_t b = 0; b < n.B; ++b) {
    const std::int64_t T = queries.length(b), S = keys.length(b);
    const AttentionShape one{1, n.H, n.G, T, S, n.D, n.E};
    parts.push_back({one, sequence(q, queries, b), sequence(k, keys, b), sequence(v, keys, b),
                     sequence(output, queries, b),
                     alias(lse, {1, n.H, T}, {n.H * T, T, 1}, n.H * queries.offset(b)),
                     mask.plan({1, n.H, T, S}), reserve(options, one)});
  }
  const std::vector<Tensor> inputs = inputs_of(q, k, v, options);
  Call call = call_of(options, n.D, inputs, {without_graph(output)});
  detail::run_forward(parts, call.settings, q.dtype());
  detail::note_work([&] { return pairs_of(parts); });
  std::vector<Tensor> out = record_outputs<"scaled_dot_product_attention">(
      {std::move(output)}, std::span<const Tensor>(inputs),
      any_strides([call = std::move(call), parts = std::move(parts), mask, queries, keys](
                      std::span<const Tensor> dys, NeedsGrad needs_grad) -> Grads {
        call.check_versions();
        if (!grad_enabled()) return ragged_backward(call, parts, queries, keys, dys[0], needs_grad);
        const auto reference = [&](const std::vector<Tensor>& in) -> std::vector<Tensor> {
          std::vector<Tensor> rows;  // (T_b, H, E)
          for (std::int64_t b = 0; b < queries.batch_size(); ++b) {
            const auto of = [&](std::size_t i) {
              return recorded_sequence(in[i], i == 0 ? queries : keys, b);
            };
            const RngState& place = parts[static_cast<std::size_t>(b)].random;
            const Tensor y = reference_of(call, of(0), of(1), of(2), mask, place, in).output;
            rows.push_back(transpose(select(y, 0, 0), 0, 1));
          }
          return {concat(rows, 0)};
        };
        return backward_by_reference(reference, call.input_tensors(), dys, needs_grad);
      }));
  return {std::move(out[0]), queries};
}

}  // namespace fovea
