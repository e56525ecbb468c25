// The command line of translate: numbers, and combinations of options.
#include "options.h"
#include "options_walk.h"

TEST_CASE("translate: every numeric option checks its range") { walk::check_numbers<Options>(25); }

TEST_CASE("translate: every option in every mode") {
  const std::vector<walk::Mode> modes{
      {'D', {}},               // dates
      {'T', {"--data", "d"}},  // text
      {'R', {"--model", "transformer"}},
      {'M', {"--attention", "multihead"}},
      {'N', {"--attention", "none"}},
      {'G', {"--guided-alignment", "g"}},
      {'Y', {"--dry-run"}},
      {'S', {"--smoke"}},
      {'L', {"--load", "x"}},  // evaluated
      {'X', {"--load", "x", "--text", "a"}},
      {'B', {"--load", "x", "--text", "a", "--beam", "1"}},
      {'I', {"--load", "x", "--input", "i"}},
      {'A', {"--load", "x", "--input", "i", "--target-text", "t", "--align", "a"}}};
  const std::string training = "DTRMNGYS", trained = "DTRMNGS", all = "DTRMNGYSLXBIA",
                    done = "DTRMNGSLXBIA";
  const walk::Table table{{"--data", all},
                          {"--source", "T"},
                          {"--target", "T"},
                          {"--bpe", "T"},
                          {"--bpe-merges", "T"},
                          {"--min-count", training},
                          {"--max-vocab", training},
                          {"--seed", training},
                          {"--model", "DTYS"},
                          {"--embed", training},
                          {"--dropout", training},
                          {"--attention", "DTGYS"},
                          {"--attention-weights", "DTMGYS"},
                          {"--coverage", "DTGYS"},
                          {"--input-feeding", "DTMNGYS"},
                          {"--hidden", "DTMNGYS"},
                          {"--layers", "R"},
                          {"--heads", "RM"},
                          {"--ffn", "R"},
                          {"--attention-dropout", "R"},
                          {"--epochs", training},
                          {"--max-seconds", training},
                          {"--batch", training},
                          {"--batch-tokens", training},
                          {"--lr", training},
                          {"--schedule", training},
                          {"--warmup", training},
                          {"--average", training},
                          {"--label-smoothing", training},
                          {"--clip", training},
                          {"--save", trained},
                          {"--resume", "DTRMNG"},
                          {"--save-every", "DTRMNG"},
                          {"--log", trained},
                          {"--curve", trained},
                          {"--profile", trained},
                          {"--dry-run", training},
                          {"--memory-limit", training},
                          {"--smoke", training},
                          {"--coverage-loss", "DTMGYS"},
                          {"--guided-alignment", "DTMYS"},
                          {"--recompute", "DTMNGYS"},
                          {"--guided-weight", "G"},
                          {"--load", "DTLXBIA"},
                          {"--text", done},
                          {"--input", done},
                          {"--output", "I"},
                          {"--target-text", ""},
                          {"--align", "DTRMGSLXBI"},
                          {"--align-weights", "DTRMGSLXBIA"},
                          {"--heatmap", "DTRMGSLXBIA"},
                          {"--report", "DTRMGSLXBIA"},
                          {"--json", done},
                          {"--beam", "DTRMNGSLXI"},
                          {"--length-penalty", "DTRMNGSLXI"},
                          {"--max-length", "DTRMNGSLXBI"},
                          {"--n-best", "XI"},
                          {"--keep-unknown", "DTRMGSLXBI"},
                          {"--threads", all}};
  walk::check_modes<Options>(modes, table);
}

TEST_CASE("translate: invalid combinations of options") {
  using walk::refusal;
  CHECK(refusal<Options>({"--data", "d", "--bpe", "c", "--bpe-merges", "5"}) ==
        "--bpe-merges: only without --bpe");
  CHECK(refusal<Options>({"--batch", "5", "--batch-tokens", "50"}) ==
        "--batch-tokens: only without --batch");
  CHECK(refusal<Options>({"--load", "a", "--load", "b", "--report", "r"}) ==
        "--report: only with one --load: it shows one model");
  CHECK(refusal<Options>({"--load", "a", "--load", "b", "--heatmap", "r"}) == "");
  CHECK(refusal<Options>({"--load", "", "--text", "a"}) == "--load: '': must be a file name");
  CHECK(refusal<Options>({"--load", "a", "--text", "a", "--n-best", "3", "--beam", "2"}) ==
        "--n-best 3: must be at most --beam 2");
  CHECK(refusal<Options>({"--schedule", "linear"}) ==
        "--schedule: 'linear': must be one of cosine, inverse-sqrt");
}
