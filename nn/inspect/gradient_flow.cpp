#include <fovea/core/error.h>
#include <fovea/nn/inspect/gradient_flow.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include <fmt/format.h>

namespace fovea::nn::inspect {
namespace {

constexpr std::int64_t no_row = -1;

// ||row||_2 of each row of g.    g: (..., C)
std::vector<double> row_norms(const Tensor& g) {
  const std::vector<double> values = g.to_vector<double>();
  const auto C = static_cast<std::size_t>(g.dim(-1));
  std::vector<double> norms(C == 0 ? 0 : values.size() / C);
  for (std::size_t row = 0; row < norms.size(); ++row) {
    double sum = 0;  // in f64: the squares of vanishing gradients underflow in f32
    for (std::size_t c = 0; c < C; ++c) sum += values[row * C + c] * values[row * C + c];
    norms[row] = std::sqrt(sum);
  }
  return norms;
}

// The mean of the norms at each position; `position_of` maps (t, length) to it.
template <class F>
std::vector<double> mean_by(const Flow& flow, const F& position_of) {
  const auto T = static_cast<std::size_t>(flow.index.max_length());
  std::vector<double> sums(T), counts(T);
  for (std::int64_t b = 0; b < flow.index.batch_size(); ++b)
    for (std::int64_t t = 0; t < flow.index.length(b); ++t) {
      const auto at = static_cast<std::size_t>(position_of(t, flow.index.length(b)));
      sums[at] += flow.norms[static_cast<std::size_t>(flow.index.offset(b) + t)];
      ++counts[at];
    }
  for (std::size_t i = 0; i < T; ++i) sums[i] /= counts[i];  // > 0: the longest sequence has all
  return sums;
}

void check_history(const std::string& name, const Tensor& states) {
  if (!states.requires_grad())
    state_error(
        "GradientFlow",
        "{}: states {} without graph: they are detached, were computed under NoGrad, or from "
        "inputs that require no gradient",
        name, states.shape().str());
}

}  // namespace

std::vector<double> Flow::by_position() const {
  return mean_by(*this, [](std::int64_t t, std::int64_t) { return t; });
}

std::vector<double> Flow::by_distance() const {
  return mean_by(*this, [](std::int64_t t, std::int64_t length) { return length - 1 - t; });
}

void GradientFlow::watch(std::string name, const Tensor& states) {
  if (states.rank() != 3)
    shape_error("GradientFlow", "{}: states {}: must be (B, T, C), or packed with an index", name,
                states.shape().str());
  watch(std::move(name), states, RaggedIndex::equal(states.dim(0), states.dim(1)));
}

void GradientFlow::watch(std::string name, const Tensor& states, const RaggedIndex& lengths) {
  if (states.rank() != 3 || states.dim(0) != lengths.batch_size() ||
      states.dim(1) < lengths.max_length())
    shape_error("GradientFlow",
                "{}: states {} for {} sequences of up to {} tokens: must be (B, T, C)", name,
                states.shape().str(), lengths.batch_size(), lengths.max_length());
  std::vector<std::int64_t> packed;
  for (std::int64_t b = 0; b < lengths.batch_size(); ++b)
    for (std::int64_t t = 0; t < states.dim(1); ++t)
      packed.push_back(t < lengths.length(b) ? lengths.offset(b) + t : no_row);
  add({std::move(name), lengths, {{states, std::move(packed)}}});
}

void GradientFlow::watch(std::string name, const Ragged& states) {
  if (states.values.rank() != 2 || states.values.dim(0) != states.index.total())
    shape_error("GradientFlow", "{}: states {} for {} packed rows: must be (N, C)", name,
                states.values.shape().str(), states.index.total());
  std::vector<std::int64_t> packed(static_cast<std::size_t>(states.index.total()));
  std::iota(packed.begin(), packed.end(), std::int64_t{0});
  add({std::move(name), states.index, {{states.values, std::move(packed)}}});
}

void GradientFlow::watch(std::string name, const UnrolledStates& states) {
  const RaggedIndex& index = states.index;
  if (static_cast<std::int64_t>(states.steps.size()) != index.max_length())
    shape_error("GradientFlow", "{}: {} steps for sequences of up to {} tokens: must be equal",
                name, states.steps.size(), index.max_length());
  Watched watched{std::move(name), index, {}};
  for (std::int64_t s = 0; s < index.max_length(); ++s) {
    const Tensor& h = states.steps[static_cast<std::size_t>(s)];
    if (h.rank() != 2 || h.dim(0) != index.batch_size())
      shape_error("GradientFlow",
                  "{}: step {} of shape {} for {} sequences: must have a row for each",
                  watched.name, s, h.shape().str(), index.batch_size());
    std::vector<std::int64_t> packed;
    for (std::int64_t b = 0; b < index.batch_size(); ++b) {
      const std::int64_t T = index.length(b), t = states.reverse ? T - 1 - s : s;
      packed.push_back(s < T ? index.offset(b) + t : no_row);
    }
    watched.pieces.push_back({h, std::move(packed)});
  }
  add(std::move(watched));
}

void GradientFlow::add(Watched watched) {
  for (const Watched& other : watched_)
    if (other.name == watched.name)
      value_error("GradientFlow", "name \"{}\": must not be in use already", watched.name);
  for (const Piece& piece : watched.pieces) check_history(watched.name, piece.rows);
  for (Piece& piece : watched.pieces) piece.rows.retain_grad();
  watched_.push_back(std::move(watched));
}

std::vector<Flow> GradientFlow::measure() const {
  std::vector<Flow> flows;
  for (const Watched& watched : watched_) flows.push_back(measure(watched));
  return flows;
}

Flow GradientFlow::measure(std::string_view name) const {
  std::vector<std::string> names;
  for (const Watched& watched : watched_) {
    if (watched.name == name) return measure(watched);
    names.push_back(watched.name);
  }
  value_error("GradientFlow", "name \"{}\": must be one of the watched names: {}", name,
              names.empty() ? "none" : fmt::format("{}", fmt::join(names, ", ")));
}

Flow GradientFlow::measure(const Watched& watched) {
  Flow flow{watched.name, watched.index, {}};
  flow.norms.resize(static_cast<std::size_t>(watched.index.total()));
  bool any = watched.index.total() == 0;
  for (const Piece& piece : watched.pieces) {
    const Tensor g = piece.rows.grad();
    if (!g.defined()) continue;  // a step after the last one that the loss depends on: 0
    any = true;
    const std::vector<double> norms = row_norms(g);
    for (std::size_t row = 0; row < norms.size(); ++row)
      if (piece.packed[row] != no_row)
        flow.norms[static_cast<std::size_t>(piece.packed[row])] = norms[row];
  }
  if (!any)
    state_error("GradientFlow",
                "{}: no gradient: backward() has not run since watch(), or the loss "
                "does not depend on these states",
                watched.name);
  return flow;
}

void GradientFlow::clear() { watched_.clear(); }

Chart chart_of(const std::vector<Flow>& flows, FlowAxis axis) {
  const bool position = axis == FlowAxis::position;
  Chart chart{.title = "Gradient through time",
              .x_label = position ? "position t" : "positions before the end",
              .y_label = "||dL/dh_t||",
              .log_y = true};
  for (const Flow& flow : flows) {
    Series series{.name = flow.name, .y = position ? flow.by_position() : flow.by_distance()};
    for (std::size_t i = 0; i < series.y.size(); ++i)
      series.x.push_back(static_cast<double>(position ? i + 1 : i));
    chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace fovea::nn::inspect
