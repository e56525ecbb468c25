// Reports: one HTML page on which people explore what a model attended to.
//
// The page holds everything it needs, fetches nothing, and works offline from a file. Weights are
// kept in 8 bits each, with a scale per row: they are off by at most 0.2 % (1/510) of the row's
// largest, and a weight takes 1.33 bytes of the file. Zeros at a row's end (what causal masks
// drop) take none.
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
  self,   ///< a sequence looks at itself
  cross,  ///< one sequence looks at another
};

/// Tokens under a name that the maps use: "source", "target".
struct TokenSequence {
  std::string name = {};
  std::vector<std::string> tokens = {};
};

/// Where one layer looked.
struct AttentionMap {
  std::string layer = {};      ///< "decoder.layers.0.multihead_attn"
  std::string mechanism = {};  ///< "multihead"; the page lets choose if there are several
  AttentionKind kind = AttentionKind::self;
  std::string queries = {};  ///< name of the sequence that looks, of T tokens
  std::string keys = {};     ///< name of the sequence that is looked at, of S tokens
  std::int64_t heads = 1;
  std::vector<float> weights = {};  ///< (heads, T, S), each 0 .. 1
};

/// What each token did for a decision. Signed (for and against) or not; shown relative to the
/// largest magnitude.
struct TokenEvidence {
  std::string sequence = {};        ///< the name of its sequence
  std::string label = {};           ///< what a weight means: "share of the pooled vector"
  std::vector<float> weights = {};  ///< one a token; none: no evidence is shown
  std::string positive = {};        ///< what weights above 0 speak for, as "positive"; may be empty
  std::string negative = {};        ///< and those below
};

struct ReportSentence {
  std::string title = {};       ///< for the list to choose from
  std::string prediction = {};  ///< what the model made of it, one line; may be empty
  std::vector<TokenSequence> sequences = {};
  std::vector<AttentionMap> maps = {};
  TokenEvidence evidence = {};
};

struct Report {
  std::string title = {};
  std::string description = {};  ///< a sentence or two below the title
  std::vector<std::pair<std::string, std::string>> facts = {};  ///< {"parameters", "1,234"}, ...
  std::vector<ReportSentence> sentences = {};
};

/// The page. ValueError: no sentences; a map or evidence of a sequence that is not there; a weight
/// that is no number or outside 0 .. 1; a sequence of more than 65,535 tokens. ShapeError: a count
/// of weights that does not fit the tokens.
std::string report_page(const Report& report);

/// Writes the page, complete or not at all. Errors as report_page(), and Error where the file
/// cannot be written.
void write_report(const std::filesystem::path& path, const Report& report);

/// What a map made from a probe cannot know by itself.
struct ProbedMaps {
  std::int64_t batch_row = 0;
  std::string mechanism = {};
  AttentionKind kind = AttentionKind::self;
  std::string queries = "text", keys = "text";
};

/// One map for each layer that `probe` watches and that was called; the probe must record
/// .matrix. Several calls of a layer, as of a decoder that goes step by step, are put under each
/// other: their queries follow one another, and keys that an earlier call did not have yet get
/// weight 0. StateError if the matrix was not recorded; IndexError for a batch row that is not
/// there.
std::vector<AttentionMap> attention_maps(const AttentionProbe& probe, const ProbedMaps& maps);

}  // namespace fovea::nn::inspect
