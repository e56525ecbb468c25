#include "language_model.h"

#include <fovea/nn/data/utf8_writer.h>

#include <chrono>

namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

Generation generate_text(const LanguageModel& model, const std::string& prompt,
                         const GenerationOptions& options,
                         const std::function<void(const std::string&)>& out) {
  Generation generated;
  generated.tokens = model.encode(prompt);
  fovea::nn::data::Utf8Writer writer([&](const std::string& text) {
    generated.text += text;
    out(text);
  });
  writer.write(prompt);
  bool at_beginning = prompt.empty();
  fovea::Rng rng(options.seed);
  const Clock::time_point begin = Clock::now();
  Clock::time_point first = begin, last = begin;
  const Ids said = fovea::nn::generate(*model.model, generated.tokens,
                                       {.sampling = options.sampling,
                                        .max_tokens = options.tokens,
                                        .stop = options.endless ? Ids{} : model.stop},
                                       rng, [&](std::int64_t token) {
                                         last = Clock::now();
                                         if (generated.new_tokens++ == 0) first = last;
                                         std::string bytes = model.bytes_of(token);
                                         if (at_beginning && bytes.starts_with(' '))
                                           bytes.erase(0, 1);
                                         at_beginning = false;
                                         writer.write(bytes);
                                         if (options.after_token) options.after_token();
                                         return true;
                                       });
  writer.finish();
  generated.tokens.insert(generated.tokens.end(), said.begin(), said.end());
  generated.prompt_seconds = seconds_between(begin, first);
  const double seconds = seconds_between(first, last);
  if (seconds > 0)
    generated.tokens_per_second = static_cast<double>(generated.new_tokens - 1) / seconds;
  return generated;
}
