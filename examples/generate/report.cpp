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

constexpr std::int64_t most_tokens = 128;  // limits the size of the page

// A label with visible spaces and newlines, and invalid bytes in hexadecimal.
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

void write_attention(const LanguageModel& model, const Generation& generated,
                     const std::filesystem::path& path) {
  const fovea::NoGrad guard;
  const auto T =
      std::min({std::ssize(generated.tokens), most_tokens, model.model->options().max_len});
  const Ids tokens(generated.tokens.begin(), generated.tokens.begin() + T);
  inspect::AttentionProbe probe(*model.model, "**", {.matrix = true});
  (*model.model)(fovea::from_data(tokens, {1, T}));

  inspect::TokenSequence sequence{.name = "text"};
  for (const std::int64_t token : tokens)
    sequence.tokens.push_back(label_of(model.bytes_of(token)));
  inspect::Report report{
      .title = fmt::format("generate: {}", model.name),
      .description = "Attention weights of each token of the text.",
      .facts = {{"parameters", fmt::format("{}", model.model->parameter_count())},
                {"tokens shown", fmt::format("{} of {}", T, generated.tokens.size())}}};
  inspect::ReportSentence& sentence = report.sentences.emplace_back();
  sentence.title = generated.text.substr(0, generated.text.find('\n'));
  sentence.sequences = {sequence};
  sentence.maps = inspect::attention_maps(probe, {.mechanism = "multihead"});
  inspect::write_report(path, report);
  support::print_written(path, "attention weights");
}
