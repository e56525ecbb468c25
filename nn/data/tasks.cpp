#include <fovea/core/error.h>
#include <fovea/core/random.h>
#include <fovea/nn/data/tasks.h>

#include <array>
#include <chrono>
#include <string_view>
#include <unordered_set>

#include <fmt/format.h>

namespace fovea::nn::data {
namespace {

using namespace std::chrono_literals;
using std::chrono::sys_days;

constexpr std::array<std::string_view, 12> months = {
    "january", "february", "march",     "april",   "may",      "june",
    "july",    "august",   "september", "october", "november", "december"};

constexpr std::array<std::string_view, 7> weekdays = {"sunday",   "monday", "tuesday", "wednesday",
                                                      "thursday", "friday", "saturday"};

constexpr std::array<std::string_view, 20> small_ordinals = {
    "first",     "second",    "third",       "fourth",     "fifth",      "sixth",      "seventh",
    "eighth",    "ninth",     "tenth",       "eleventh",   "twelfth",    "thirteenth", "fourteenth",
    "fifteenth", "sixteenth", "seventeenth", "eighteenth", "nineteenth", "twentieth"};

// Formats of dates. d, dd: day as 3, 03; nth: 3rd; ordinal: third; m, mm, mon, month: month as 5,
// 05, may (three letters), may; yy, yyyy: year; wd, weekday: day of the week as thu, thursday.
constexpr std::array<std::string_view, 24> patterns = {
    "{d} {month} {yyyy}",
    "{d} {mon} {yyyy}",
    "{d} {month} {yy}",
    "{dd} {mon} '{yy}",
    "{nth} {month} {yyyy}",
    "{nth} of {month} {yyyy}",
    "the {nth} of {month}, {yyyy}",
    "{ordinal} of {month} {yyyy}",
    "{month} the {ordinal}, {yyyy}",
    "{month} {d}, {yyyy}",
    "{mon} {nth}, {yyyy}",
    "{mon} {d} '{yy}",
    "{wd} {d} {mon} {yyyy}",
    "{wd}, {dd} {month} {yy}",
    "{weekday} {month} {d} {yyyy}",
    "{weekday}, {d} {month} {yyyy}",
    "{weekday}, {mon} {nth}, {yyyy}",
    "{weekday} the {nth} of {mon} {yyyy}",
    "{yyyy}, {month} {d}",
    "in {yyyy}, on {month} {nth}",
    "{wd} {month} {nth}, in {yyyy}",
    "{dd}-{mon}-{yyyy}",
    "{d}.{m}.{yyyy}",
    "{yyyy}/{mm}/{dd}",
};

constexpr sys_days first_day = 1969y / 1 / 1;
constexpr sys_days last_day = 2068y / 12 / 31;
constexpr std::int64_t num_days = (last_day - first_day).count() + 1;

// Half of all possible lines, so that drawing distinct ones stays fast.
constexpr std::int64_t most_examples = num_days * static_cast<std::int64_t>(patterns.size()) / 2;

// 1st 2nd 3rd 4th .. 11th 12th 13th .. 21st 22nd 23rd
std::string_view ordinal_suffix(unsigned day) {
  if (day / 10 == 1) return "th";
  switch (day % 10) {
    case 1:
      return "st";
    case 2:
      return "nd";
    case 3:
      return "rd";
    default:
      return "th";
  }
}

std::string spelled_ordinal(unsigned day) {
  if (day <= small_ordinals.size()) return std::string(small_ordinals[day - 1]);
  if (day == 30) return "thirtieth";
  return fmt::format("{}-{}", day < 30 ? "twenty" : "thirty", small_ordinals[day % 10 - 1]);
}

std::string write_date(std::string_view pattern, sys_days when) {
  const std::chrono::year_month_day date(when);
  const auto day = static_cast<unsigned>(date.day());
  const auto month = static_cast<unsigned>(date.month());
  const int year = static_cast<int>(date.year());
  const std::string_view month_name = months[month - 1];
  const std::string_view weekday = weekdays[std::chrono::weekday(when).c_encoding()];
  return fmt::format(
      fmt::runtime(pattern), fmt::arg("d", day), fmt::arg("dd", fmt::format("{:02}", day)),
      fmt::arg("nth", fmt::format("{}{}", day, ordinal_suffix(day))),
      fmt::arg("ordinal", spelled_ordinal(day)), fmt::arg("m", month),
      fmt::arg("mm", fmt::format("{:02}", month)), fmt::arg("mon", month_name.substr(0, 3)),
      fmt::arg("month", month_name), fmt::arg("yy", fmt::format("{:02}", year % 100)),
      fmt::arg("yyyy", year), fmt::arg("wd", weekday.substr(0, 3)), fmt::arg("weekday", weekday));
}

constexpr std::string_view iso = "{yyyy}-{mm}-{dd}";

// Draws dates and formats, each line at most once.
class DateSource {
 public:
  explicit DateSource(std::uint64_t seed) : rng_(seed) {}

  ParallelText draw(std::int64_t count) {
    ParallelText text;
    while (text.size() < count) {
      const sys_days when = first_day + std::chrono::days(rng_.below(num_days));
      std::string line =
          write_date(patterns[static_cast<std::size_t>(rng_.below(std::ssize(patterns)))], when);
      if (!seen_.insert(line).second) continue;
      text.source.push_back(std::move(line));
      text.target.push_back(write_date(iso, when));
    }
    return text;
  }

 private:
  Rng rng_;
  std::unordered_set<std::string> seen_;
};

}  // namespace

TaskSplits make_dates(const DatesOptions& options) {
  for (const std::int64_t count : {options.train, options.validation, options.test})
    if (count < 0 || count > most_examples)
      value_error("make_dates", "a split of {} examples: must be from 0 to {}", count,
                  most_examples);
  const std::int64_t total = options.train + options.validation + options.test;
  if (total > most_examples)
    value_error("make_dates", "{} examples in total: must be at most {}", total, most_examples);
  DateSource source(options.seed);
  TaskSplits splits;  // test first: its lines do not depend on the sizes of the other splits
  splits.test = source.draw(options.test);
  splits.validation = source.draw(options.validation);
  splits.train = source.draw(options.train);
  return splits;
}

}  // namespace fovea::nn::data
