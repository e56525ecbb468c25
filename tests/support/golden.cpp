#include <fovea/core/autograd.h>
#include <fovea/tests/support/golden.h>

#include <algorithm>
#include <cmath>
#include <set>

#include <doctest/doctest.h>

namespace fovea::test {
namespace {

double root_mean_square(const std::vector<double>& numbers) {
  double sum = 0;
  for (const double number : numbers) sum += number * number;
  return std::sqrt(sum / static_cast<double>(std::max<std::size_t>(numbers.size(), 1)));
}

}  // namespace

Tensor GoldenCase::input(const std::string& key) const {
  Tensor x = (*this)[key];
  if (has("d" + key)) x.set_requires_grad();
  return x;
}

void check_golden(const std::string& family, const std::map<std::string, GoldenCheck>& checks) {
  const auto file = SafetensorsFile::read(FOVEA_GOLDEN_DIR "/" + family + ".safetensors");
  std::set<std::string> seen;
  for (const auto& [name, text] : file.metadata()) {
    if (name == "torch") continue;  // its version
    const GoldenCase golden{file, name, nlohmann::json::parse(text)};
    CAPTURE(golden.name);
    const auto check = checks.find(golden.options.at("op"));
    REQUIRE(check != checks.end());
    seen.insert(check->first);
    check->second(golden);
  }
  CHECK(seen.size() == checks.size());
}

void check_close(const Tensor& found, const Tensor& expected, const std::string& what,
                 double depth) {
  CAPTURE(what);
  REQUIRE(found.defined());
  REQUIRE(found.shape().str() == expected.shape().str());
  REQUIRE(found.dtype() == expected.dtype());
  const auto a = found.to_vector<double>(), b = expected.to_vector<double>();
  const double tolerance = depth * (found.dtype() == DType::f64 ? 1e-12 : 1e-5);
  const double scale = std::min(1.0, root_mean_square(b));
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (std::abs(a[i] - b[i]) <= tolerance * std::max(std::abs(b[i]), scale)) continue;
    FAIL_CHECK("element " << i << " is " << a[i] << ", expected " << b[i]);  // also for NaN
    return;
  }
}

NamedTensors load_parameters(const GoldenCase& golden, const NamedTensors& parameters) {
  const std::string prefix = golden.name + "/";
  NamedTensors named;
  append(named, prefix + "param", parameters);
  load_into(golden.file, named, {.strict = false});  // the file contains other cases, too
  const auto& entries = golden.file.entries();
  const auto in_file = std::count_if(
      entries.begin(), entries.end(),
      [&](const SafetensorsEntry& entry) { return entry.name.starts_with(prefix + "param."); });
  REQUIRE(in_file == static_cast<std::ptrdiff_t>(named.size()));
  for (auto& [name, value] : named) {
    REQUIRE(golden.file.find(name) != nullptr);
    name.erase(0, prefix.size());
  }
  return named;
}

void check_values_and_gradients(const GoldenCase& golden, const std::vector<Tensor>& outputs,
                                const NamedTensors& inputs, double depth) {
  std::vector<Tensor> differentiated, seeds;
  for (std::size_t i = 0; i < outputs.size(); ++i) {
    const std::string number = std::to_string(i);
    check_close(outputs[i], golden["y" + number], "y" + number, depth);
    if (!golden.has("dy" + number)) continue;
    differentiated.push_back(outputs[i]);
    seeds.push_back(golden["dy" + number]);
  }
  CHECK_FALSE(golden.has("y" + std::to_string(outputs.size())));  // no output is missing

  std::vector<std::string> names;
  std::vector<Tensor> leaves;
  for (const auto& [key, leaf] : inputs) {
    if (!golden.has("d" + key)) continue;
    names.push_back("d" + key);
    leaves.push_back(leaf);
  }
  if (leaves.empty()) return;
  const std::vector<Tensor> gradients = grad(differentiated, leaves, seeds);
  for (std::size_t i = 0; i < names.size(); ++i)
    check_close(gradients[i], golden[names[i]], names[i], depth);
}

}  // namespace fovea::test
