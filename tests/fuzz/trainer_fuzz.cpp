// optim::train: resuming from a modified file `last`.
// Properties: an unmodified file resumes to the same values; an error changes no weight.
#include <fovea/core/files.h>
#include <fovea/core/ops/elementwise.h>
#include <fovea/core/ops/reduce.h>
#include <fovea/core/safetensors.h>
#include <fovea/optim/adam.h>
#include <fovea/optim/trainer.h>

#include <cstring>

#include "fuzz_target.h"
#include "scratch.h"

using namespace fovea;

namespace {

struct TrainingSetup {
  Tensor weight = from_data(std::vector<float>{1, -2}, {2});
  Rng rng{1};
  optim::AdamW adam{{{"w", weight.set_requires_grad(true)}}, {.lr = 0.1}};
  optim::TrainingTask task = {
      .model = {{"w", weight}},
      .optimizer = &adam,
      .generators = {&rng},
      .batches = [](std::int64_t) { return std::int64_t{2}; },
      .loss =
          [this](std::int64_t, std::int64_t) {
            return optim::TrainingTask::Loss{sum(square(weight)), 2};
          },
      .validate = [this] { return static_cast<double>(weight.to_vector<float>()[0]); }};
};

optim::TrainerOptions options_of(const fuzz::ScratchFolder& folder, std::int64_t epochs) {
  return {.max_epochs = epochs,
          .last = folder.path() / "last.safetensors",
          .metadata = {{"task", "fuzz"}},
          .catch_interrupt = false};
}

// A checkpoint after the first of two epochs.
const std::string& last_file() {
  static const std::string bytes = [] {
    const fuzz::ScratchFolder folder;
    TrainingSetup setup;
    optim::train(setup.task, options_of(folder, 1));
    return read_file(folder.path() / "last.safetensors");
  }();
  return bytes;
}

// Edits of two bytes, offset and value, of the raw file; or of a tensor's bytes, so that the header
// and the checksums match.
std::string changed(fuzz::Input& in) {
  const bool whole = in.below(2) == 0;
  std::string bytes = last_file();
  if (whole) {
    bytes.resize(bytes.size() - std::min<std::size_t>(in.below(16), bytes.size()));
    while (!in.rest().empty()) {
      const std::size_t at = (256 * in.below(256) + in.below(256)) % bytes.size();
      bytes[at] = static_cast<char>(in.below(256));
    }
    return bytes;
  }
  const SafetensorsFile file = SafetensorsFile::parse(bytes, "last");
  NamedTensors tensors;
  for (const SafetensorsEntry& entry : file.entries())
    tensors.emplace_back(entry.name, file.tensor(entry.name));
  while (!in.rest().empty()) {
    Tensor& tensor = tensors[in.below(static_cast<unsigned>(tensors.size()))].second;
    const auto size = static_cast<unsigned>(tensor.numel() * size_of(tensor.dtype()));
    const unsigned at = in.below(256), value = in.below(256);
    if (size > 0) tensor.raw_data()[at % size] = static_cast<std::byte>(value);
  }
  return to_safetensors(tensors, file.metadata());
}

std::vector<float> resumed(const std::string& last) {
  static const fuzz::ScratchFolder folder;
  folder.write("last.safetensors", last);
  TrainingSetup setup;
  const std::vector<float> before = setup.weight.to_vector<float>();
  optim::TrainerOptions options = options_of(folder, 2);
  options.resume = true;
  options.max_seconds = 5;  // should a state far from the end be accepted
  bool started = false;
  const auto loss = setup.task.loss;
  setup.task.loss = [&](std::int64_t epoch, std::int64_t batch) {
    started = true;
    return loss(epoch, batch);
  };
  const bool done = fuzz::accepts([&] { optim::train(setup.task, options); });
  fuzz::require(done || started || setup.weight.to_vector<float>() == before,
                "a checkpoint that is refused changes no weight");
  return setup.weight.to_vector<float>();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::vector<float> unchanged = resumed(last_file());
  fuzz::Input in(data, size);
  const std::string last = changed(in);
  const std::vector<float> weight = resumed(last);
  fuzz::require(last != last_file() || weight == unchanged, "the same file gives the same values");
  return 0;
}
