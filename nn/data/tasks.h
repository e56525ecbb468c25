// Synthetic tasks: generators of parallel text, with equal output for equal seeds on every
// platform.
#pragma once

#include <fovea/nn/data/text.h>

#include <cstdint>

namespace fovea::nn::data {

/// Training, validation and test examples. No source line is in two of them.
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

/// Written dates and their ISO form: "the 3rd of may, 1979" -> "1979-05-03".
///
/// The days are 1969-01-01 to 2068-12-31, so that a two-digit year has one meaning (69 is 1969 and
/// 68 is 2068, as in POSIX strptime); the month comes first only if it is spelled out. All lines
/// are different. Characters: a-z, 0-9, blank and , . / - '. The model must find day, month and
/// year at different positions, which requires attention.
TaskSplits make_dates(const DatesOptions& options = {});

}  // namespace fovea::nn::data
