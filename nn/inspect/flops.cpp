#include <fovea/core/error.h>
#include <fovea/nn/inspect/flops.h>

#include <algorithm>
#include <exception>
#include <functional>
#include <unordered_map>

namespace fovea::nn::inspect {
namespace {

// --- sizes ---------------------------------------------------------------------------------------

struct Call {
  const OpSizes& n;
  NeedsGrad needs_grad;
  std::int64_t recomputed_work;

  // These throw if a user's op with the name of a built-in op has other sizes.
  const TensorSize& in(std::size_t i) const { return n.inputs.at(i); }
  const TensorSize& out(std::size_t i = 0) const { return n.outputs.at(i); }
  double work() const {
    if (n.work < 0) value_error("cost_of", "work: must be set by the op");
    return static_cast<double>(n.work);
  }
};

double count(const TensorSize& x) { return x.given ? static_cast<double>(x.shape.numel()) : 0; }
// The size of an axis counted from the end: 1 is the last.
double width(const TensorSize& x, std::int64_t from_end = 1) {
  if (x.shape.rank() < from_end)
    value_error("cost_of", "{}: must have at least {} axes", x.shape.str(), from_end);
  return static_cast<double>(x.shape[x.shape.rank() - from_end]);
}

double bytes(const std::vector<TensorSize>& all) {
  double sum = 0;
  for (const TensorSize& x : all) sum += static_cast<double>(x.bytes());
  return sum;
}
double read_and_written(const Call& c) { return bytes(c.n.inputs) + bytes(c.n.outputs); }

double wanted_inputs(const Call& c) {
  double number = 0;
  for (std::size_t i = 0; i < c.n.inputs.size(); ++i)
    number += c.in(i).given && c.needs_grad[i] ? 1 : 0;
  return number;
}
double wanted_bytes(const Call& c) {
  double sum = 0;
  for (std::size_t i = 0; i < c.n.inputs.size(); ++i)
    if (c.needs_grad[i]) sum += static_cast<double>(c.in(i).bytes());
  return sum;
}
double backward_bytes(const Call& c) { return read_and_written(c) + wanted_bytes(c); }

// --- entries -------------------------------------------------------------------------------------

using Rule = std::function<OpCost(const Call&)>;
struct Entry {
  Rule forward, backward;
};

OpCost nothing(const Call&) { return {}; }
OpCost copied(const Call& c) { return {0, read_and_written(c)}; }
OpCost copied_back(const Call& c) { return {0, bytes(c.n.outputs) + wanted_bytes(c)}; }

// Shares the storage of its input, or is composed of ops that are observed themselves.
Entry free_of_cost() { return {nothing, nothing}; }
// A view; its backward writes the gradient of the whole input.
Entry part_of() { return {nothing, copied_back}; }
Entry copy() { return {copied, copied_back}; }

// `forward` operations per output element; `backward` per output element and required input, and an
// addition if the input was broadcast. At 0 the gradient is passed through.
Entry elementwise(double forward, double backward) {
  return {[=](const Call& c) -> OpCost {
            return {forward * count(c.out()), read_and_written(c)};
          },
          [=](const Call& c) -> OpCost {
            double flops = 0;
            for (std::size_t i = 0; i < c.n.inputs.size(); ++i) {
              if (!c.needs_grad[i] || !c.in(i).given) continue;
              flops += backward * count(c.out());
              if (count(c.in(i)) < count(c.out())) flops += count(c.out());
            }
            return {flops, flops > 0 ? backward_bytes(c) : 0};
          }};
}

// The same per input element, for ops with a smaller output.
Entry of_each_input(double forward, double backward) {
  return {
      [=](const Call& c) -> OpCost {
        return {forward * count(c.in(0)), read_and_written(c)};
      },
      [=](const Call& c) -> OpCost {
        return {backward * count(c.in(0)), backward > 0 ? backward_bytes(c) : copied_back(c).bytes};
      }};
}

// Rows selected by an index, and accumulated in the backward.
Entry selected_rows() {
  return {[](const Call& c) -> OpCost {
            return {0, 2 * bytes(c.n.outputs)};
          },
          [](const Call& c) -> OpCost {
            return {count(c.out()), bytes(c.n.outputs) + wanted_bytes(c)};
          }};
}

// x with `source` added at the positions of the index.
Entry added_rows() {
  return {[](const Call& c) -> OpCost {
            return {count(c.in(1)), read_and_written(c)};
          },
          [](const Call& c) -> OpCost {
            return {0, c.needs_grad[1] ? 2.0 * static_cast<double>(c.in(1).bytes()) : 0};
          }};
}

// (..., M, K) or its transpose, times another: each required gradient is a product of the same
// size. If the result has fewer matrices than the factors, their products are summed.
double product_flops(const Call& c) {
  const double M = width(c.out(), 2), N = width(c.out());
  if (M == 0 || N == 0) return 0;
  const double K = width(c.in(0)) * width(c.in(0), 2) / M;
  const auto matrices = [](const TensorSize& x) {
    return Shape(x.shape.begin(), x.shape.end() - 2);
  };
  const Shape batch = broadcast_shapes("matmul", matrices(c.in(0)), matrices(c.in(1)));
  return 2 * static_cast<double>(batch.numel()) * M * N * K;
}
Entry matrix_product() {
  return {[](const Call& c) -> OpCost {
            return {product_flops(c), read_and_written(c)};
          },
          [](const Call& c) -> OpCost {
            return {wanted_inputs(c) * product_flops(c), backward_bytes(c)};
          }};
}

Entry linear_layer() {  // (..., in) times (out, in), and a bias whose gradient is a sum
  const auto product = [](const Call& c) { return 2 * count(c.out()) * width(c.in(1)); };
  return {[=](const Call& c) -> OpCost {
            return {product(c), read_and_written(c)};
          },
          [=](const Call& c) -> OpCost {
            const double products = (c.needs_grad[0] ? 1 : 0) + (c.needs_grad[1] ? 1 : 0);
            const bool bias = c.n.inputs.size() > 2 && c.needs_grad[2];
            return {products * product(c) + (bias ? count(c.out()) : 0), backward_bytes(c)};
          }};
}

// Over the unmasked pairs of query and key, of width D, and values of width E.
//   forward: q k (D), weights v (E).   backward: q k again (D), dy v (E); dv (E); dq, dk (D)
Entry dot_product_attention() {
  const auto pairs = [](const Call& c) { return c.work(); };
  return {[=](const Call& c) -> OpCost {
            return {2 * pairs(c) * (width(c.in(0)) + width(c.in(2))), read_and_written(c)};
          },
          [=](const Call& c) -> OpCost {
            const double D = width(c.in(0)), E = width(c.in(2));
            double a_pair = D + E;
            if (c.needs_grad[0]) a_pair += D;
            if (c.needs_grad[1]) a_pair += D;
            if (c.needs_grad[2]) a_pair += E;
            return {2 * pairs(c) * a_pair, backward_bytes(c) + bytes(c.n.outputs)};
          }};
}

// Over the unmasked pairs of all heads: q k (D).
Entry head_mean() {
  return {[](const Call& c) -> OpCost {
            return {2 * static_cast<double>(c.n.work) * width(c.in(0)), read_and_written(c)};
          },
          {}};
}

// Over the unmasked pairs of width A, and values of width C: v . tanh(q + k), then weights *
// values.
//   backward: recomputed tanh 2 A, its derivative and dv 6 A, dq and dk 2 A; dx and da 2 C each
Entry additive() {
  const auto pairs = [](const Call& c) { return c.work(); };
  return {[=](const Call& c) -> OpCost {
            return {pairs(c) * (4 * width(c.in(0)) + 2 * width(c.in(3))), read_and_written(c)};
          },
          [=](const Call& c) -> OpCost {
            return {pairs(c) * (10 * width(c.in(0)) + 4 * width(c.in(3))), backward_bytes(c)};
          }};
}

// Running sums of outer products.   a: (B, T, D)  b: (B, S, D)  c: (B, S or T, E)
Entry running_product() {
  const auto product = [](const Call& c) {
    const double rows = count(c.in(0)) + count(c.in(1));  // (T + S) D
    return 2 * rows * width(c.in(2));
  };
  return {[=](const Call& c) -> OpCost {
            return {product(c), read_and_written(c)};
          },
          [=](const Call& c) -> OpCost {
            return {wanted_inputs(c) * product(c), backward_bytes(c)};
          }};
}

// Products with the input and with the state; the backward has two for each, without those of
// gradients that are not required, and with recompute the forward's again.
// Inputs: x, and per direction weight_ih, gates, weight_hh, two biases, weight_hr, and six more.
double unwanted_products(const Call& c) {
  constexpr std::size_t parts = 12, weight_ih = 0, weight_hh = 2, weight_hr = 5;
  double weights = 0;
  for (std::size_t first = 1; first < c.n.inputs.size(); first += parts) {
    if (!c.needs_grad[0]) weights += count(c.in(first + weight_ih));
    for (const std::size_t part : {weight_ih, weight_hh, weight_hr})
      if (!c.needs_grad[first + part]) weights += count(c.in(first + part));
  }
  return width(c.out(), 2) * weights;
}
Entry recurrent_layer() {
  return {[](const Call& c) -> OpCost {
            return {2 * c.work(), read_and_written(c)};
          },
          [](const Call& c) -> OpCost {
            const double again = static_cast<double>(c.recomputed_work);
            return {4 * c.work() - 2 * unwanted_products(c) + 2 * again, backward_bytes(c)};
          }};
}

// Y = X W_x^T + b for all steps at once. Its backward includes the part of dW of the steps.
//   x: (B, T, E)   W: (out, E + Z)
Entry early_linear() {
  const auto product = [](const Call& c) { return 2 * count(c.out()) * width(c.in(0)); };
  return {[=](const Call& c) -> OpCost {
            const double W = static_cast<double>(c.in(1).bytes());
            const double unread = W * (1 - width(c.in(0)) / width(c.in(1)));
            return {product(c), read_and_written(c) - unread};
          },
          [=](const Call& c) -> OpCost {
            double flops = c.needs_grad[0] ? product(c) : 0;
            if (c.needs_grad[1]) flops += 2 * count(c.out()) * width(c.in(1));
            if (c.n.inputs.size() > 2 && c.needs_grad[2]) flops += count(c.out());
            return {flops, backward_bytes(c)};
          }};
}

// y = Y_t + z W_z^T; dY_t = dy, dW_z is part of early_linear.   z: (B, Z)   W: (out, E + Z)
Entry step_linear() {
  const auto product = [](const Call& c) { return 2 * count(c.out()) * width(c.in(1)); };
  const auto read = [](const Call& c) {  // z and W_z
    const double W = static_cast<double>(c.in(2).bytes());
    return static_cast<double>(c.in(1).bytes()) + W * width(c.in(1)) / width(c.in(2));
  };
  return {[=](const Call& c) -> OpCost {
            return {product(c), read(c) + 2 * bytes(c.n.outputs)};
          },
          [=](const Call& c) -> OpCost {
            if (!c.needs_grad[1]) return {};
            return {product(c), read(c) + bytes(c.n.outputs)};
          }};
}

// Ops without a gradient that report their multiply-adds.
Entry one_pass() {
  return {[](const Call& c) -> OpCost { return {2 * c.work(), read_and_written(c)}; }, nothing};
}

// The same, reading the visible keys and values besides the weights.
//   x: (B, 1, C)   W^Q: (Q, C), or all three: (Q + 2 KV, C)   W^O: (C, Q)
//   work = B (2 (Q + KV) C + 2 Q tokens)
Entry attention_step() {
  return {[](const Call& c) -> OpCost {
            const double B = width(c.in(0), 3), C = width(c.in(0)), Q = width(c.in(5));
            const TensorSize& k = c.in(2);
            const double KV = k.given ? width(k, 2) : (width(c.in(1), 2) - Q) / 2;
            const double tokens = (c.work() / B - 2 * (Q + KV) * C) / (2 * Q);
            const double number = static_cast<double>(size_of(c.in(0).dtype));
            return {2 * c.work(), read_and_written(c) + 2 * B * KV * number * (tokens + 1)};
          },
          nothing};
}

// h_t = a_t h_t-1 + b_t.   backward: dh from the last step on, and da = dh h, summed for a shared a
Entry scan(double forward, double dh, double da) {
  return {[=](const Call& c) -> OpCost {
            return {forward * count(c.out()), read_and_written(c)};
          },
          [=](const Call& c) -> OpCost {
            double a_number = dh;
            if (c.needs_grad[0]) a_number += da + (count(c.in(0)) < count(c.out()) ? 1 : 0);
            return {a_number * count(c.out()), backward_bytes(c)};
          }};
}

// An optimizer op: `flops` per element of its first tensor; reads all tensors and writes all but
// the second, the gradient.
Entry update(double flops) {
  return {[=](const Call& c) -> OpCost {
            const double gradient =
                c.n.inputs.size() > 1 ? static_cast<double>(c.in(1).bytes()) : bytes(c.n.inputs);
            return {flops * count(c.in(0)), 2 * bytes(c.n.inputs) - gradient};
          },
          nothing};
}

// --- the table -----------------------------------------------------------------------------------

using Table = std::unordered_map<std::string_view, Entry>;

void add(Table& table, std::initializer_list<std::string_view> names, const Entry& entry) {
  for (const std::string_view name : names) table.emplace(name, entry);
}

Table make_table() {
  Table t;
  add(t, {"checkpoint", "detach", "identity", "permute", "reshape", "transpose"}, free_of_cost());
  add(t, {"select", "slice", "split", "unbind"}, part_of());
  add(t,
      {"clone", "concat", "contiguous", "flip", "one_hot", "pack_ragged", "pad", "pad_ragged",
       "skip_zero_gradient", "stack", "straight_through", "to", "to_integer"},
      copy());
  // The work of a user's score function is unknown: only its bytes are counted.
  add(t,
      {"argmax", "argmin", "eq", "ge", "gt", "le", "logical_and", "logical_not", "logical_or", "lt",
       "ne", "score_mod", "where"},
      copy());
  t.emplace("expand", Entry{nothing, elementwise(0, 0).backward});
  add(t, {"accumulate", "add", "add_number"}, elementwise(1, 0));
  add(t,
      {"abs", "clamp", "div_number", "dropout", "leaky_relu", "maximum", "minimum", "mul",
       "mul_number", "number_sub", "relu", "relu_dropout", "sub"},
      elementwise(1, 1));
  add(t,
      {"div", "erf", "exp", "gelu", "gelu_tanh", "log", "pow", "pow_number", "rsqrt", "sigmoid",
       "silu", "softplus", "sqrt", "square", "tanh"},
      elementwise(1, 2));
  add(t, {"polar", "rope"}, elementwise(3, 3));
  add(t, {"max", "max_with_index", "min", "min_with_index"}, of_each_input(0, 0));
  add(t, {"mean", "sum"}, of_each_input(1, 0));
  add(t, {"cumsum"}, of_each_input(1, 1));
  add(t, {"logsumexp", "var"}, of_each_input(3, 3));
  // Sorting and the search for the threshold are not counted.
  add(t, {"cross_entropy", "entmax15", "log_softmax", "masked_softmax", "softmax", "sparsemax"},
      of_each_input(4, 4));
  t.emplace("layer_norm", of_each_input(8, 13));
  t.emplace("rms_norm", of_each_input(4, 9));
  add(t, {"embedding", "gather", "index_select"}, selected_rows());
  add(t, {"index_add", "scatter_add"}, added_rows());
  t.emplace("matmul", matrix_product());
  t.emplace("linear", linear_layer());
  t.emplace("early_linear", early_linear());
  t.emplace("step_linear", step_linear());
  t.emplace("feed_forward", one_pass());
  t.emplace("attention_step", attention_step());
  t.emplace("scaled_dot_product_attention", dot_product_attention());
  t.emplace("attention_head_mean", head_mean());
  t.emplace("additive_attention", additive());
  add(t, {"prefix_product", "suffix_product"}, running_product());
  add(t, {"gru", "lstm", "rnn"}, recurrent_layer());
  t.emplace("linear_recurrence", scan(2, 2, 1));
  t.emplace("complex_linear_recurrence", scan(4, 4, 3));  // half a complex number each
  t.emplace("sgd_step", update(4));
  t.emplace("adam_step", update(12));
  t.emplace("sum_of_squares", update(2));
  return t;
}

const Table& table() {
  static const Table made = make_table();
  return made;
}

}  // namespace

bool has_cost(std::string_view op) { return table().contains(op); }

OpCost cost_of(const OpEvent& op) {
  if (op.pass == OpEvent::Pass::walk || op.composed) return {};
  if (!op.sizes) return {0, 0, false};
  const Call call{*op.sizes, op.needs_grad, op.recomputed_work};
  const auto found = table().find(op.name);
  const bool back = op.pass == OpEvent::Pass::backward;
  if (found != table().end()) try {
      return back ? found->second.backward(call) : found->second.forward(call);
    } catch (const std::exception&) {  // a user's op with the same name
    }
  return {0, back ? backward_bytes(call) : read_and_written(call), false};
}

}  // namespace fovea::nn::inspect
