// What there is to learn from: the built-in reviews, or SST-2's files.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "options.h"

/// A sentence and whether it praises (1) or not (0).
struct Review {
  std::string text;
  std::int64_t label = 0;
};

using Reviews = std::vector<Review>;

struct Corpus {
  Reviews train, validation;
  Reviews test;                          // what is reported
  std::string tested_on = "validation";  // the name of `test`
};

/// Error where a file is missing or a line of it is no review: it names file and line.
Corpus load_corpus(const Options& options);
