// Training steps with the code of generate: the same bits for any number of threads. The optimizer
// state is not compared, but the weights depend on it.
#include <fovea/tests/support/thread_bits.h>

#include "characters.h"

using namespace fovea;

TEST_CASE("generate: training does not depend on the number of threads") {
  Options o;
  o.steps = 4;
#ifdef FOVEA_SANITIZED
  o.width = 16, o.context = 32, o.batch = 4;
#else
  o.width = 96, o.context = 100, o.batch = 12;  // large enough for the kernels to use threads
#endif
  o.dropout = 0.1;
  o.window = 24;
  const std::string text = training_text(o).substr(0, 20'000);
  test::check_same_for_any_threads([&] {
    LanguageModel model = new_model(o, text);
    const TrainingResult learned = train_model(model, o, text);
    NamedTensors left = model.model->state();
    left.emplace_back("loss", from_data(std::vector{learned.loss}, {1}));
    return left;
  });
}
