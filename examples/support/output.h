// The files that a program is to write.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include <nlohmann/json_fwd.hpp>

namespace support {

/// A file and the option that names it, as errors call it.
struct NamedPath {
  std::string option;
  std::filesystem::path path;  ///< empty: not given
  bool read_again = false;     ///< of an output: a device or a pipe is refused
};
using NamedPaths = std::vector<NamedPath>;

/// What a training writes for `--save model`: the model, and `last` where there is one.
NamedPaths outputs_of_training(const std::filesystem::path& model,
                               const std::filesystem::path& last);

/// A file that an earlier training left, with links followed, and its name from now on.
struct EarlierFile {
  std::filesystem::path path, backup;
};
/// What a new training renames: both files get the same ending, the first of .old, .old.2 and so on
/// that neither has.
std::vector<EarlierFile> earlier_files(const std::filesystem::path& model,
                                       const std::filesystem::path& last);
/// Their backups, which no output may overwrite.
NamedPaths names_of_earlier(const std::filesystem::path& model, const std::filesystem::path& last);
/// The file that --load names, and its checkpoint FILE.last where there is one; none for "".
NamedPaths files_of_model(const std::filesystem::path& model);

/// Error where an output cannot be written (see fovea::check_writable), before hours are spent on
/// its content, and where a file has two of these names: one output would replace the other, or an
/// input or another file that is to stay. Standard output and standard error are outputs too.
/// Streams such as /dev/stdout or a pipe may be named more than once.
void check_outputs(const NamedPaths& outputs, const NamedPaths& inputs = {});

/// Indented, with a line end. What is not valid UTF-8 becomes U+FFFD.
std::string json_text(const nlohmann::ordered_json& json);

}  // namespace support
