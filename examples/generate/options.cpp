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
             "directory with stories260K.safetensors and tok512.bin, or\n"
             "with a subdirectory `checkpoints` that contains them");
  group.file("--text", o.text, "FILE", "train a character model on this text");
  group.file("--load", o.load, "FILE", "load a model written by --save");
  group.file("--save", o.save, "FILE",
             "write the trained model to FILE, and the checkpoint for --resume\n"
             "to FILE.last, also after Ctrl-C. Existing files are renamed to\n"
             "*.old, *.old.2, ...");
  group.flag("--check", o.check,
             "compare with stories260K.reference.txt: logits within 1e-4, 64\n"
             "greedy tokens exactly; exit code 1 if they differ");
}

void add_training_options(support::CommandLine& line, Options& o) {
  Group group(line, "Training");
  group.number("--steps", o.steps, ranges::count, "N", "number of training steps");
  group.number("--max-seconds", o.max_seconds, ranges::seconds, "S",
               "stop training after S seconds [no limit]");
  group.number("--layers", o.layers, ranges::layers, "N", "number of layers");
  group.number("--width", o.width, ranges::width, "N", "model width");
  group.number("--heads", o.heads, ranges::heads, "N", "attention heads per layer");
  group.number("--context", o.context, ranges::length, "N", "context length in characters");
  group.number("--window", o.window, ranges::window, "N",
               "sliding-window attention: each character attends to itself and the\n"
               "N - 1 before it; 0: to all before it. With a window, generated texts\n"
               "can be longer than the context");
  group.number("--batch", o.batch, ranges::batch, "N", "sequences per batch");
  group.number("--lr", o.lr, ranges::rate, "X", "peak learning rate");
  group.number("--dropout", o.dropout, ranges::probability, "P", "dropout probability");
  group.flag("--resume", o.resume, "continue from FILE.last");
  group.number("--save-every", o.save_every, ranges::seconds_or_none, "S",
               "maximum seconds between two writes of FILE.last");
  support::add_memory_options(group, o.memory);
}

void add_speech_options(support::CommandLine& line, Options& o) {
  Group group(line, "Generation");
  group.text("--prompt", o.prompt, "TEXT", "text to continue");
  group.number("--tokens", o.tokens, ranges::count_or_none, "N", "maximum number of new tokens");
  group.number("--temperature", o.sampling.temperature, {0, 1000}, "X",
               "sampling temperature; 0: always the most likely token");
  group.number("--top-k", o.sampling.top_k, ranges::count_or_none, "N",
               "sample from the N most likely tokens; 0: from all");
  group.number("--top-p", o.sampling.top_p, {1e-9, 1}, "X",
               "sample from the most likely tokens with total probability X");
  group.number("--seed", o.seed, ranges::seed, "N", "random seed");
  group.flag("--endless", o.endless, "continue after the end of a story");
  group.file("--json", o.json, "FILE", "write the text and all metrics as JSON");
  group.file("--report", o.report, "FILE",
             "write the attention weights of each token as an interactive\n"
             "HTML page");
  group.file("--profile", o.profile, "FILE",
             "profile some training steps, or some tokens of a loaded model:\n"
             "print a table, and write a trace (JSON) for ui.perfetto.dev");
  group.flag("--smoke", o.smoke, "at most 80 training steps; fails if the loss is too high");
}

// All rules about options that have no effect in combination with others.
std::vector<Rule> rules_of(const Options& o) {
  const bool samples = o.sampling.temperature > 0;
  return {{o.load.empty(), "only without --load", "--data"},
          {o.trains(), "only without --load and --data, which do not train",
           "--text --save --steps --max-seconds --layers --width --heads --context --window "
           "--batch --lr --dropout --resume --save-every --dry-run --memory-limit --smoke"},
          {!o.save.empty(), "only with --save", "--resume --save-every"},
          {!o.data.empty(), "only with --data", "--check --endless"},
          {!o.check, "only without --check, which generates no text",
           "--prompt --tokens --temperature --top-k --top-p --seed --endless --json --report "
           "--profile"},
          {!o.memory.dry_run, "only without --dry-run, which does not train",
           "--prompt --tokens --temperature --top-k --top-p --json --report --save --resume "
           "--save-every --profile"},
          {!o.smoke, "only without --smoke, which sets the number of steps", "--steps"},
          {samples, "only with a --temperature above 0", "--top-k --top-p"},
          {samples || o.trains(), "only with a --temperature above 0", "--seed"}};
}

void check_values(const Options& o) {
  if (o.width % o.heads != 0 || o.width / o.heads % 2 != 0)
    throw CLI::ValidationError(
        fmt::format("--width {}: must be an even multiple of --heads {}", o.width, o.heads));
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
      "Generates text token by token with a decoder-only Transformer and a key-value cache.\n"
      "Without options, it first trains a model on sentences of a small grammar (some seconds).\n\n"
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
