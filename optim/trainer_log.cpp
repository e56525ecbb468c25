#include <fovea/optim/trainer_detail.h>

#include <cmath>

#include <fmt/format.h>

namespace fovea::optim::detail {
namespace {

// JSON has no NaN and no infinity.
std::string number_or(const char* nothing, double value) {
  return std::isfinite(value) ? fmt::format("{:.6g}", value) : nothing;
}

std::string csv_log(const std::vector<Progress>& history) {
  std::string text =
      "epoch,step,seconds,loss,learning_rate,gradient_norm,tokens_per_second,validation\n";
  for (const Progress& p : history)
    text += fmt::format("{},{},{:.3f},{:.6g},{:.6g},{:.6g},{:.1f},{}\n", p.epoch + 1, p.step,
                        p.seconds, p.loss, p.learning_rate, p.gradient_norm, p.tokens_per_second,
                        number_or("", p.validation));
  return text;
}

std::string json_log(const std::vector<Progress>& history) {
  std::string text;
  for (const Progress& p : history)
    text += fmt::format(
        R"({{"epoch": {}, "step": {}, "seconds": {:.3f}, "loss": {:.6g}, )"
        R"("learning_rate": {:.6g}, "gradient_norm": {:.6g}, "tokens_per_second": {:.1f}, )"
        R"("validation": {}}})"
        "\n",
        p.epoch + 1, p.step, p.seconds, p.loss, p.learning_rate, p.gradient_norm,
        p.tokens_per_second, number_or("null", p.validation));
  return text;
}

}  // namespace

std::string log_text(const std::vector<Progress>& history, const std::filesystem::path& log) {
  return log.extension() == ".csv" ? csv_log(history) : json_log(history);
}

}  // namespace fovea::optim::detail
