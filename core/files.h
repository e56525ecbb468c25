// Whole files in and out, so that a reader never sees half a file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace fovea {

/// Bytes that are read at most of what has no size: a pipe, a terminal, a file in /proc.
constexpr std::size_t most_stream_bytes = std::size_t{1} << 30;

/// The bytes of a file. Error names the path and what the system said, or the limit: a file must
/// not be larger than system_memory(), a stream than most_stream_bytes. A device is refused unless
/// it is a terminal or /dev/null.
std::string read_file(const std::filesystem::path& path);

/// All of standard input, to its end, within the same limits. Error where it is closed or cannot be
/// read. It may be any device.
std::string read_standard_input();

/// Replaces or makes `path`: afterwards it holds all of `bytes`, also after a power cut, or (Error)
/// what it held before. Writes a temporary file in the same folder, which only its owner can read,
/// syncs it, renames it and syncs the folder; an Error of the last step says that the folder may
/// not be on the disk yet. Temporary files that a killed process left of the same name are removed;
/// those of a process that is alive are not.
///
/// Of a symbolic link the target is replaced. A file without write permission is refused. A stream
/// (see OutputTarget) is written to and never replaced.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// The file's name, or a hash of it where it is longer than 100 bytes: for the names of files that
/// belong to it, which would become too long.
std::string short_name(const std::filesystem::path& path);

/// Gives a file another name in its folder, also after a power cut.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// A text that grows, such as a log. A file is replaced, atomically, by all of it; a stream is
/// opened at the first write, stays open, and gets only what is new.
class GrowingText {
 public:
  explicit GrowingText(std::filesystem::path path) : path_(std::move(path)) {}
  ~GrowingText();
  GrowingText(const GrowingText&) = delete;
  GrowingText& operator=(const GrowingText&) = delete;

  /// all: the text so far, which begins with that of the last call
  void write(std::string_view all);

 private:
  std::filesystem::path path_;
  int stream_ = -1;
  std::size_t written_ = 0;  // to the stream
};

/// Error where write_file_atomically(path, ...) would fail for a reason that can be known before:
/// no folder, a folder of that name, no permission, a name that is too long, a closed descriptor.
/// Removes temporary files of killed processes. `op` begins the error's text.
void check_writable(const std::filesystem::path& path, std::string_view op = "check_writable");

/// The target of the name of an output. Error where links form a loop or the system refuses.
struct OutputTarget {
  explicit OutputTarget(const std::filesystem::path& name, std::string_view op = "output");

  /// Whether both are one file, by any names: other spellings, symbolic links, hard links.
  bool same_file(const OutputTarget& other) const;

  std::filesystem::path path;  ///< symbolic links followed
  /// A device, pipe or socket, or an open descriptor (/dev/stdout, /dev/fd/N) of any kind: what is
  /// written follows what was written before.
  bool stream = false;
  int descriptor = -1;  ///< of a stream that this process has open already
  bool exists = false;
  mode_t mode = 0;  ///< of what exists

 private:
  dev_t device_ = 0;
  ino_t inode_ = 0;  // of the file; of its folder where there is no file yet
};

}  // namespace fovea
