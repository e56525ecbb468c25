// A lock between processes: who writes a file that others may want to write too.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>
#include <sys/types.h>

namespace fovea {

/// ".fovea-NAME.lock" in the folder of `path`, of a link its target's; NAME is short_name(path)
/// (core/files.h).
std::filesystem::path lock_path(std::string_view op, const std::filesystem::path& path);

/// Holds lock_path(path) by flock(2) until it goes out of scope; the file holds this process's id
/// and is removed at the end. A crash leaves the file but not the lock: the next one takes it over.
/// Advisory, and without effect where the file system has no locks. A copy in a forked child holds
/// no lock, and removes nothing.
class FileLock {
 public:
  /// StateError in the name of `op` with the id of the process that holds it, or where the name is
  /// that of a file that is no lock file, which stays as it is.
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
