// safetensors: raw files, or a header with matching length and data.
// Properties: reading, writing and reading again gives the same; load_into() fills all tensors or
// none.
#include <fovea/core/random.h>
#include <fovea/core/safetensors.h>
#include <fovea/core/tensor.h>

#include <bit>
#include <cstring>

#include "fuzz_target.h"

using namespace fovea;

namespace {

std::string file_of(fuzz::Input& in) {
  const unsigned mode = in.below(2), data_bytes = 4 * in.below(64);
  if (mode == 0) return std::string(in.rest());
  const std::uint64_t header = in.rest().size();
  std::string bytes(sizeof header, '\0');
  std::memcpy(bytes.data(), &header, sizeof header);
  bytes += in.rest();
  return bytes.append(data_bytes, '\1');
}

bool same_bytes(const Tensor& a, const Tensor& b) {
  return a.shape() == b.shape() && a.dtype() == b.dtype() &&
         std::memcmp(a.raw_data(), b.raw_data(),
                     static_cast<std::size_t>(a.numel() * size_of(a.dtype()))) == 0;
}

void check_round_trip(const SafetensorsFile& file) {
  NamedTensors tensors;
  for (const SafetensorsEntry& entry : file.entries())
    if (!fuzz::accepts([&] { tensors.emplace_back(entry.name, file.tensor(entry.name)); })) return;
  const auto again =
      SafetensorsFile::parse(to_safetensors(tensors, file.metadata()), "written again");
  for (const auto& [key, value] : file.metadata())
    fuzz::require(again.metadata().contains(key) && again.metadata().at(key) == value, "metadata");
  fuzz::require(again.entries().size() == tensors.size(), "count of entries");
  for (const auto& [name, tensor] : tensors)
    fuzz::require(same_bytes(again.tensor(name), tensor), "a tensor's bytes");
}

void check_load(const SafetensorsFile& file) {
  const NamedTensors state{{"a", full({2, 3}, 7.0)}, {"b", full({2}, 7, DType::i64)}};
  const Tensor a = state[0].second.clone(), b = state[1].second.clone();
  const bool loaded = fuzz::accepts([&] { load_into(file, state, {.strict = false}); });
  if (!loaded)
    fuzz::require(same_bytes(state[0].second, a) && same_bytes(state[1].second, b),
                  "an error changes no tensor");
  fuzz::accepts([&] { load_into(file, state); });
  Rng rng(1);
  fuzz::accepts([&] { rng_from_tensor(rng, state[1].second); });
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  fuzz::Input in(data, size);
  fuzz::accepts([&] {
    const SafetensorsFile file = SafetensorsFile::parse(file_of(in), "input");
    check_round_trip(file);
    check_load(file);
  });
  return 0;
}
