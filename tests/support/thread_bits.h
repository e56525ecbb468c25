// Trainings on several numbers of threads, which must leave the same bits.
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

/// The names that only one list has, or whose tensors differ in a bit; "" where there are none.
inline std::string differences(const NamedTensors& a, const NamedTensors& b) {
  std::string names = a.size() == b.size() ? "" : fmt::format("{} and {}", a.size(), b.size());
  for (std::size_t i = 0; i < std::min(a.size(), b.size()); ++i)
    // The file format holds name, type, shape and numbers, NaN too, as bytes.
    if (to_safetensors({a[i]}) != to_safetensors({b[i]})) names += " " + a[i].first;
  return names;
}

/// train() gives all that a training ends with, each time from the same start.
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

/// Where a program may keep its checkpoints; gone at the end.
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

/// What --resume would read: model, optimiser, average, generators, place. Without its times.
inline NamedTensors checkpoint(const std::filesystem::path& last) {
  const SafetensorsFile file = SafetensorsFile::read(last);
  NamedTensors all;
  for (const SafetensorsEntry& entry : file.entries())
    if (!entry.name.ends_with(".figures")) all.emplace_back(entry.name, file.tensor(entry.name));
  return all;
}

/// And what its figures say but for the times. A loss here is a running mean of all steps' losses.
inline NamedTensors figures(const optim::TrainingResult& result) {
  std::vector<double> numbers;
  for (const optim::Progress& p : result.history)
    numbers.insert(numbers.end(), {p.loss, p.gradient_norm, p.learning_rate, p.validation, p.best});
  const std::int64_t count = std::ssize(numbers);
  return {{"figures", from_data(numbers, {count})}};
}

}  // namespace fovea::test
