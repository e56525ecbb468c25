// Whole training steps of the program generate, by its own code: the same bits for any number of
// threads. It keeps no optimiser's state, but a step's weights follow from the states before it.
#include <fovea/tests/support/thread_bits.h>

#include "characters.h"

using namespace fovea;

TEST_CASE("generate: the language model trains alike on any threads") {
  Options o;
  o.steps = 4;
#ifdef FOVEA_SANITIZED
  o.width = 16, o.context = 32, o.batch = 4;
#else
  o.width = 96, o.context = 100, o.batch = 12;  // so much that the kernels split their work
#endif
  o.dropout = 0.1;
  o.window = 24;
  const std::string text = training_text(o).substr(0, 20'000);
  test::check_same_for_any_threads([&] {
    Speaker speaker = new_speaker(o, text);
    const Learned learned = teach(speaker, o, text);
    NamedTensors left = speaker.model->state();
    left.emplace_back("loss", from_data(std::vector{learned.loss}, {1}));
    return left;
  });
}
