#include "speaker.h"

#include <fovea/nn/data/utf8_writer.h>

#include <chrono>

namespace {

using Clock = std::chrono::steady_clock;

double seconds_between(Clock::time_point begin, Clock::time_point end) {
  return std::chrono::duration<double>(end - begin).count();
}

}  // namespace

Speech say(const Speaker& speaker, const std::string& prompt, const SpeechOptions& options,
           const std::function<void(const std::string&)>& out) {
  Speech speech;
  speech.tokens = speaker.encode(prompt);
  fovea::nn::data::Utf8Writer writer([&](const std::string& text) {
    speech.text += text;
    out(text);
  });
  writer.write(prompt);
  bool at_beginning = prompt.empty();
  fovea::Rng rng(options.seed);
  const Clock::time_point begin = Clock::now();
  Clock::time_point first = begin, last = begin;
  const Ids said = fovea::nn::generate(*speaker.model, speech.tokens,
                                       {.sampling = options.sampling,
                                        .max_tokens = options.tokens,
                                        .stop = options.endless ? Ids{} : speaker.stop},
                                       rng, [&](std::int64_t token) {
                                         last = Clock::now();
                                         if (speech.new_tokens++ == 0) first = last;
                                         std::string bytes = speaker.bytes_of(token);
                                         if (at_beginning && bytes.starts_with(' '))
                                           bytes.erase(0, 1);
                                         at_beginning = false;
                                         writer.write(bytes);
                                         if (options.after_token) options.after_token();
                                         return true;
                                       });
  writer.finish();
  speech.tokens.insert(speech.tokens.end(), said.begin(), said.end());
  speech.prompt_seconds = seconds_between(begin, first);
  const double seconds = seconds_between(first, last);
  if (seconds > 0) speech.tokens_per_second = static_cast<double>(speech.new_tokens - 1) / seconds;
  return speech;
}
