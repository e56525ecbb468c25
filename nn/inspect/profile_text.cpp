// A Profile as tables and as a trace.
#include <fovea/core/files.h>
#include <fovea/nn/inspect/profile.h>

#include <algorithm>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

namespace fovea::nn::inspect {
namespace {

// --- tables --------------------------------------------------------------------------------------

struct Scale {
  double steps;     // divisor of all values
  double whole_ms;  // the 100 % of the time column
  double peak;      // GFLOP/s, or 0
};

constexpr std::size_t kNameWidth = 36;

// The end of a path identifies a module better than its start.
std::string fitted(const std::string& name) {
  if (name.size() <= kNameWidth) return name;
  return "…" + name.substr(name.size() - (kNameWidth - 1));
}

std::string heading(const char* what, const Scale& s) {
  return fmt::format("{:<{}} {:>8} {:>9} {:>9} {:>9} {:>6} {:>9} {:>8}{} {:>9} {:>9}\n", what,
                     kNameWidth, "calls", "forward", "backward", "ms", "%", "GFLOP", "GFLOP/s",
                     s.peak > 0 ? fmt::format(" {:>6}", "% peak") : "", "MB moved", "MB saved");
}

std::string line(const ProfileRow& row, const Scale& s) {
  const std::string name = fitted(row.name);
  // The ellipsis has three bytes, but one column.
  const std::size_t width = kNameWidth + (name.starts_with("…") ? 2 : 0);
  const std::string peak = s.peak > 0 ? fmt::format(" {:>6.1f}", 100 * row.gflops() / s.peak) : "";
  return fmt::format(
      "{:<{}} {:>8.6g} {:>9.3f} {:>9.3f} {:>9.3f} {:>6.1f} {:>9.4f} {:>8.2f}{} {:>9.2f} "
      "{:>9.2f}{}\n",
      name, width, static_cast<double>(row.calls) / s.steps, row.forward_ms / s.steps,
      row.backward_ms / s.steps, row.ms() / s.steps,
      s.whole_ms > 0 ? 100 * row.ms() / s.whole_ms : 0, 1e-9 * row.flops / s.steps, row.gflops(),
      peak, 1e-6 * row.bytes / s.steps, 1e-6 * static_cast<double>(row.saved_bytes) / s.steps,
      row.known ? "" : "  FLOP unknown");
}

void add(ProfileRow& sum, const ProfileRow& row) {
  sum.calls += row.calls;
  sum.forward_ms += row.forward_ms;
  sum.backward_ms += row.backward_ms;
  sum.flops += row.flops;
  sum.bytes += row.bytes;
  sum.saved_bytes += row.saved_bytes;
  sum.known = sum.known && row.known;
}

std::string op_table(const std::vector<ProfileRow>& ops, std::size_t rows, const Scale& s) {
  std::string text = heading("op", s);
  ProfileRow rest, total;
  for (std::size_t i = 0; i < ops.size(); ++i) {
    if (i < rows) text += line(ops[i], s);
    if (i >= rows) add(rest, ops[i]);
    add(total, ops[i]);
  }
  rest.name = fmt::format("{} more", ops.size() - std::min(rows, ops.size()));
  total.name = "total";
  if (ops.size() > rows) text += line(rest, s);
  return text + line(total, s);
}

std::string module_table(const std::vector<ProfileRow>& modules, std::size_t rows, const Scale& s) {
  std::string text = heading("module, with children", s);
  for (std::size_t i = 0; i < std::min(rows, modules.size()); ++i) text += line(modules[i], s);
  if (modules.size() > rows) text += fmt::format("{} more\n", modules.size() - rows);
  return text;
}

// --- traces --------------------------------------------------------------------------------------

constexpr int kOps = 1, kModules = 2;  // threads of the trace

// A module name may be any bytes, and JSON is UTF-8: invalid bytes become U+FFFD.
std::string dumped(const nlohmann::ordered_json& event) {
  return event.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

double microseconds(std::int64_t ns) { return static_cast<double>(ns) * 1e-3; }

std::string named_thread(int thread, const char* name) {
  const nlohmann::ordered_json event{{"name", "thread_name"},
                                     {"ph", "M"},
                                     {"pid", 1},
                                     {"tid", thread},
                                     {"args", {{"name", name}}}};
  return dumped(event);
}

nlohmann::ordered_json slice(const std::string& name, const char* category, int thread,
                             std::int64_t begin_ns, std::int64_t end_ns) {
  return {{"name", name},
          {"cat", category},
          {"ph", "X"},
          {"ts", microseconds(begin_ns)},
          {"dur", microseconds(end_ns - begin_ns)},
          {"pid", 1},
          {"tid", thread}};
}

}  // namespace

std::string Profile::table(std::size_t rows) const {
  const ProfileTotals all = totals();
  const Scale scale{static_cast<double>(std::max<std::int64_t>(1, all.steps)), all.wall_ms,
                    options_.peak_gflops};
  const auto share = [&](double ms) { return all.wall_ms > 0 ? 100 * ms / all.wall_ms : 0; };
  std::string text = all.steps > 0 ? fmt::format("{} steps of {:.3f} ms; values per step\n",
                                                 all.steps, all.wall_ms / scale.steps)
                                   : fmt::format("{:.3f} ms\n", all.wall_ms);
  text += fmt::format("{:.1f} % of the time in ops, {:.1f} % in the profiler, {:.1f} % elsewhere",
                      share(all.op_ms), share(all.observer_ms),
                      share(all.wall_ms - all.op_ms - all.observer_ms));
  if (scale.peak > 0) text += fmt::format("; peak {:.1f} GFLOP/s", scale.peak);
  text += "\n\n" + op_table(by_op(), rows, scale);
  return text + "\n" + module_table(by_module(), rows, scale);
}

// The modules around the ops as nested slices: consecutive ops with a module in their path share
// it.
std::string Profile::module_events() const {
  std::vector<const TraceEvent*> ops;  // in order of time, without nested ones
  for (const TraceEvent& e : events_)
    if (e.pass != OpEvent::Pass::walk && e.depth == (e.pass == OpEvent::Pass::backward ? 1 : 0))
      ops.push_back(&e);
  std::string text;
  struct Open {
    std::string path;
    std::int64_t begin_ns;
  };
  std::vector<Open> open;
  std::int64_t last_end = 0;
  const auto close_to = [&](std::size_t depth) {
    for (; open.size() > depth; open.pop_back())
      text += ",\n" +
              dumped(slice(open.back().path, "module", kModules, open.back().begin_ns, last_end));
  };
  for (const TraceEvent* e : ops) {
    std::vector<std::string> paths;  // from the outermost module to the op's own
    const std::string own = e->module ? *e->module : "";
    for (std::size_t dot = own.find('.'); dot != std::string::npos; dot = own.find('.', dot + 1))
      paths.push_back(own.substr(0, dot));
    if (!own.empty()) paths.push_back(own);
    std::size_t same = 0;
    while (same < std::min(paths.size(), open.size()) && paths[same] == open[same].path) ++same;
    close_to(same);
    for (std::size_t i = same; i < paths.size(); ++i) open.push_back({paths[i], e->begin_ns});
    last_end = e->end_ns;
  }
  close_to(0);
  return text;
}

std::string Profile::trace() const {
  constexpr const char* passes[] = {"forward", "backward", "update", "walk"};
  std::string text = "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n";
  text += named_thread(kOps, "ops") + ",\n" + named_thread(kModules, "modules");
  for (const TraceEvent& e : events_) {
    nlohmann::ordered_json event =
        slice(e.name, passes[static_cast<int>(e.pass)], kOps, e.begin_ns, e.end_ns);
    nlohmann::ordered_json args;
    if (e.sizes) args["shape"] = *e.sizes;
    if (e.pass != OpEvent::Pass::walk) {
      args["flops"] = e.flops;
      args["bytes"] = e.bytes;
    }
    if (e.module) args["module"] = *e.module;
    if (!args.empty()) event["args"] = std::move(args);
    text += ",\n" + dumped(event);
  }
  text += module_events() + "\n]";
  if (left_out_ > 0) text += fmt::format(",\"otherData\":{{\"events_left_out\":{}}}", left_out_);
  return text + "}\n";
}

void Profile::write_trace(const std::filesystem::path& path) const {
  write_file_atomically(path, trace());
}

}  // namespace fovea::nn::inspect
