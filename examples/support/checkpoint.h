// Loading of untrusted checkpoints: the contents are checked before a model is allocated. Loading
// needs memory for the file, the model and its copies: at most four times the file size for the
// tensors, and 64 times the size of the vocabularies' text.
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

/// Reads a file written by --save. Error unless it is a regular file (a device may have no end),
/// FormatError for damaged or other files.
fovea::SafetensorsFile read_checkpoint(const std::filesystem::path& path,
                                       const std::string& program);

/// The metadata value of `key`. FormatError if it is missing.
const std::string& metadata_text(const fovea::SafetensorsFile& file, const std::string& key);

/// The vocabulary in the metadata value of `key`. FormatError unless its number of tokens equals
/// the number of rows of the tensor `table`.
fovea::nn::data::Vocab read_vocab(const fovea::SafetensorsFile& file, const std::string& key,
                                  const std::string& table);

/// A model's options, a JSON object in the file's metadata. FormatError with file and key for a
/// value that is missing, of the wrong type or out of range.
class SavedOptions {
 public:
  /// source: name of the file in errors
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

/// Compares the file's tensors with those that `tensors_of_new_model` returns in a dry run, which
/// needs almost no memory. StateError lists the differences.
void compare_tensors(const fovea::SafetensorsFile& file,
                     const std::function<fovea::NamedTensors(fovea::Rng&)>& tensors_of_new_model);

}  // namespace support
