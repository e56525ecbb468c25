#include <fovea/core/ops/index.h>
#include <fovea/core/ops/layout.h>
#include <fovea/core/ops/matmul.h>
#include <fovea/nn/inspect/unrolled.h>

#include <utility>

namespace fovea::nn::inspect {
namespace {

using Ids = std::vector<std::int64_t>;

// Undefined stays undefined.
Tensor select_rows(const Tensor& x, const Ids& rows) {
  if (!x.defined()) return x;
  return index_select(x, 0, from_data(rows, {static_cast<std::int64_t>(rows.size())}));
}

// The sequences that have a step s, and the rows of the packed batch that it reads.
struct Running {
  Ids sequences, rows, lengths;  // lengths: of all B, 1 or 0
};

Running running_at(std::int64_t s, const RaggedIndex& index, bool reverse) {
  Running running;
  for (std::int64_t b = 0; b < index.batch_size(); ++b) {
    const bool runs = s < index.length(b);
    running.lengths.push_back(runs ? 1 : 0);
    if (!runs) continue;
    running.sequences.push_back(b);
    running.rows.push_back(reverse ? index.offset(b + 1) - 1 - s : index.offset(b) + s);
  }
  return running;
}

// The results of one direction.
struct Walk {
  UnrolledStates states, cells;
  Tensor packed;           // (N, P)
  Tensor last, last_cell;  // (B, P), (B, H)
};

// One step from the rows that it reads and the state before it. The op does not change the states
// of sequences without a row.
RecurrentOutput step(const RecurrentDirection& direction, const Running& running,
                     const RecurrentSettings& settings) {
  RecurrentDirection d = direction;
  d.gates = select_rows(d.gates, running.rows);
  d.zoneout_shares = select_rows(d.zoneout_shares, running.rows);
  d.cell_zoneout_shares = select_rows(d.cell_zoneout_shares, running.rows);
  d.reverse = false;
  return recurrent({}, {d}, RaggedIndex(running.lengths), settings);
}

Walk walk(const Tensor& input, RecurrentDirection d, const RaggedIndex& index,
          const RecurrentSettings& settings) {
  if (!d.gates.defined())  // for all rows at once as in the op: bitwise equal results
    d.gates = linear(input, std::exchange(d.weight_ih, {}), std::exchange(d.bias_ih, {}));
  Walk walk{{{}, index, d.reverse}, {{}, index, d.reverse}, {}, {}, {}};
  std::vector<Tensor> parts;  // the states in the order of steps
  Ids part_index(
      static_cast<std::size_t>(index.total()));  // the index of each packed row in `parts`
  std::int64_t count = 0;
  for (std::int64_t s = 0; s < index.max_length(); ++s) {
    const Running running = running_at(s, index, d.reverse);
    const RecurrentOutput out = step(d, running, settings);
    d.initial = walk.states.steps.emplace_back(select(out.last, 0, 0));  // (B, P)
    if (out.last_cell.defined())
      d.initial_cell = walk.cells.steps.emplace_back(select(out.last_cell, 0, 0));  // (B, H)
    parts.push_back(select_rows(d.initial, running.sequences));
    for (const std::int64_t row : running.rows) part_index[static_cast<std::size_t>(row)] = count++;
  }
  if (parts.empty()) return walk;
  walk.packed = select_rows(concat(parts, 0), part_index);  // (N, P)
  walk.last = d.initial;
  walk.last_cell = d.initial_cell;
  return walk;
}

std::string layer_name(std::int64_t layer, bool reverse) {
  return "l" + std::to_string(layer) + (reverse ? "_reverse" : "");
}

}  // namespace

Unrolled unroll(const RecurrentLayers& net, const Ragged& x, const Tensor& initial,
                const Tensor& initial_cell) {
  std::vector<UnrolledLayer> layers;
  std::int64_t number = 0;
  const auto by_steps = [&](const Tensor& input, const std::vector<RecurrentDirection>& directions,
                            const RaggedIndex& index, const RecurrentSettings& settings) {
    std::vector<Tensor> packed, last, last_cell;
    for (const RecurrentDirection& d : directions) {
      Walk walked = walk(input, d, index, settings);
      packed.push_back(walked.packed);
      last.push_back(walked.last);
      if (walked.last_cell.defined()) last_cell.push_back(walked.last_cell);
      layers.push_back(
          {layer_name(number, d.reverse), std::move(walked.states), std::move(walked.cells)});
    }
    ++number;
    if (index.total() == 0) return recurrent(input, directions, index, settings);
    return RecurrentOutput{concat(packed, 1), stack(last, 0),
                           last_cell.empty() ? Tensor() : stack(last_cell, 0)};
  };
  return {net.forward(by_steps, x, initial, initial_cell), std::move(layers)};
}

}  // namespace fovea::nn::inspect
