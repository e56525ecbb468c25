// Generates text token by token: a decoder-only Transformer, a key-value cache, sampling.
//
//   generate                           trains on sentences of a small grammar (characters), then
//                                      generates some: 82 % are correct after 10 s on one core of
//                                      an AMD EPYC
//   generate --data DIR --prompt 'Once upon a time'        a story with the weights of stories260K
//   generate --data DIR --check        compares logits and tokens with another implementation
//   generate --text FILE --steps 5000 --save model.safetensors
//   generate --load model.safetensors --prompt 'ROMEO:'
//   generate --smoke                   runs for seconds and checks the loss; run by ctest
//
// Read after translate. New here: a causal language model (nn/transformer_lm.h), its key-value
// cache (nn/attention/kv_cache.h), sampling (nn/sampling.h), weights of other projects (llama.cpp).
#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/threads.h>
#include <fovea/examples/support/forecast.h>
#include <fovea/examples/support/output.h>
#include <fovea/examples/support/profiling.h>
#include <fovea/examples/support/program.h>
#include <fovea/examples/support/training.h>
#include <fovea/nn/inspect/terminal.h>
#include <fovea/optim/interrupt.h>

#include <iostream>
#include <sstream>
#include <unistd.h>

#include "characters.h"
#include "grammar.h"
#include "llama.h"
#include "options.h"
#include "report.h"
#include <fmt/core.h>
#include <nlohmann/json.hpp>

namespace {

namespace inspect = fovea::nn::inspect;

// Counts complete lines only: the last one may be unfinished.
struct GrammarCheck {
  std::int64_t sentences = 0, right = 0;

  explicit GrammarCheck(const std::string& text) {
    std::istringstream in(text.substr(0, text.rfind('\n') + 1));
    for (std::string line; std::getline(in, line);) {
      ++sentences;
      right += is_sentence(line);
    }
  }
  double per_cent() const {
    return 100.0 * static_cast<double>(right) /
           static_cast<double>(std::max<std::int64_t>(1, sentences));
  }
};

void write_json(const Options& options, const LanguageModel& model, const Generation& generated,
                const TrainingResult& learned) {
  nlohmann::ordered_json json{{"model", model.name},
                              {"parameters", model.model->parameter_count()},
                              {"prompt", options.prompt},
                              {"text", generated.text},
                              {"tokens", generated.new_tokens},
                              {"token_ids", generated.tokens},
                              {"tokens_per_second", generated.tokens_per_second},
                              {"prompt_seconds", generated.prompt_seconds},
                              {"temperature", options.sampling.temperature},
                              {"top_k", options.sampling.top_k},
                              {"top_p", options.sampling.top_p},
                              {"seed", options.seed},
                              {"threads", fovea::num_threads()}};
  if (options.trains()) {
    json["loss"] = learned.loss;
    json["seconds"] = learned.seconds;
    json["steps"] = learned.steps;
    json["forecast_peak_bytes"] = learned.forecast_peak_bytes;
    json["peak_bytes"] = learned.peak_bytes;
    json["characters_per_second"] = learned.characters_per_second;
  }
  fovea::write_file_atomically(options.json, support::json_text(json));
}

// The grammar must accept the sentences that it generates, and must not accept everything.
void check_grammar() {
  fovea::Rng rng(1);
  for (int i = 0; i < 500; ++i)
    if (const std::string sentence = random_sentence(rng); !is_sentence(sentence))
      fovea::raise<fovea::Error>("smoke", "the grammar generates '{}', but does not accept it",
                                 sentence);
  for (const char* wrong : {"the cats sleeps.", "the cats that the dog see run.", "the cat runs",
                            "a cats run.", "the cat runs  here.", "the cat.", ""})
    if (is_sentence(wrong)) fovea::raise<fovea::Error>("smoke", "the grammar accepts '{}'", wrong);
}

Generation generate_and_print(const LanguageModel& model, const Options& options) {
  support::Profiling profiling(options.trains() ? "" : options.profile);
  const Generation generated = generate_text(
      model, options.prompt,
      {.sampling = options.sampling,
       .tokens = options.tokens,
       .seed = options.seed,
       .endless = options.endless,
       .after_token = [&] { profiling.step(); }},
      [](const std::string& text) {
        std::cout << inspect::terminal_text(text, STDOUT_FILENO) << std::flush;
        support::check_standard_output();  // stops when the reader has closed the pipe
      });
  std::cout << '\n';
  std::cerr << fmt::format("{} tokens, {:.0f} tokens/s\n", generated.new_tokens,
                           generated.tokens_per_second);
  profiling.finish();
  return generated;
}

// Prints how many generated sentences follow the grammar of the training text.
void report_grammar(const LanguageModel& model, const fovea::nn::SamplingOptions& sampling) {
  const Generation generated = generate_text(
      model, "", {.sampling = sampling, .tokens = 4000, .seed = 99}, [](const std::string&) {});
  const GrammarCheck check(generated.text);
  std::cerr << fmt::format("{} of {} sentences follow the grammar: {:.0f} %\n", check.right,
                           check.sentences, check.per_cent());
}

// False for --dry-run. Error if the training does not fit into memory.
bool may_train(const inspect::CostLedger& cost, const Options& options, const std::string& text) {
  return support::may_train(cost, options.memory, [&](std::int64_t limit) {
    std::vector<support::Choice> choices;
    const auto halve = [&](const char* name, std::int64_t Options::*option) {
      const auto peak_of = [&](std::int64_t value) {
        Options less = options;
        less.*option = value;
        return forecast(less, text).peak_bytes();
      };
      for (auto& choice : support::halved(name, options.*option, limit, peak_of))
        choices.push_back(std::move(choice));
    };
    halve("--batch", &Options::batch);
    halve("--context", &Options::context);
    halve("--layers", &Options::layers);
    return choices;
  });
}

LanguageModel make_model(const Options& options, const std::string& text, TrainingResult& learned) {
  if (!options.data.empty()) return load_llama(options.data);
  if (!options.load.empty()) return load_model(options.load);
  LanguageModel model = new_model(options, text);
  std::cerr << fmt::format("{} characters of text, {} parameters\n", text.size(),
                           model.model->parameter_count());
  const fovea::optim::InterruptGuard guard;  // until the model is saved
  const fovea::optim::TrainingLock lock =
      support::begin_training(options.save, options.last(), options.resume);
  learned = train_model(model, options, text, &lock);
  std::cerr << fmt::format("validation loss {:.3f} after {} steps in {:.1f} s\n", learned.loss,
                           learned.steps, learned.seconds);
  if (!options.save.empty()) {
    save_model(model, options.save, learned.metadata);
    support::print_written(options.save, "the model, for --load");
  }
  if (learned.signal == 0)
    learned.signal = fovea::optim::interrupt_signal();  // a signal after the training
  return model;
}

int run(Options options) {
  if (options.smoke) {
    check_grammar();
    options.steps = std::min<std::int64_t>(options.steps, 80);
  }
  // Steps of one token are too small for more than one thread.
  fovea::set_num_threads(1);
  const std::string text = options.trains() ? training_text(options) : "";
  inspect::CostLedger cost;
  if (options.trains()) {
    cost = support::timed([&] { return forecast(options, text); });
    if (!may_train(cost, options, text)) return 0;
  }
  TrainingResult learned;
  const LanguageModel model = make_model(options, text, learned);
  learned.forecast_peak_bytes = cost.peak_bytes();
  if (options.check) {
    std::cout << check_llama(model, options.data) << '\n';
    return 0;
  }
  if (learned.signal != 0) {
    support::print_resume_command(learned.steps, options.save.empty() ? "" : options.last(),
                                  options.resume_command);
    return support::interrupted_exit_code(learned.signal);
  }
  // Uniform guessing among the 25 characters of the alphabet has a loss of 3.2.
  if (options.smoke && !(learned.loss < 1.2))
    fovea::raise<fovea::Error>("smoke", "loss = {:.3f}: must be below 1.2", learned.loss);
  const Generation generated = generate_and_print(model, options);
  if (options.trains() && options.text.empty()) report_grammar(model, options.sampling);
  if (!options.json.empty()) write_json(options, model, generated, learned);
  if (!options.report.empty()) write_attention(model, generated, options.report);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("generate", [&] { return run(parse_options(argc, argv)); });
}
