// The command line of generate: numbers, and combinations of options.
#include "options.h"
#include "options_walk.h"

TEST_CASE("generate: every numeric option checks its range") { walk::check_numbers<Options>(16); }

TEST_CASE("generate: every option in every mode") {
  const std::vector<walk::Mode> modes{{'G', {}},  // the grammar
                                      {'F', {"--text", "f"}},
                                      {'W', {"--temperature", "0"}},
                                      {'Y', {"--dry-run"}},
                                      {'S', {"--smoke"}},
                                      {'K', {"--save", "k"}},
                                      {'L', {"--load", "x"}},
                                      {'Z', {"--load", "x", "--temperature", "0"}},
                                      {'D', {"--data", "d"}},
                                      {'C', {"--data", "d", "--check"}}};
  const std::string training = "GFWYSK", speaks = "GFWSKLZD";
  const walk::Table table{{"--data", "GWD"},
                          {"--text", "GWYSK"},
                          {"--load", "GWLZ"},
                          {"--save", "GFWSK"},
                          {"--check", "D"},
                          {"--steps", "GFWYK"},
                          {"--max-seconds", training},
                          {"--layers", training},
                          {"--width", training},
                          {"--heads", training},
                          {"--context", training},
                          {"--window", training},
                          {"--batch", training},
                          {"--lr", training},
                          {"--dropout", training},
                          {"--resume", "K"},
                          {"--save-every", "K"},
                          {"--dry-run", "GFS"},
                          {"--memory-limit", training},
                          {"--prompt", speaks},
                          {"--tokens", speaks},
                          {"--temperature", "GFSKLD"},
                          {"--top-k", "GFSKLD"},
                          {"--top-p", "GFSKLD"},
                          {"--seed", "GFWYSKLD"},
                          {"--endless", "D"},
                          {"--json", speaks},
                          {"--report", speaks},
                          {"--profile", speaks},
                          {"--smoke", "GFWYK"}};
  walk::check_modes<Options>(modes, table, {{"--width", "128"}, {"--heads", "2"}});
}
