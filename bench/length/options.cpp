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
  return {{!o.smoke, "only without --smoke, which sets them",
           "--min-length --max-length --window --budget"},
          {chosen([](const Kind& kind) { return kind.attends; }), "only with --kinds that attend",
           "--heads"},
          {chosen([](const Kind& kind) { return kind.name == "window"; }),
           "only with --kinds window", "--window"}};
}

}  // namespace

void declare_options(support::CommandLine& line, Options& o) {
  o.kinds = all_kinds();
  o.modes = {"forward", "training", "decoding"};
  Group group(line, "Options");
  group.choices("--kinds", o.kinds, o.kinds, "NAMES",
                fmt::format("separated by commas [all: {}]", fmt::join(o.kinds, ",")));
  group.choices("--modes", o.modes, o.modes, "NAMES",
                fmt::format("separated by commas [all: {}]", fmt::join(o.modes, ",")));
  group.number("--min-length", o.min_length, lengths, "N",
               "the first T; each next one is twice as long");
  group.number("--max-length", o.max_length, lengths, "N", "the last T");
  group.number("--batch", o.batch, ranges::batch, "N", "B, sequences");
  group.number("--width", o.sizes.width, ranges::width, "N", "C");
  group.number("--heads", o.sizes.heads, ranges::heads, "N", "of attention");
  group.number("--window", o.sizes.window, lengths, "N", "keys that windowed attention sees");
  group.number("--budget", o.budget, ranges::seconds, "S", "seconds for all points");
  group.file("--csv", o.csv, "FILE", "writes every point");
  group.file("--svg", o.svg, "FILE", "draws time and memory");
  group.flag("--markdown", o.markdown, "tables as Markdown");
  group.flag("--pin", o.pin, "ties each thread to a processor, where nothing else runs");
  group.flag("--smoke", o.smoke, "short lengths; the exit code says whether all came out");
  line.rules = [&o] { return rules_of(o); };
  line.check_values = [&o] {
    if (o.max_length < o.min_length)
      throw CLI::ValidationError("--max-length: must not be below --min-length");
  };
}

Options parse_options(int argc, char** argv) {
  Options o;
  support::CommandLine line(
      "Measures time and memory of recurrent nets and attention, and how they grow.");
  declare_options(line, o);
  line.parse_or_exit(argc, argv);
  if (o.smoke) o.min_length = 16, o.max_length = 64, o.sizes.window = 16, o.budget = 60;
  return o;
}
