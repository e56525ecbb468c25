#include "options.h"

#include <fovea/examples/support/command_line.h>

#include <algorithm>

namespace {

using support::Group;
using support::Rule;
namespace ranges = support::ranges;

constexpr support::Range<std::int64_t> lengths{2, 1 << 24};

std::vector<std::string> all_kinds() {
  std::vector<std::string> names;
  for (const Kind& kind : kinds()) names.push_back(kind.name);
  return names;
}

std::vector<Rule> rules_of(const Options& o) {
  const auto chosen = [&](const auto& wanted) {
    return std::ranges::any_of(kinds(), [&](const Kind& kind) {
      return wanted(kind) && std::ranges::find(o.kinds, kind.name) != o.kinds.end();
    });
  };
  return {{!o.smoke, "only without --smoke, which sets these options",
           "--min-length --max-length --window --budget"},
          {chosen([](const Kind& kind) { return kind.attends; }), "only with --kinds of attention",
           "--heads"},
          {chosen([](const Kind& kind) { return kind.name == "window"; }),
           "only with --kinds window", "--window"}};
}

}  // namespace

void declare_options(support::CommandLine& line, Options& o) {
  o.kinds = all_kinds();
  o.modes = {"forward", "training", "decoding"};
  Group group(line, "Options");
  group.choices(
      "--kinds", o.kinds, o.kinds, "NAMES",
      fmt::format("kinds of layers, separated by commas [all: {}]", fmt::join(o.kinds, ",")));
  group.choices("--modes", o.modes, o.modes, "NAMES",
                fmt::format("modes, separated by commas [all: {}]", fmt::join(o.modes, ",")));
  group.number("--min-length", o.min_length, lengths, "N",
               "first length T; each following length is twice as long");
  group.number("--max-length", o.max_length, lengths, "N", "last length T");
  group.number("--batch", o.batch, ranges::batch, "N", "batch size B");
  group.number("--width", o.sizes.width, ranges::width, "N", "width C");
  group.number("--heads", o.sizes.heads, ranges::heads, "N", "attention heads");
  group.number("--window", o.sizes.window, lengths, "N",
               "keys visible to a query of windowed attention");
  group.number("--budget", o.budget, ranges::seconds, "S", "time limit for all points");
  group.file("--csv", o.csv, "FILE", "write every point as CSV");
  group.file("--svg", o.svg, "FILE", "write charts of time and memory as SVG");
  group.flag("--markdown", o.markdown, "print tables as Markdown");
  group.flag("--pin", o.pin, "pin each thread to a processor");
  group.flag("--smoke", o.smoke, "short lengths; exit with 1 if a result is missing or wrong");
  line.rules = [&o] { return rules_of(o); };
  line.check_values = [&o] {
    if (o.max_length < o.min_length)
      throw CLI::ValidationError("--max-length: must be at least --min-length");
  };
}

Options parse_options(int argc, char** argv) {
  Options o;
  support::CommandLine line(
      "Measures time and memory of recurrent nets and attention by sequence length.");
  declare_options(line, o);
  line.parse_or_exit(argc, argv);
  if (o.smoke) o.min_length = 16, o.max_length = 64, o.sizes.window = 16, o.budget = 60;
  return o;
}
