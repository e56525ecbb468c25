#include <fovea/core/files.h>
#include <fovea/examples/support/output.h>
#include <fovea/examples/support/training.h>
#include <fovea/nn/inspect/terminal.h>

#include <cmath>
#include <iostream>
#include <sstream>
#include <unistd.h>

#include <fmt/format.h>

namespace data = fovea::nn::data;
namespace optim = fovea::optim;

namespace support {
namespace {

// File names may contain control characters for the terminal.
std::string shown(const std::string& text) {
  return fovea::nn::inspect::terminal_text(text, STDERR_FILENO);
}

}  // namespace

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
    next_ = p.seconds + 0.1;  // limits the time spent on printing
  }
  if (terminal_ && p.seconds_left <= 0) std::cerr << clear;
}

const char* name_of(optim::StoppedBy reason) {
  constexpr const char* names[] = {"epochs", "time", "patience", "interrupt"};
  return names[static_cast<int>(reason)];
}

void print_resume_command(std::int64_t step, const std::filesystem::path& last,
                          const std::string& resume_command) {
  std::cerr << fmt::format("\ninterrupted after step {}", step);
  if (!last.empty())
    std::cerr << fmt::format("; saved to {}. To resume:\n  {}", shown(last.string()),
                             shown(resume_command));
  std::cerr << '\n';
}

int interrupted_exit_code(int signal) { return 128 + signal; }

void rename_earlier(const std::filesystem::path& model, const std::filesystem::path& last) {
  for (const auto& [path, backup] : earlier_files(model, last)) {
    fovea::rename_file(path, backup);
    std::cerr << fmt::format("renamed {} of an earlier training to {}\n", shown(path.string()),
                             shown(backup.string()));
  }
}

optim::TrainingLock begin_training(const std::filesystem::path& model,
                                   const std::filesystem::path& last, bool resume) {
  if (model.empty()) return {"", ""};
  optim::TrainingLock lock(model, last);
  if (!resume) rename_earlier(model, last);
  return lock;
}

void print_written(const std::filesystem::path& path, const std::string& what) {
  std::cerr << fmt::format("wrote {}: {}\n", shown(path.string()), what);
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
