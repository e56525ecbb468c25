// Output files of the programs.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace support {

/// A file and the option that names it (used in errors).
struct NamedPath {
  std::string option;
  std::filesystem::path path;  ///< empty: not given
  bool read_again = false;     ///< for outputs: devices and pipes are an error
};
using NamedPaths = std::vector<NamedPath>;

/// The files that a training writes for `--save model`: the model, and `last` unless it is empty.
NamedPaths outputs_of_training(const std::filesystem::path& model,
                               const std::filesystem::path& last);

/// A file of an earlier training, with symbolic links resolved, and its new name.
struct EarlierFile {
  std::filesystem::path path, backup;
};
/// The files that a new training renames: both get the same suffix, the first of .old, .old.2 and
/// so on that is unused for both.
std::vector<EarlierFile> earlier_files(const std::filesystem::path& model,
                                       const std::filesystem::path& last);
/// The new names, which no output may overwrite.
NamedPaths names_of_earlier(const std::filesystem::path& model, const std::filesystem::path& last);
/// The file that --load names, and its checkpoint FILE.last if it exists; none for "".
NamedPaths files_of_model(const std::filesystem::path& model);

/// Error if an output cannot be written (see fovea::check_writable), so that a long run does not
/// fail at its end, and if two of these paths are the same file: one output would overwrite another
/// output, an input or another file. Standard output and standard error count as outputs. Streams
/// such as /dev/stdout or a pipe can be used more than once.
void check_outputs(const NamedPaths& outputs, const NamedPaths& inputs = {});

/// Indented JSON with a final newline. Invalid UTF-8 becomes U+FFFD.
std::string json_text(const nlohmann::ordered_json& json);

}  // namespace support
