#include "options.h"

#include <fovea/examples/support/command_line.h>
#include <fovea/examples/support/output.h>

#include <fmt/format.h>

namespace {

using support::above_zero;
using support::Group;

void add_model_options(Group& group, Options& o) {
  group.add("--data", o.data, "DIR",
            "folder with stories260K.safetensors and tok512.bin, or\n"
            "with a folder `checkpoints` that has them");
  group.add("--text", o.text, "FILE", "learn this text, character by character")
      ->excludes("--data");
  group.add("--load", o.load, "FILE", "a model that --save wrote")
      ->excludes("--data")
      ->excludes("--text");
  group.add("--save", o.save, "FILE", "where the trained model goes")
      ->excludes("--data")
      ->excludes("--load");
  group
      .flag("--check", o.check,
            "compare with stories260K.reference.txt: logits to 1e-4, 64\n"
            "greedy tokens exactly; exit code 1 if they differ")
      ->needs("--data");
}

void add_training_options(Group& group, Options& o) {
  group.add_with_default("--steps", o.steps, "N", "batches to learn from")->check(above_zero);
  group.add("--max-seconds", o.max_seconds, "S", "end training after so long [no limit]")
      ->check(above_zero);
  group.add_with_default("--layers", o.layers, "N", "of the model")->check(above_zero);
  group.add_with_default("--width", o.width, "N", "of the model")->check(above_zero);
  group.add_with_default("--heads", o.heads, "N", "of each layer's attention")->check(above_zero);
  group.add_with_default("--context", o.context, "N", "characters in a row")->check(above_zero);
  group
      .add_with_default("--window", o.window, "N",
                        "a character sees itself and the N - 1 before it; 0: all\n"
                        "before it. With a window texts may get longer than the context")
      ->check(CLI::NonNegativeNumber);
  group.add_with_default("--batch", o.batch, "N", "rows in a batch")->check(above_zero);
  group.add_with_default("--lr", o.lr, "X", "learning rate at the start")->check(above_zero);
  group.add_with_default("--dropout", o.dropout, "P", "probability")->check(CLI::Range(0.0, 0.9));
  support::add_memory_options(group, o.memory);
}

void add_speech_options(Group& group, Options& o) {
  group.add("--prompt", o.prompt, "TEXT", "it goes on from here");
  group.add_with_default("--tokens", o.tokens, "N", "new tokens at most")
      ->check(CLI::NonNegativeNumber);
  group
      .add_with_default("--temperature", o.sampling.temperature, "X",
                        "below 1 bolder, above 1 wilder; 0: always the likeliest token")
      ->check(CLI::NonNegativeNumber);
  group.add_with_default("--top-k", o.sampling.top_k, "N", "of the N likeliest tokens; 0: of all")
      ->check(CLI::NonNegativeNumber);
  group
      .add_with_default("--top-p", o.sampling.top_p, "X",
                        "of the likeliest tokens that make up this probability")
      ->check(CLI::Range(1e-9, 1.0));
  group.add_with_default("--seed", o.seed, "N", "of everything random");
  group.flag("--endless", o.endless, "go on where a story ends");
  group.add("--json", o.json, "FILE", "the text and every figure");
  group.add("--report", o.report, "FILE", "where each token looked, as an HTML page to explore");
  group.add("--profile", o.profile, "FILE",
            "where the time of some steps of training goes, or of a loaded model's\n"
            "tokens: a table, and a trace (JSON) for ui.perfetto.dev");
  group.flag("--smoke", o.smoke, "a few seconds of training; fails unless it learned")
      ->excludes("--data")
      ->excludes("--load");
}

}  // namespace

Options parse_options(int argc, char** argv) {
  Options o;
  CLI::App app{
      "Says something, token by token: a decoder-only Transformer with a cache of keys and "
      "values.\n"
      "With no options it first learns sentences of a small grammar; some seconds.\n\n"
      "  generate --data DIR --prompt 'Once upon a time'\n"
      "  generate --text FILE --steps 5000 --save model.safetensors\n"
      "  generate --load model.safetensors --prompt 'ROMEO:' --temperature 0.8"};
  Group model(app, "What speaks"), training(app, "Training"), speech(app, "What it says");
  add_model_options(model, o);
  add_training_options(training, o);
  add_speech_options(speech, o);
  support::parse(app, argc, argv, [&] {
    if (!o.trains()) support::refuse({&training}, "of training, and a trained model speaks");
    if (o.width % o.heads != 0 || o.width / o.heads % 2 != 0)
      throw CLI::ValidationError(
          fmt::format("--width {} must be an even multiple of --heads {}", o.width, o.heads));
  });
  support::check_outputs(
      {{"--save", o.save}, {"--json", o.json}, {"--report", o.report}, {"--profile", o.profile}},
      {{"--text", o.text}, {"--load", o.load}});
  return o;
}
