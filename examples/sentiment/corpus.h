// Data: the built-in reviews, or the files of SST-2.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "options.h"

/// A sentence with its label: positive (1) or negative (0).
struct Review {
  std::string text;
  std::int64_t label = 0;
};

using Reviews = std::vector<Review>;

struct Corpus {
  Reviews train, validation;
  Reviews test;                          // for the reported metrics
  std::string tested_on = "validation";  // the name of `test`
};

/// Error with file and line if a file is missing or a line is invalid.
Corpus load_corpus(const Options& options);
