// Says something, token by token: a decoder-only Transformer, a cache of keys and values, sampling.
//
//   generate                           learns a small grammar by characters, then makes sentences:
//                                      82 % of them right after 10 s on one core of an AMD EPYC
//   generate --data DIR --prompt 'Once upon a time'        stories260K's weights tell a story
//   generate --data DIR --check        the same logits and tokens as another program's
//   generate --text FILE --steps 5000 --save model.safetensors
//   generate --load model.safetensors --prompt 'ROMEO:'
//   generate --smoke                   seconds, asserts that it learned; run by ctest
//
// Read after translate. New here: a causal model of one text (nn/transformer_lm.h), its cache
// (nn/attention/kv_cache.h), sampling (nn/sampling.h), other people's weights (llama.cpp).
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

// Whole lines alone: the last one may be unfinished.
struct Judged {
  std::int64_t sentences = 0, right = 0;

  explicit Judged(const std::string& text) {
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

void write_json(const Options& options, const Speaker& speaker, const Speech& speech,
                const Learned& learned) {
  nlohmann::ordered_json json{{"model", speaker.name},
                              {"parameters", speaker.model->parameter_count()},
                              {"prompt", options.prompt},
                              {"text", speech.text},
                              {"tokens", speech.new_tokens},
                              {"token_ids", speech.tokens},
                              {"tokens_per_second", speech.tokens_per_second},
                              {"prompt_seconds", speech.prompt_seconds},
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

// The grammar must make what it takes for sentences, and must not take everything.
void check_grammar() {
  fovea::Rng rng(1);
  for (int i = 0; i < 500; ++i)
    if (const std::string sentence = made_up_sentence(rng); !is_sentence(sentence))
      fovea::raise<fovea::Error>("smoke", "made up '{}', and does not take it", sentence);
  for (const char* wrong : {"the cats sleeps.", "the cats that the dog see run.", "the cat runs",
                            "a cats run.", "the cat runs  here.", "the cat.", ""})
    if (is_sentence(wrong)) fovea::raise<fovea::Error>("smoke", "takes '{}'", wrong);
}

Speech speak(const Speaker& speaker, const Options& options) {
  support::Profiling profiling(options.trains() ? "" : options.profile);
  const Speech speech = say(speaker, options.prompt,
                            {.sampling = options.sampling,
                             .tokens = options.tokens,
                             .seed = options.seed,
                             .endless = options.endless,
                             .after_token = [&] { profiling.step(); }},
                            [](const std::string& text) {
                              std::cout << inspect::terminal_text(text, STDOUT_FILENO)
                                        << std::flush;
                              support::check_standard_output();  // ends if the reader is gone
                            });
  std::cout << '\n';
  std::cerr << fmt::format("{} tokens, {:.0f} tokens/s\n", speech.new_tokens,
                           speech.tokens_per_second);
  profiling.finish();
  return speech;
}

// How much of what it says follows the grammar that it was taught.
void judge(const Speaker& speaker, const fovea::nn::SamplingOptions& sampling) {
  const Speech speech = say(speaker, "", {.sampling = sampling, .tokens = 4000, .seed = 99},
                            [](const std::string&) {});
  const Judged judged(speech.text);
  std::cerr << fmt::format("{} of {} sentences follow the grammar: {:.0f} %\n", judged.right,
                           judged.sentences, judged.per_cent());
}

// Whether it fits into memory, and is not only to be told what it would take.
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

Speaker make_speaker(const Options& options, const std::string& text, Learned& learned) {
  if (!options.data.empty()) return load_llama(options.data);
  if (!options.load.empty()) return load_speaker(options.load);
  Speaker speaker = new_speaker(options, text);
  std::cerr << fmt::format("{} characters of text, {} parameters\n", text.size(),
                           speaker.model->parameter_count());
  const fovea::optim::InterruptGuard guard;  // until it is saved
  const fovea::optim::TrainingLock lock =
      support::begin_training(options.save, options.last(), options.resume);
  learned = teach(speaker, options, text, &lock);
  std::cerr << fmt::format("validation loss {:.3f} after {} steps in {:.1f} s\n", learned.loss,
                           learned.steps, learned.seconds);
  if (!options.save.empty()) {
    save_speaker(speaker, options.save, learned.metadata);
    support::say_written(options.save, "the model, for --load");
  }
  if (learned.signal == 0) learned.signal = fovea::optim::interrupt_signal();  // it came late
  return speaker;
}

int run(Options options) {
  if (options.smoke) {
    check_grammar();
    options.steps = std::min<std::int64_t>(options.steps, 80);
  }
  // So little work for one token that a second thread costs more than it brings.
  fovea::set_num_threads(1);
  const std::string text = options.trains() ? training_text(options) : "";
  inspect::CostLedger cost;
  if (options.trains()) {
    cost = support::timed([&] { return forecast(options, text); });
    if (!may_train(cost, options, text)) return 0;
  }
  Learned learned;
  const Speaker speaker = make_speaker(options, text, learned);
  learned.forecast_peak_bytes = cost.peak_bytes();
  if (options.check) {
    std::cout << check_llama(speaker, options.data) << '\n';
    return 0;
  }
  if (learned.signal != 0) {
    support::say_how_to_go_on(learned.steps, options.save.empty() ? "" : options.last(),
                              options.resume_command);
    return support::interrupted_exit_code(learned.signal);
  }
  // A guess among the alphabet's 25 letters and signs costs 3.2.
  if (options.smoke && !(learned.loss < 1.2))
    fovea::raise<fovea::Error>("smoke", "a loss of {:.3f}: it did not learn", learned.loss);
  const Speech speech = speak(speaker, options);
  if (options.trains() && options.text.empty()) judge(speaker, options.sampling);
  if (!options.json.empty()) write_json(options, speaker, speech, learned);
  if (!options.report.empty()) write_looks(speaker, speech, options.report);
  return 0;
}

}  // namespace

int main(int argc, char** argv) {
  return support::run_program("generate", [&] { return run(parse_options(argc, argv)); });
}
