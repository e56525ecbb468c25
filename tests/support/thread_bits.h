// Training with different numbers of threads, which must give the same bits.
#pragma once

#include <fovea/core/safetensors.h>
#include <fovea/core/threads.h>
#include <fovea/optim/trainer.h>

#include <filesystem>
#include <string>
#include <unistd.h>

#include <doctest/doctest.h>
#include <fmt/core.h>

namespace fovea::test {

/// The names that only one list has, or whose tensors differ in a bit; "" if there are none.
inline std::string differences(const NamedTensors& a, const NamedTensors& b) {
  std::string names = a.size() == b.size() ? "" : fmt::format("{} and {}", a.size(), b.size());
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    // Compares name, type, shape and values, including NaN, as bytes of the file format.
    if (to_safetensors({a[i]}) != to_safetensors({b[i]})) names += " " + a[i].first;
  return names;
}

/// train() returns the complete final state of a training, from the same start each time.
template <class Train>
void check_same_for_any_threads(const Train& train) {
  const int before = num_threads();
  set_num_threads(1);
  const NamedTensors one = train();
  REQUIRE(!one.empty());
  for (const int threads : {2, 3, 4, 8}) {
    CAPTURE(threads);
    set_num_threads(threads);
    CHECK(differences(train(), one) == "");
  }
  set_num_threads(before);
}

/// A directory for checkpoints; removed at the end.
class Folder {
 public:
  explicit Folder(const std::string& name)
      : path_(std::filesystem::temp_directory_path() / fmt::format("{}-{}", name, getpid())) {
    std::filesystem::create_directories(path_);
  }
  ~Folder() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  Folder(const Folder&) = delete;
  Folder& operator=(const Folder&) = delete;

  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// The state that --resume reads: model, optimizer, average, generators, position; without times.
inline NamedTensors checkpoint(const std::filesystem::path& last) {
  const SafetensorsFile file = SafetensorsFile::read(last);
  NamedTensors all;
  for (const SafetensorsEntry& entry : file.entries())
    if (!entry.name.ends_with(".figures")) all.emplace_back(entry.name, file.tensor(entry.name));
  return all;
}

/// Its metrics without times. A loss is a running mean of the losses of all steps.
inline NamedTensors figures(const optim::TrainingResult& result) {
  std::vector<double> numbers;
  for (const optim::Progress& p : result.history)
    numbers.insert(numbers.end(), {p.loss, p.gradient_norm, p.learning_rate, p.validation, p.best});
  const std::int64_t count = std::ssize(numbers);
  return {{"figures", from_data(numbers, {count})}};
}

}  // namespace fovea::test
