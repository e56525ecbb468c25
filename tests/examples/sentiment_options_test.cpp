// The command line of sentiment: numbers, and combinations of options.
#include "options.h"
#include "options_walk.h"

TEST_CASE("sentiment: every numeric option checks its range") { walk::check_numbers<Options>(18); }

TEST_CASE("sentiment: every option in every mode") {
  const std::vector<walk::Mode> modes{{'D', {}},  // a bag of words
                                      {'F', {"--data", "d"}},
                                      {'R', {"--model", "lstm"}},
                                      {'T', {"--model", "transformer"}},
                                      {'A', {"--model", "selfattention"}},
                                      {'P', {"--model", "bilstm+selfattention"}},
                                      {'Y', {"--dry-run"}},
                                      {'S', {"--smoke"}},
                                      {'L', {"--load", "x"}},
                                      {'X', {"--load", "x", "--text", "a"}},
                                      {'I', {"--load", "x", "--input", "i"}}};
  const std::string training = "DFRTAPYS", trained = "DFRTAPS", done = "DFRTAPSLXI",
                    all = "DFRTAPYSLXI";
  const walk::Table table{{"--data", all},
                          {"--phrases", "F"},
                          {"--model", training},
                          {"--pooling", training},
                          {"--embed", training},
                          {"--hidden", "RTP"},
                          {"--layers", "RTP"},
                          {"--heads", "TAP"},
                          {"--dropout", training},
                          {"--min-count", training},
                          {"--epochs", training},
                          {"--max-seconds", training},
                          {"--patience", training},
                          {"--batch", training},
                          {"--lr", training},
                          {"--weight-decay", training},
                          {"--word-dropout", training},
                          {"--label-smoothing", training},
                          {"--average", training},
                          {"--clip", training},
                          {"--seed", training},
                          {"--save", trained},
                          {"--resume", "DFRTAP"},
                          {"--save-every", "DFRTAP"},
                          {"--log", trained},
                          {"--curve", trained},
                          {"--profile", trained},
                          {"--recompute", "RP"},
                          {"--dry-run", training},
                          {"--memory-limit", training},
                          {"--smoke", training},
                          {"--load", "DFLXI"},
                          {"--text", done},
                          {"--input", done},
                          {"--output", "I"},
                          {"--report", done},
                          {"--json", done},
                          {"--threads", all}};
  walk::check_modes<Options>(modes, table, {{"--model", "bow"}, {"--pooling", "attention"}});
}
