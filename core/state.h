// State: named tensors are the one protocol behind parameters(), save, load and resume. Whatever
// can be saved (a model, an optimiser, a generator) gives a list of them, and is restored through
// one.
#pragma once

#include <fovea/core/tensor.h>

#include <filesystem>
#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fovea {

class Rng;
class SafetensorsFile;

/// Names and tensors in a fixed order: {"encoder.weight", tensor}, ...
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// StateError "op: 'encoder.weight' is undefined" for the first that is.
void check_defined(std::string_view op, std::span<const std::pair<std::string, Tensor>> tensors);

/// What else a file carries, as text: options, a vocabulary.
using Metadata = std::map<std::string, std::string>;

/// Appends `more` to `list`, each name with `prefix` and a dot in front: one file then holds
/// "model.*" and "optimizer.*".
void append(NamedTensors& list, const std::string& prefix, const NamedTensors& more);

/// The tensors of `list`, each once: of several names for the same values (tied weights) the first.
/// The order stays. ValueError in the name of `op` for a name that is listed twice, or two
/// trainable leaves over the same memory, whose gradients are separate.
NamedTensors distinct(std::string_view op, const NamedTensors& list);

/// "nan at 17": the first NaN or infinity in row-major order; "" where all values are finite.
std::string non_finite(const Tensor& tensor);

/// Writes a safetensors file, complete or not at all, with checksums (core/safetensors.h).
void save(const std::filesystem::path& path, const NamedTensors& tensors,
          const Metadata& metadata = {});

struct LoadOptions {
  bool strict = true;   ///< false: names that only the file or only the list has are passed over
  bool finite = false;  ///< true: NonFiniteError for a NaN or an infinity in the file, but for
                        ///< tensors that hold one already, such as an additive mask
  /// Called for each name before any tensor is overwritten; throws to refuse the file.
  std::function<void(const std::string& name, const Tensor& value)> check = {};
};

/// Overwrites the values of `tensors` with those of the file and returns the file's metadata. All
/// names, dtypes and shapes are compared first: on any error, which lists every misfit, nothing was
/// written. Of tied tensors one name in the file is enough; if it has several, they must agree.
Metadata load_into(const std::filesystem::path& path, const NamedTensors& tensors,
                   LoadOptions options = {});
Metadata load_into(const SafetensorsFile& file, const NamedTensors& tensors,
                   LoadOptions options = {});

/// What load_into() checks before it writes: names, dtypes and shapes. StateError lists what
/// differs.
void check_fits(const SafetensorsFile& file, const NamedTensors& tensors, LoadOptions options = {});

/// A generator's place as i64 (3): seed, stream, position. So it takes part in save and load_into.
/// StateError for a position of 2^63 or more, which no generator reaches.
Tensor rng_to_tensor(const Rng& rng);
void rng_from_tensor(Rng& rng, const Tensor& state);

}  // namespace fovea
