#include "report.h"

#include <fovea/core/autograd.h>
#include <fovea/examples/support/training.h>
#include <fovea/nn/data/utf8.h>
#include <fovea/nn/inspect/probe.h>
#include <fovea/nn/inspect/report.h>

#include <algorithm>

#include <fmt/format.h>

namespace inspect = fovea::nn::inspect;

namespace {

constexpr std::int64_t most_tokens = 128;  // a page of 128 x 128 x layers x heads is large enough

// As a label: blanks and ends of lines visible, a byte that is no character by its number.
std::string label_of(const std::string& bytes) {
  if (bytes.empty()) return "(start)";
  std::string label;
  for (std::string_view rest = bytes; !rest.empty();) {
    const auto point = fovea::nn::data::first_code_point(rest);
    if (!point.valid || (point.value < 32 && point.value != '\n')) {
      label += fmt::format("[{:02X}]", static_cast<unsigned char>(rest[0]));
    } else if (point.value == '\n') {
      label += "\u21B5";
    } else if (point.value == ' ') {
      label += "\u00B7";
    } else {
      label += rest.substr(0, point.size);
    }
    rest.remove_prefix(point.size);
  }
  return label;
}

}  // namespace

void write_looks(const Speaker& speaker, const Speech& speech, const std::filesystem::path& path) {
  const fovea::NoGrad guard;
  const auto T =
      std::min({std::ssize(speech.tokens), most_tokens, speaker.model->options().max_len});
  const Ids tokens(speech.tokens.begin(), speech.tokens.begin() + T);
  inspect::AttentionProbe probe(*speaker.model, "**", {.matrix = true});
  (*speaker.model)(fovea::from_data(tokens, {1, T}));

  inspect::TokenSequence sequence{.name = "text"};
  for (const std::int64_t token : tokens)
    sequence.tokens.push_back(label_of(speaker.bytes_of(token)));
  inspect::Report report{
      .title = fmt::format("generate: {}", speaker.name),
      .description = "Where each token looked while the text was read.",
      .facts = {{"parameters", fmt::format("{}", speaker.model->parameter_count())},
                {"tokens shown", fmt::format("{} of {}", T, speech.tokens.size())}}};
  inspect::ReportSentence& sentence = report.sentences.emplace_back();
  sentence.title = speech.text.substr(0, speech.text.find('\n'));
  sentence.sequences = {sequence};
  sentence.maps = inspect::attention_maps(probe, {.mechanism = "multihead"});
  inspect::write_report(path, report);
  support::say_written(path, "where it looked");
}
