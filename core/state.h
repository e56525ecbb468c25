// State: lists of named tensors, the common protocol of parameters(), save, load and resume. Every
// object that can be saved (a model, an optimizer, a generator) provides such a list and is
// restored from one.
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

/// StateError "op: 'encoder.weight' is undefined" for the first undefined tensor.
void check_defined(std::string_view op, std::span<const std::pair<std::string, Tensor>> tensors);

/// Other contents of a file, as text: options, a vocabulary.
using Metadata = std::map<std::string, std::string>;

/// Appends `more` to `list` with the names "prefix.name": one file can then contain "model.*" and
/// "optimizer.*".
void append(NamedTensors& list, const std::string& prefix, const NamedTensors& more);

/// The tensors of `list`, each once, in the same order: tied weights (several names for the same
/// values) have their first name. ValueError with the name `op` for a name that is listed twice,
/// and for two trainable leaves that share memory, because their gradients are separate.
NamedTensors distinct(std::string_view op, const NamedTensors& list);

/// "nan at 17": the first NaN or infinity in row-major order; "" if all values are finite.
std::string non_finite(const Tensor& tensor);

/// Writes a safetensors file atomically, with checksums (core/safetensors.h).
void save(const std::filesystem::path& path, const NamedTensors& tensors,
          const Metadata& metadata = {});

struct LoadOptions {
  bool strict = true;   ///< false: ignore names that only the file or only the list has
  bool finite = false;  ///< true: NonFiniteError for a NaN or an infinity in the file, except for
                        ///< tensors that contain one already, such as an additive mask
  /// Called for each name before any tensor is overwritten; may throw to reject the file.
  std::function<void(const std::string& name, const Tensor& value)> check = {};
};

/// Overwrites the values of `tensors` with those of the file and returns the file's metadata. All
/// names, dtypes and shapes are compared first: an error lists the mismatches, and nothing is
/// written. For tied tensors one name in the file is enough; if it has several, the values must be
/// equal.
Metadata load_into(const std::filesystem::path& path, const NamedTensors& tensors,
                   LoadOptions options = {});
Metadata load_into(const SafetensorsFile& file, const NamedTensors& tensors,
                   LoadOptions options = {});

/// The checks of load_into() without writing: names, dtypes and shapes. StateError lists the
/// mismatches.
void check_fits(const SafetensorsFile& file, const NamedTensors& tensors, LoadOptions options = {});

/// The state of a generator as i64 (3): seed, stream, position, for save and load_into. StateError
/// for a position of 2^63 or more, which no generator reaches.
Tensor rng_to_tensor(const Rng& rng);
void rng_from_tensor(Rng& rng, const Tensor& state);

}  // namespace fovea
