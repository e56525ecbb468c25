// Checkpoints that a program is asked to load: whatever the file says is checked before a model is
// allocated. Loading takes the file's bytes, and the model's and its copies' beside them: at most
// four times the file's size for the tensors, and 64 times that of the vocabularies' text.
#pragma once

#include <fovea/core/safetensors.h>
#include <fovea/examples/support/numbers.h>
#include <fovea/nn/data/vocab.h>

#include <functional>
#include <memory>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace fovea {
class Rng;
}

namespace support {

/// Reads a file that --save wrote. It must be a regular file: a device has no end. Error,
/// FormatError.
fovea::SafetensorsFile read_checkpoint(const std::filesystem::path& path,
                                       const std::string& program);

/// The text under `key` of the file's metadata. FormatError where there is none.
const std::string& metadata_text(const fovea::SafetensorsFile& file, const std::string& key);

/// The vocabulary under `key`, of as many tokens as the tensor `table` has rows. FormatError.
fovea::nn::data::Vocab read_vocab(const fovea::SafetensorsFile& file, const std::string& key,
                                  const std::string& table);

/// A model's options, a JSON object in the file's metadata. FormatError names the file and the key
/// of what is missing, of another type or out of its range.
class SavedOptions {
 public:
  /// source: the name of the file in errors
  SavedOptions(const std::string& json, std::string source);
  SavedOptions(const fovea::SafetensorsFile& file, const std::string& key)
      : SavedOptions(metadata_text(file, key), file.source()) {}

  bool has(const std::string& key) const;
  /// T: std::int64_t, std::uint64_t or double
  template <class T>
  T number(const std::string& key, const std::type_identity_t<Range<T>>& range) const;
  std::string text(const std::string& key) const;
  /// One of the names.
  std::string choice(const std::string& key, const std::vector<std::string>& names) const;
  bool flag(const std::string& key) const;
  bool is_flag(const std::string& key) const;

 private:
  const nlohmann::json& at(const std::string& key) const;
  [[noreturn]] void refuse(const std::string& key, const std::string& rule) const;

  std::shared_ptr<const nlohmann::json> json_;
  std::string source_;
};

/// Compares the file's tensors with those that `tensors_of_new_model` gives in a dry run, which
/// takes hardly any memory. StateError lists what differs.
void compare_tensors(const fovea::SafetensorsFile& file,
                     const std::function<fovea::NamedTensors(fovea::Rng&)>& tensors_of_new_model);

}  // namespace support
