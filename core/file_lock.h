// A lock between processes: who writes a file that others may want to write too.
#pragma once

#include <filesystem>
#include <string>
#include <string_view>

namespace fovea {

/// `path` + ".lock", of a link its target's, and short_name() in it (core/files.h).
std::filesystem::path lock_path(std::string_view op, const std::filesystem::path& path);

/// Holds lock_path(path) by flock(2) until it goes out of scope; the file holds this process's id
/// and is removed at the end. A crash leaves the file but not the lock: the next one takes it over.
/// Advisory, and without effect where the file system has no locks.
class FileLock {
 public:
  /// StateError in the name of `op` with the id of the process that holds it.
  FileLock(std::string_view op, const std::filesystem::path& path);
  ~FileLock();
  FileLock(FileLock&& other) noexcept;
  FileLock& operator=(FileLock&&) = delete;

 private:
  std::string name_;
  int fd_ = -1;
};

}  // namespace fovea
