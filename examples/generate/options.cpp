#include "options.h"

#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/output.h>

#include "llama.h"
#include <fmt/format.h>

namespace {

using support::Group;
using support::Rule;
namespace ranges = support::ranges;

void add_model_options(support::CommandLine& line, Options& o) {
  Group group(line, "Model");
  group.file("--data", o.data, "DIR",
             "folder with stories260K.safetensors and tok512.bin, or\n"
             "with a folder `checkpoints` that has them");
  group.file("--text", o.text, "FILE", "learn this text, character by character");
  group.file("--load", o.load, "FILE", "a model that --save wrote");
  group.file("--save", o.save, "FILE",
             "where the trained model goes; all that going on needs is in\n"
             "FILE.last, also after Ctrl-C. What an earlier training left there\n"
             "becomes *.old, *.old.2, ...");
  group.flag("--check", o.check,
             "compare with stories260K.reference.txt: logits to 1e-4, 64\n"
             "greedy tokens exactly; exit code 1 if they differ");
}

void add_training_options(support::CommandLine& line, Options& o) {
  Group group(line, "Training");
  group.number("--steps", o.steps, ranges::count, "N", "batches to learn from");
  group.number("--max-seconds", o.max_seconds, ranges::seconds, "S",
               "end training after so long [no limit]");
  group.number("--layers", o.layers, ranges::layers, "N", "of the model");
  group.number("--width", o.width, ranges::width, "N", "of the model");
  group.number("--heads", o.heads, ranges::heads, "N", "of each layer's attention");
  group.number("--context", o.context, ranges::length, "N", "characters in a row");
  group.number("--window", o.window, ranges::window, "N",
               "a character sees itself and the N - 1 before it; 0: all\n"
               "before it. With a window texts may get longer than the context");
  group.number("--batch", o.batch, ranges::batch, "N", "rows in a batch");
  group.number("--lr", o.lr, ranges::rate, "X", "learning rate at the start");
  group.number("--dropout", o.dropout, ranges::probability, "P", "probability");
  group.flag("--resume", o.resume, "go on from FILE.last");
  group.number("--save-every", o.save_every, ranges::seconds_or_none, "S",
               "seconds between two writings of FILE.last, at most");
  support::add_memory_options(group, o.memory);
}

void add_speech_options(support::CommandLine& line, Options& o) {
  Group group(line, "Generation");
  group.text("--prompt", o.prompt, "TEXT", "it goes on from here");
  group.number("--tokens", o.tokens, ranges::count_or_none, "N", "new tokens at most");
  group.number("--temperature", o.sampling.temperature, {0, 1000}, "X",
               "below 1 bolder, above 1 wilder; 0: always the likeliest token");
  group.number("--top-k", o.sampling.top_k, ranges::count_or_none, "N",
               "of the N likeliest tokens; 0: of all");
  group.number("--top-p", o.sampling.top_p, {1e-9, 1}, "X",
               "of the likeliest tokens that make up this probability");
  group.number("--seed", o.seed, ranges::seed, "N", "of everything random");
  group.flag("--endless", o.endless, "go on where a story ends");
  group.file("--json", o.json, "FILE", "the text and every figure");
  group.file("--report", o.report, "FILE",
             "attention weights of each token: an interactive HTML page");
  group.file("--profile", o.profile, "FILE",
             "where the time of some steps of training goes, or of a loaded model's\n"
             "tokens: a table, and a trace (JSON) for ui.perfetto.dev");
  group.flag("--smoke", o.smoke, "80 steps of training at most; fails unless it learned");
}

// The only list of options that have no effect together with others.
std::vector<Rule> rules_of(const Options& o) {
  const bool samples = o.sampling.temperature > 0;
  return {{o.load.empty(), "only without --load", "--data"},
          {o.trains(), "only without --load and --data, which train nothing",
           "--text --save --steps --max-seconds --layers --width --heads --context --window "
           "--batch --lr --dropout --resume --save-every --dry-run --memory-limit --smoke"},
          {!o.save.empty(), "only with --save", "--resume --save-every"},
          {!o.data.empty(), "only with --data", "--check --endless"},
          {!o.check, "only without --check, which compares and says nothing",
           "--prompt --tokens --temperature --top-k --top-p --seed --endless --json --report "
           "--profile"},
          {!o.memory.dry_run, "only without --dry-run, after which nothing is trained",
           "--prompt --tokens --temperature --top-k --top-p --json --report --save --resume "
           "--save-every --profile"},
          {!o.smoke, "only without --smoke, which sets them", "--steps"},
          {samples, "only with a --temperature above 0", "--top-k --top-p"},
          {samples || o.trains(), "only with a --temperature above 0", "--seed"}};
}

void check_values(const Options& o) {
  if (o.width % o.heads != 0 || o.width / o.heads % 2 != 0)
    throw CLI::ValidationError(
        fmt::format("--width {} must be an even multiple of --heads {}", o.width, o.heads));
}

}  // namespace

void declare_options(support::CommandLine& line, Options& o) {
  add_model_options(line, o);
  add_training_options(line, o);
  add_speech_options(line, o);
  line.rules = [&o] { return rules_of(o); };
  line.check_values = [&o] { check_values(o); };
}

Options parse_options(int argc, char** argv) {
  Options o;
  support::CommandLine line(
      "Says something, token by token: a decoder-only Transformer with a cache of keys and "
      "values.\n"
      "With no options it first learns sentences of a small grammar; some seconds.\n\n"
      "  generate --data DIR --prompt 'Once upon a time'\n"
      "  generate --text FILE --steps 5000 --save model.safetensors\n"
      "  generate --load model.safetensors --prompt 'ROMEO:' --temperature 0.8");
  declare_options(line, o);
  line.parse_or_exit(argc, argv);
  o.resume_command = support::resume_command(argc, argv);
  const std::filesystem::path last = o.save.empty() ? "" : o.last();
  support::NamedPaths outputs = support::outputs_of_training(o.save, last);
  outputs.insert(outputs.end(),
                 {{"--json", o.json}, {"--report", o.report}, {"--profile", o.profile}});
  support::NamedPaths inputs{{"--text", o.text}};
  for (const support::NamedPath& file : support::files_of_model(o.load)) inputs.push_back(file);
  for (const std::filesystem::path& path : llama_files(o.data)) inputs.push_back({"--data", path});
  if (!o.resume)
    for (const support::NamedPath& earlier : support::names_of_earlier(o.save, last))
      inputs.push_back(earlier);
  support::check_outputs(outputs, inputs);
  return o;
}
