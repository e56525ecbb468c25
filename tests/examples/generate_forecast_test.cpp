// The memory forecast of generate equals the memory measured in its training.
#include <fovea/core/threads.h>

#include "characters.h"
#include "forecast_check.h"

namespace {

const std::string& text() {
  static const std::string all = [] {
    std::string lines;
    for (int i = 0; i < 400; ++i) lines += fmt::format("line {} of many, and {} more\n", i, 7 * i);
    return lines;
  }();
  return all;
}

}  // namespace

TEST_CASE("the language model") {
  fovea::set_num_threads(1);
  for (const std::int64_t batch : {4, 16})
    for (const std::int64_t context : {32, 128})
      for (const std::int64_t window : {0, 64}) {
        Options o;
        o.batch = batch;
        o.width = 128;
        o.context = context;
        o.window = window;
        o.steps = 2;
        o.dropout = window > 0 ? 0.1 : 0;
        const auto cost = forecast(o, text());
        const std::int64_t measured = peak_of([&] {
          LanguageModel model = new_model(o, text());
          train_model(model, o, text());
        });
        check_forecast(fmt::format("batch {}, context {}, window {}", batch, context, window), cost,
                       measured);
      }
}
