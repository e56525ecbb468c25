#include <fovea/core/files.h>
#include <fovea/examples/support/training.h>

#include <cmath>
#include <iostream>
#include <sstream>
#include <unistd.h>

#include <fmt/format.h>

namespace data = fovea::nn::data;
namespace optim = fovea::optim;

namespace support {

const std::vector<data::Ids>& Epochs::at(std::int64_t epoch) {
  if (epoch != epoch_) {
    batches_ = data::bucketed_batches(lengths_, epoch, options_);
    epoch_ = epoch;
  }
  return batches_;
}

Display::Display(std::string metric, int decimals)
    : metric_(std::move(metric)), decimals_(decimals), terminal_(isatty(STDERR_FILENO) == 1) {}

void Display::operator()(const optim::Progress& p) {
  const std::string clear = terminal_ ? "\r\033[K" : "";
  if (!std::isnan(p.validation))
    std::cerr << clear
              << fmt::format(
                     "epoch {:2}  step {:6}  loss {:.3f}  validation {} {:6.{}f}  {:.0f} s\n",
                     p.epoch + 1, p.step, p.loss, metric_, p.validation, decimals_, p.seconds);
  if (terminal_ && p.seconds >= next_) {
    std::cerr << clear << optim::progress_line(p) << std::flush;
    next_ = p.seconds + 0.1;  // writing takes time too
  }
  if (terminal_ && p.seconds_left <= 0) std::cerr << clear;
}

const char* name_of(optim::StoppedBy reason) {
  constexpr const char* names[] = {"epochs", "time", "patience", "interrupt"};
  return names[static_cast<int>(reason)];
}

void say_how_to_go_on(std::int64_t step, const std::filesystem::path& last,
                      const std::string& resume_command) {
  std::cerr << fmt::format("\ninterrupted after step {}", step);
  if (!last.empty())
    std::cerr << fmt::format("; {} has all of it. To go on:\n  {}", last.string(), resume_command);
  std::cerr << '\n';
}

void keep_earlier(const std::filesystem::path& model, const std::filesystem::path& last) {
  for (const std::filesystem::path& given : {model, last}) {
    if (given.empty() || !std::filesystem::is_regular_file(given)) continue;
    const std::filesystem::path path = std::filesystem::canonical(given);  // a link stays a link
    const std::string old = path.string() + ".old";
    fovea::rename_file(path, old);
    std::cerr << fmt::format("{} of an earlier training is now {}\n", path.string(), old);
  }
}

void say_written(const std::filesystem::path& path, const std::string& what) {
  std::cerr << fmt::format("wrote {}: {}\n", path.string(), what);
}

data::Lines read_input(const std::filesystem::path& input) {
  if (input.empty()) return {};
  if (input == "-") {
    std::istringstream text(fovea::read_standard_input());
    return data::read_lines(text, "standard input", data::Utf8::lenient);
  }
  return data::read_lines(input, data::Utf8::lenient);
}

}  // namespace support
