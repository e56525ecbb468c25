// Reading and writing whole files; a reader never observes a partially written file.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace fovea {

/// The most bytes that are read from a stream without a size: a pipe, a terminal, a file in /proc.
constexpr std::size_t most_stream_bytes = std::size_t{1} << 30;

/// The bytes of a file. Error, with the path and the system's message or the limit: a file must not
/// be larger than system_memory(), a stream not larger than most_stream_bytes. Error for devices
/// other than a terminal and /dev/null.
std::string read_file(const std::filesystem::path& path);

/// All of standard input, within the same limits. Error if it is closed or cannot be read. It may
/// be any device.
std::string read_standard_input();

/// Creates or replaces `path`: afterwards it contains all of `bytes`, even after a power failure,
/// or, on Error, its previous contents. Writes a temporary file in the same directory, readable by
/// its owner only, syncs it, renames it and syncs the directory; an Error of the last step states
/// that the directory may not be on the disk yet. Temporary files of the same name that a killed
/// process left are removed; those of a live process are not.
///
/// If `path` is a symbolic link, its target is replaced. Error for a file without write permission.
/// A stream (see OutputTarget) is written to, never replaced.
void write_file_atomically(const std::filesystem::path& path, std::string_view bytes);

/// The file's name, or its hash if the name is longer than 100 bytes: for the names of lock and
/// temporary files, which would otherwise become too long.
std::string short_name(const std::filesystem::path& path);

/// Renames a file within its directory; durable after a power failure.
void rename_file(const std::filesystem::path& from, const std::filesystem::path& to);

/// A growing text, such as a log. A file is replaced atomically by the whole text; a stream is
/// opened at the first write, stays open, and receives only the new part.
class GrowingText {
 public:
  explicit GrowingText(std::filesystem::path path) : path_(std::move(path)) {}
  ~GrowingText();
  GrowingText(const GrowingText&) = delete;
  GrowingText& operator=(const GrowingText&) = delete;

  /// all: the whole text so far; it begins with the text of the previous call
  void write(std::string_view all);

 private:
  std::filesystem::path path_;
  int stream_ = -1;
  std::size_t written_ = 0;  // bytes written to the stream
};

/// Error if write_file_atomically(path, ...) would fail for a reason that can be detected in
/// advance: no directory, a directory of that name, no permission, a name that is too long, a
/// closed descriptor. Removes temporary files of killed processes. `op` begins the message.
void check_writable(const std::filesystem::path& path, std::string_view op = "check_writable");

/// The file or stream that an output name refers to. Error if symbolic links form a loop or a
/// system call fails.
struct OutputTarget {
  explicit OutputTarget(const std::filesystem::path& name, std::string_view op = "output");

  /// Whether both are the same file under any names: spellings, symbolic links, hard links.
  bool same_file(const OutputTarget& other) const;

  std::filesystem::path path;  ///< with symbolic links resolved
  /// A device, pipe or socket, or an open descriptor (/dev/stdout, /dev/fd/N) of any kind: output
  /// is appended to what was written before.
  bool stream = false;
  int descriptor = -1;  ///< descriptor of a stream that this process has already opened
  bool exists = false;
  mode_t mode = 0;  ///< file mode, if it exists

 private:
  dev_t device_ = 0;
  ino_t inode_ = 0;  // of the file, or of its directory if there is no file yet
};

}  // namespace fovea
