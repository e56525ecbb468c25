// Golden vectors: values and gradients by PyTorch, written by tests/golden/make_golden.py.
#pragma once

#include <fovea/core/safetensors.h>
#include <fovea/core/state.h>
#include <fovea/core/tensor.h>

#include <functional>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

namespace fovea::test {

/// One case of a golden file: `name/x0` is an input, `y0` an output, `dy0` and `dx0` gradients.
struct GoldenCase {
  const SafetensorsFile& file;
  std::string name;
  nlohmann::json options;  ///< "op" and its other arguments

  bool has(const std::string& key) const { return file.find(name + "/" + key) != nullptr; }
  Tensor operator[](const std::string& key) const { return file.tensor(name + "/" + key); }
  /// An input, as a leaf that requires a gradient if the file has one.
  Tensor input(const std::string& key) const;
};

/// Runs the check of its op on every case of tests/golden/<family>.safetensors. Fails for an op of
/// the file without a check, and for a check without a case in the file.
using GoldenCheck = std::function<void(const GoldenCase&)>;
void check_golden(const std::string& family, const std::map<std::string, GoldenCheck>& checks);

/// Fails the running test unless shapes and types are equal and each element is within
///   tolerance * max(|expected|, scale),    scale = min(1, root mean square of all expected)
/// where tolerance is 1e-5, or 1e-12 for f64: relative to the element, but not stricter than
/// relative to the typical element. When terms cancel in a sum, its rounding error is that of the
/// terms, which are as large as typical elements of the tensor, or about 1 (tanh' = 1 - tanh^2);
/// relative to the small sum, even a correctly rounded f32 computation exceeds the tolerance. The
/// limit 1 prevents a few huge elements from hiding errors of all others. depth: the number of
/// stacked layers, each of which adds rounding errors; it multiplies the tolerance.
void check_close(const Tensor& found, const Tensor& expected, const std::string& what,
                 double depth = 1);

/// Sets a module's parameters to the values in the file under `<name>/param`; the names must be the
/// same. Returns the parameters under the names of their gradients in the file, "param.<name>".
NamedTensors load_parameters(const GoldenCase& golden, const NamedTensors& parameters);

/// Compares `outputs` with y0, y1, ... and, after a backward with seeds dy0, dy1, ..., the
/// gradients of `inputs` with `d<name>`.
void check_values_and_gradients(const GoldenCase& golden, const std::vector<Tensor>& outputs,
                                const NamedTensors& inputs, double depth = 1);

}  // namespace fovea::test
