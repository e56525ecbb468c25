// A lock between processes that may write the same file.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace fovea {

/// ".fovea-NAME.lock" in the directory of `path` (for a symbolic link, of its target); NAME is
/// short_name(path) (core/files.h).
std::filesystem::path lock_path(std::string_view op, const std::filesystem::path& path);

/// Locks lock_path(path) with flock(2) until the end of the scope. The lock file contains the id of
/// this process and is removed at the end. After a crash the file remains without a lock, and the
/// next process takes it over. The lock is advisory, and has no effect on file systems without
/// locks. The copy in a forked child holds no lock and removes nothing.
class FileLock {
 public:
  /// StateError with the name `op` if another process holds the lock (with its id), or if a file of
  /// this name exists that is not a lock file; that file is not changed.
  FileLock(std::string_view op, const std::filesystem::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;

 private:
  std::string name_;
  pid_t owner_;
  int fd_ = -1;
};

}  // namespace fovea
