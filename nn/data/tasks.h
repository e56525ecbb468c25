// Tasks that need no files: generators of parallel text, equal for equal seeds on every platform.
#pragma once

#include <fovea/nn/data/text.h>

#include <cstdint>

namespace fovea::nn::data {

/// Examples to learn from, to choose by, and to report on. No source line is in two of them.
struct TaskSplits {
  ParallelText train;
  ParallelText validation;
  ParallelText test;
};

struct DatesOptions {
  std::int64_t train = 20'000;
  std::int64_t validation = 500;
  std::int64_t test = 1'000;
  std::uint64_t seed = 1;
};

/// Dates as people write them, and their ISO form: "the 3rd of may, 1979" -> "1979-05-03".
///
/// The days are 1969-01-01 to 2068-12-31, so that a year of two digits has one meaning (69 is 1969
/// and 68 is 2068, as in POSIX strptime); months come first only where they are spelled. Every line
/// is different. Characters: a-z, 0-9, blank and , . / - '. A translator must find day, month and
/// year wherever they stand: this is what attention is for.
TaskSplits make_dates(const DatesOptions& options = {});

}  // namespace fovea::nn::data
