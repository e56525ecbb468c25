// Golden vectors: values and gradients that PyTorch computed and tests/golden/make_golden.py wrote.
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
  nlohmann::json options;  ///< "op", and what else it was called with

  bool has(const std::string& key) const { return file.find(name + "/" + key) != nullptr; }
  Tensor operator[](const std::string& key) const { return file.tensor(name + "/" + key); }
  /// An input, as a leaf that wants a gradient where the file holds one.
  Tensor input(const std::string& key) const;
};

/// Gives every case of tests/golden/<family>.safetensors to the check of its op. An op of the file
/// that has no check fails, and so does a check that the file has no case for.
using GoldenCheck = std::function<void(const GoldenCase&)>;
void check_golden(const std::string& family, const std::map<std::string, GoldenCheck>& checks);

/// Fails the running test unless shapes and types are equal and each number is within
///   tolerance * max(|expected|, scale),    scale = min(1, root mean square of all expected)
/// where tolerance is 1e-5, or 1e-12 for f64: relative to the number itself, but no stricter than
/// to the numbers around it. Where a sum cancels, its rounding error is that of the terms, which
/// are as large as the tensor's usual numbers, or as large as 1 (tanh' = 1 - tanh^2); against what
/// little is left of them even a correctly rounded f32 computation errs by more. The 1 keeps a
/// tensor's few huge numbers from excusing all others. depth: layers one behind another, each of
/// which adds its own rounding; the tolerance is so many times as large.
void check_close(const Tensor& found, const Tensor& expected, const std::string& what,
                 double depth = 1);

/// Gives a module's parameters the values that the file holds under `<name>/param`, which must be
/// these and no others. Returns them under the names of their gradients there, "param.<name>".
NamedTensors load_parameters(const GoldenCase& golden, const NamedTensors& parameters);

/// Compares `outputs` with y0, y1, ... and, after a backward from dy0, dy1, ..., the gradients of
/// `inputs` with `d<name>`.
void check_values_and_gradients(const GoldenCase& golden, const std::vector<Tensor>& outputs,
                                const NamedTensors& inputs, double depth = 1);

}  // namespace fovea::test
