// Reports: one interactive HTML page that shows the attention weights of a model.
//
// The page is self-contained, loads nothing, and works offline from a file. Weights are stored in 8
// bits each, with a scale per row: the error is at most 0.2 % (1/510) of the largest weight of the
// row, and a weight takes 1.33 bytes of the file. Zeros at the end of a row (masked by causal
// masks) take no space.
//
//   Report report{.title = "translate: German to English"};
//   ReportSentence& s = report.sentences.emplace_back();
//   s.title = "ein mann schläft .";
//   s.sequences = {{"source", {"ein", "mann", "schläft", "."}},
//                  {"target", {"a", "man", "sleeps", "."}}};
//   s.maps = {{.layer = "decoder.attention", .mechanism = "additive", .kind =
//              AttentionKind::cross, .queries = "target", .keys = "source", .weights = ...}};
//   write_report("report.html", report);
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

namespace fovea::nn::inspect {

class AttentionProbe;

enum class AttentionKind : std::uint8_t {
  self,   ///< a sequence attends to itself
  cross,  ///< one sequence attends to another
};

/// Tokens under a name that the maps use: "source", "target".
struct TokenSequence {
  std::string name = {};
  std::vector<std::string> tokens = {};
};

/// The weights of one layer.
struct AttentionMap {
  std::string layer = {};      ///< "decoder.layers.0.multihead_attn"
  std::string mechanism = {};  ///< "multihead"; the page has a menu if there are several
  AttentionKind kind = AttentionKind::self;
  std::string queries = {};  ///< name of the sequence of the T queries
  std::string keys = {};     ///< name of the sequence of the S keys
  std::int64_t heads = 1;
  std::vector<float> weights = {};  ///< (heads, T, S), each 0 .. 1
};

/// The contribution of each token to a decision. Signed (for and against) or not; shown relative to
/// the largest magnitude.
struct TokenEvidence {
  std::string sequence = {};        ///< the name of its sequence
  std::string label = {};           ///< the meaning of a weight: "share of the pooled vector"
  std::vector<float> weights = {};  ///< one per token; empty: no evidence is shown
  std::string positive = {};        ///< the class favored by weights above 0; may be empty
  std::string negative = {};        ///< the class favored by weights below 0
};

struct ReportSentence {
  std::string title = {};       ///< the entry in the list of sentences
  std::string prediction = {};  ///< the output of the model, one line; may be empty
  std::vector<TokenSequence> sequences = {};
  std::vector<AttentionMap> maps = {};
  TokenEvidence evidence = {};
};

struct Report {
  std::string title = {};
  std::string description = {};  ///< one or two sentences below the title
  std::vector<std::pair<std::string, std::string>> facts = {};  ///< {"parameters", "1,234"}, ...
  std::vector<ReportSentence> sentences = {};
};

/// The page. ValueError: no sentences; a map or evidence that names a missing sequence; a weight
/// that is NaN or outside 0 .. 1; a sequence of more than 65,535 tokens. ShapeError: a number of
/// weights that does not fit the tokens.
std::string report_page(const Report& report);

/// Writes the page atomically. Errors as report_page(), and Error if the file cannot be written.
void write_report(const std::filesystem::path& path, const Report& report);

/// The fields of a map that a probe does not record.
struct ProbedMaps {
  std::int64_t batch_row = 0;
  std::string mechanism = {};
  AttentionKind kind = AttentionKind::self;
  std::string queries = "text", keys = "text";
};

/// One map for each layer that `probe` watches and that was called; the probe must record .matrix.
/// Several calls of a layer, such as the steps of a decoder, are concatenated along the queries;
/// keys that an earlier call did not have yet get weight 0. StateError if the matrix was not
/// recorded; IndexError for a batch row out of range.
std::vector<AttentionMap> attention_maps(const AttentionProbe& probe, const ProbedMaps& maps);

}  // namespace fovea::nn::inspect
