#include <fovea/core/error.h>
#include <fovea/nn/data/tasks.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <set>
#include <sstream>
#include <string>

#include <doctest/doctest.h>

using namespace fovea::nn::data;
namespace chrono = std::chrono;

namespace {

chrono::sys_days day_of(const std::string& iso) {
  return chrono::sys_days(chrono::year(std::stoi(iso.substr(0, 4))) / std::stoi(iso.substr(5, 2)) /
                          std::stoi(iso.substr(8, 2)));
}

constexpr std::array<std::string_view, 12> months = {"jan", "feb", "mar", "apr", "may", "jun",
                                                     "jul", "aug", "sep", "oct", "nov", "dec"};
constexpr std::array<std::string_view, 7> weekdays = {"sun", "mon", "tue", "wed",
                                                      "thu", "fri", "sat"};
constexpr std::array<std::string_view, 31> ordinals = {
    "first",        "second",         "third",         "fourth",        "fifth",
    "sixth",        "seventh",        "eighth",        "ninth",         "tenth",
    "eleventh",     "twelfth",        "thirteenth",    "fourteenth",    "fifteenth",
    "sixteenth",    "seventeenth",    "eighteenth",    "nineteenth",    "twentieth",
    "twenty-first", "twenty-second",  "twenty-third",  "twenty-fourth", "twenty-fifth",
    "twenty-sixth", "twenty-seventh", "twenty-eighth", "twenty-ninth",  "thirtieth",
    "thirty-first"};

template <std::size_t N>
int index_of(const std::array<std::string_view, N>& names, const std::string& word) {
  const auto at = std::find(names.begin(), names.end(), word);
  return at == names.end() ? -1 : static_cast<int>(at - names.begin());
}

std::vector<std::string> pieces(std::string line, const std::string& separators) {
  for (char& c : line)
    if (separators.find(c) != std::string::npos) c = ' ';
  return tokenize(line, Unit::words);
}

// An independent parser of a line: "yyyy-m-d", and in `weekday` the day of the week in it, or -1.
std::string read_date(const std::string& line, int& weekday) {
  int year = -1, month = -1, day = -1;
  weekday = -1;
  if (line.find('/') != std::string::npos || std::count(line.begin(), line.end(), '.') == 2) {
    const auto numbers = pieces(line, "/.");
    const bool year_first = numbers[0].size() == 4;
    year = std::stoi(numbers[year_first ? 0 : 2]);
    month = std::stoi(numbers[1]);
    day = std::stoi(numbers[year_first ? 2 : 0]);
  } else {
    const bool dashed = line.size() == 11 && line[2] == '-';
    for (const std::string& word : pieces(line, dashed ? ",-" : ",")) {
      const std::string three = word.substr(0, 3);
      if (const int ordinal = index_of(ordinals, word); ordinal >= 0) {
        day = ordinal + 1;
      } else if (word[0] == '\'' || (std::isdigit(word[0]) != 0 && day >= 0 && year < 0)) {
        year = std::stoi(word.substr(word[0] == '\'' ? 1 : 0));
      } else if (std::isdigit(word[0]) != 0) {
        (word.size() == 4 && std::isdigit(word[3]) != 0 ? year : day) = std::stoi(word);
      } else if (index_of(months, three) >= 0) {
        month = index_of(months, three) + 1;
      } else if (index_of(weekdays, three) >= 0) {
        weekday = index_of(weekdays, three);
      }
    }
  }
  if (year < 100) year += year < 69 ? 2000 : 1900;
  std::ostringstream iso;
  iso << year << '-' << month << '-' << day;
  return iso.str();
}

std::string without_zeros(const std::string& iso) {
  std::ostringstream plain;
  plain << std::stoi(iso.substr(0, 4)) << '-' << std::stoi(iso.substr(5, 2)) << '-'
        << std::stoi(iso.substr(8, 2));
  return plain.str();
}

}  // namespace

TEST_CASE("dates: the requested sizes, and distinct lines") {
  const TaskSplits dates = make_dates({.train = 3000, .validation = 200, .test = 1000});
  CHECK(dates.train.size() == 3000);
  CHECK(dates.validation.size() == 200);
  CHECK(dates.test.size() == 1000);
  std::set<std::string> seen;
  for (const ParallelText* part : {&dates.train, &dates.validation, &dates.test}) {
    CHECK(part->target.size() == part->source.size());
    seen.insert(part->source.begin(), part->source.end());
  }
  CHECK(seen.size() == 4200);
}

TEST_CASE("dates: an independent parser finds the same day in every line") {
  const TaskSplits dates = make_dates({.train = 20'000, .validation = 0, .test = 0});
  std::int64_t with_weekday = 0;
  for (std::int64_t i = 0; i < dates.train.size(); ++i) {
    const std::string& line = dates.train.source[static_cast<std::size_t>(i)];
    const std::string& iso = dates.train.target[static_cast<std::size_t>(i)];
    CAPTURE(line);
    int weekday = -1;
    REQUIRE(read_date(line, weekday) == without_zeros(iso));
    if (weekday < 0) continue;
    ++with_weekday;
    REQUIRE(chrono::weekday(day_of(iso)).c_encoding() == static_cast<unsigned>(weekday));
  }
  CHECK(with_weekday > 4000);
}

TEST_CASE("dates: lines are lower-case ASCII of 8 to 36 characters, targets are ISO") {
  const TaskSplits dates = make_dates({.train = 20'000, .validation = 0, .test = 0});
  std::set<char> characters;
  for (const std::string& line : dates.train.source) {
    CHECK(line.size() >= 8);
    CHECK(line.size() <= 36);
    characters.insert(line.begin(), line.end());
  }
  for (const char c : characters)
    CHECK_MESSAGE((std::islower(c) != 0 || std::isdigit(c) != 0 ||
                   std::string(" ,./-'").find(c) != std::string::npos),
                  "character ", c);
  for (const std::string& iso : dates.train.target) {
    CHECK(iso.size() == 10);
    CHECK(iso >= "1969-01-01");
    CHECK(iso <= "2068-12-31");
    CHECK(chrono::year_month_day(day_of(iso)).ok());
  }
}

TEST_CASE("dates: equal seeds give equal dates, other seeds others") {
  const DatesOptions small{.train = 100, .validation = 10, .test = 50, .seed = 5};
  const TaskSplits dates = make_dates(small);
  CHECK(make_dates(small).train.source == dates.train.source);
  DatesOptions other = small;
  other.seed = 6;
  CHECK(make_dates(other).train.source != dates.train.source);
  // A larger training split does not change the test split: runs stay comparable.
  DatesOptions larger = small;
  larger.train = 1000;
  CHECK(make_dates(larger).test.source == dates.test.source);
}

TEST_CASE("dates: the same lines on every platform") {
  const TaskSplits dates = make_dates({.train = 0, .validation = 0, .test = 3});
  CHECK(dates.test.source ==
        Lines{"9 january 1970", "twenty-second of july 2006", "the 21st of april, 1980"});
  CHECK(dates.test.target == Lines{"1970-01-09", "2006-07-22", "1980-04-21"});
}

TEST_CASE("dates: invalid sizes") {
  CHECK(make_dates({.train = 0, .validation = 0, .test = 0}).test.size() == 0);
  CHECK_THROWS_WITH_AS(make_dates({.train = -1}),
                       "make_dates: a split of -1 examples: must be from 0 to 438300",
                       fovea::ValueError);
  CHECK_THROWS_AS(make_dates({.train = INT64_MAX}), fovea::ValueError);
  CHECK_THROWS_WITH_AS(make_dates({.train = 400'000, .validation = 50'000, .test = 0}),
                       "make_dates: 450000 examples in total: must be at most 438300",
                       fovea::ValueError);
}
