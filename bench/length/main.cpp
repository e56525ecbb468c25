// Cost of attention and of recurrent nets, and its growth with sequence length.
//
//   length                          tables for T 16 to 8192, takes about 3 minutes
//   length --csv FILE --svg FILE    all values, and log-log charts
//   length --batch 1                one sequence: recurrent nets then cannot batch their steps
//   length --smoke                  T 16 to 64; exits with 1 if a result is missing or wrong
//
// One layer of each kind with equal width (bench/length/layers.h): forward, training (forward and
// backward, without an optimizer) and decoding. The batch size is the same at every length, so that
// only the length varies: with a fixed number of tokens the batch size would decrease with length,
// and with it the speed of recurrent nets, whose steps multiply (B, C) matrices.
//
// Lengths increase, and at each length the cheap kinds run first. A point that would need too much
// of the remaining time is omitted, with all longer ones of its kind.
#include <fovea/core/files.h>
#include <fovea/core/threads.h>
#include <fovea/examples/support/output.h>
#include <fovea/examples/support/program.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <iostream>
#include <memory>

#include "options.h"
#include "report.h"
#include <fmt/ostream.h>

using fovea::Rng;

namespace {

// The remaining time, and the share that one point may use.
class Budget {
 public:
  explicit Budget(double seconds) : seconds_(seconds) {}
  double spent() const {
    return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count();
  }
  double all() const { return seconds_; }
  double allowed() const { return std::min(seconds_ / 5, seconds_ - spent()); }
  /// For runs of a point beyond the minimum number.
  double for_more_runs() const { return seconds_ / 3000; }

 private:
  double seconds_;
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

// One kind in one mode, at increasing lengths.
struct Line {
  const Kind* kind;
  Layer* layer;
  Mode mode;
  std::vector<double> turns = {};  // seconds of a run at each length so far
  bool ended = false;

  // Estimate for the next point's warm-up and minimum runs, by the last growth, at most 4-fold.
  double expected() const {
    if (turns.empty()) return 0;
    const double last = turns.back();
    const double ratio = turns.size() < 2 ? 2 : last / turns[turns.size() - 2];
    return (1 + least_runs) * last * std::clamp(ratio, 1.0, 4.0);
  }
};

void measure_or_leave_out(Line& line, Batch& batch, const Budget& budget, Results& results) {
  if (line.ended) return;
  const double expected = line.expected(), allowed = budget.allowed();
  if (expected > allowed) {
    line.ended = true;
    results.left_out.push_back(fmt::format("{}, {}, from T = {}: needs {:.1f} s, limit {:.1f} s",
                                           line.kind->name, name_of(line.mode), batch.x.dim(1),
                                           expected, std::max(0.0, allowed)));
    return;
  }
  Point point = measure(*line.kind, *line.layer, line.mode, batch, budget.for_more_runs());
  line.turns.push_back(point.turn_s);
  results.points.push_back(std::move(point));
}

using Layers = std::vector<std::pair<const Kind*, std::unique_ptr<Layer>>>;

Layers make_layers(const Options& o, Rng& rng) {
  Layers layers;
  for (const Kind& kind : kinds())
    if (std::ranges::find(o.kinds, kind.name) != o.kinds.end())
      layers.emplace_back(&kind, kind.make(o.sizes, rng));
  return layers;
}

Results measure_all(const Options& o, const Layers& layers, Rng& rng) {
  Results results{.sizes = o.sizes, .batch = o.batch};
  std::vector<Line> lines;
  for (const Mode mode : {Mode::forward, Mode::training, Mode::decoding})
    if (std::ranges::find(o.modes, name_of(mode)) != o.modes.end()) {
      results.modes.push_back(mode);
      for (const auto& [kind, layer] : layers)
        if (mode != Mode::decoding || layer->decodes())
          lines.push_back({.kind = kind, .layer = layer.get(), .mode = mode});
    }
  for (const auto& [kind, layer] : layers)
    results.kinds.push_back(
        {kind->name, kind->attends, layer->decodes(), layer->module().parameter_count()});
  const Budget budget(o.budget);
  const auto some_go_on = [&] {
    return std::ranges::any_of(lines, [](const Line& line) { return !line.ended; });
  };
  for (std::int64_t T = o.min_length; T <= o.max_length && some_go_on(); T *= 2) {
    Batch batch(o.batch, T, o.sizes.width, rng);
    for (Line& line : lines) measure_or_leave_out(line, batch, budget, results);
    results.lengths.push_back(T);
    fmt::print(stderr, "T {}: {:.1f} s of {:.0f}\n", T, budget.spent(), budget.all());
  }
  return results;
}

// Checks of --smoke: all points, fits and names, and that decoders equal their layers.
bool all_came_out(const Options& o, const Layers& layers, const Results& results, Rng& rng) {
  bool good = true;
  const auto check = [&](bool ok, const std::string& what) {
    if (!ok) fmt::print(stderr, "smoke: {}\n", what);
    good = good && ok;
  };
  const std::string tables = as_tables(results, o.markdown);
  const Batch batch(3, 40, o.sizes.width, rng);
  for (const auto& [kind, layer] : layers) {
    for (const Mode mode : results.modes) {
      if (mode == Mode::decoding && !layer->decodes()) continue;
      for (const Quantity q : {Quantity::seconds, Quantity::bytes}) {
        const growth::Curve curve = curve_of(results, kind->name, mode, q);
        const auto power = growth::exponent(curve);
        check(curve.size() == results.lengths.size() && power && std::isfinite(*power),
              fmt::format("{}, {}: points or the exponent are missing", kind->name, name_of(mode)));
      }
    }
    check(tables.find("\n" + std::string(o.markdown ? "| " : "  ") + kind->name + " ") !=
              std::string::npos,
          fmt::format("{} is missing in the tables", kind->name));
    if (layer->decodes()) {
      const double error = decoding_error(*layer, batch);
      check(error <= 1e-5, fmt::format("{}: a decoding step differs by {}", kind->name, error));
    }
  }
  check(std::ranges::count(as_csv(results), '\n') == std::ssize(results.points) + 1,
        "points are missing in the CSV");
  return good;
}

int run(const Options& o) {
  support::check_outputs({{"--csv", o.csv}, {"--svg", o.svg}});
  if (o.pin && !fovea::pin_threads()) fmt::print(stderr, "cannot pin the threads\n");
  Rng rng(1);
  const Layers layers = make_layers(o, rng);
  const Results results = measure_all(o, layers, rng);
  fmt::print(std::cout, "{} threads, f32\n{}", fovea::num_threads(),
             as_tables(results, o.markdown));
  if (!o.csv.empty()) fovea::write_file_atomically(o.csv, as_csv(results));
  if (!o.svg.empty()) fovea::write_file_atomically(o.svg, as_svg(results));
  return !o.smoke || all_came_out(o, layers, results, rng) ? 0 : 1;
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("length", [&] { return run(parse_options(argc, argv)); });
}
