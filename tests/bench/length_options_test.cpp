// The command line of the bench `length`: numbers, and combinations of options.
#include <fovea/tests/examples/options_walk.h>

#include "options.h"

TEST_CASE("length: every numeric option refuses what is not in its range") {
  walk::check_numbers<Options>(7);
}

TEST_CASE("length: every option in every mode") {
  const std::vector<walk::Mode> modes{{'A', {}},
                                      {'S', {"--smoke"}},
                                      {'R', {"--kinds", "gru,lru"}},
                                      {'F', {"--kinds", "gru,full"}},
                                      {'W', {"--kinds", "window"}}};
  const walk::Table table{{"--kinds", "AS"},        {"--modes", "ASRFW"}, {"--min-length", "ARFW"},
                          {"--max-length", "ARFW"}, {"--batch", "ASRFW"}, {"--width", "ASRFW"},
                          {"--heads", "ASFW"},      {"--window", "AW"},   {"--budget", "ARFW"},
                          {"--csv", "ASRFW"},       {"--svg", "ASRFW"},   {"--markdown", "ASRFW"},
                          {"--pin", "ASRFW"},       {"--smoke", "ARFW"}};
  walk::check_modes<Options>(modes, table, {{"--min-length", "64"}});
}

TEST_CASE("length: names between commas") {
  using walk::refusal;
  CHECK(refusal<Options>({"--kinds", "gru,nonsense"})
            .starts_with("--kinds: 'nonsense': must be one of rnn, "));
  CHECK(refusal<Options>({"--modes", "forward,"}).starts_with("--modes: '': must be one of "));
  CHECK(refusal<Options>({"--min-length", "64", "--max-length", "32"}) ==
        "--max-length: must be at least --min-length");
}
