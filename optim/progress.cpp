// progress_line(): the progress of a training as text.
#include <fovea/optim/trainer.h>

#include <cmath>

#include <fmt/format.h>

namespace fovea::optim {
namespace {

std::string clock(double seconds) {
  if (!(seconds < 1e9)) return "many years";  // without max_epochs and max_seconds
  const auto s = static_cast<std::int64_t>(seconds);
  return s >= 3600 ? fmt::format("{}:{:02}:{:02}", s / 3600, s / 60 % 60, s % 60)
                   : fmt::format("{}:{:02}", s / 60, s % 60);
}

}  // namespace

std::string progress_line(const Progress& p) {
  std::string line =
      fmt::format("epoch {}  batch {}/{}  loss {:.3f}  {:.1f}k tokens/s  {} left", p.epoch + 1,
                  p.batch, p.batches, p.loss, p.tokens_per_second / 1000, clock(p.seconds_left));
  if (!std::isnan(p.best)) line += fmt::format("  best {:.4g}", p.best);
  return line;
}

}  // namespace fovea::optim
