#include <fovea/core/error.h>
#include <fovea/core/files.h>
#include <fovea/core/storage.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <dirent.h>
#include <fcntl.h>
#include <iostream>
#include <memory>
#include <new>
#include <optional>
#include <stdexcept>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>
#include <utility>

#include <linux/magic.h>

namespace fovea {
namespace {

namespace fs = std::filesystem;

[[noreturn]] void system_error(std::string_view op, const fs::path& path, int error = errno) {
  raise<Error>(op, "{}: {}", path.string(), std::strerror(error));
}

// Retries a system call that a signal interrupted.
template <class Call>
auto retried(const Call& call) {
  auto result = call();
  while (result == -1 && errno == EINTR) result = call();
  return result;
}

// Owner of an open file descriptor.
class Descriptor {
 public:
  explicit Descriptor(int fd = -1) : fd_(fd) {}
  Descriptor(Descriptor&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept {
    std::swap(fd_, other.fd_);
    return *this;
  }
  ~Descriptor() {
    const int saved = errno;  // of the failed call, for the message
    if (fd_ >= 0) ::close(fd_);
    errno = saved;
  }

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }
  int release() { return std::exchange(fd_, -1); }

 private:
  int fd_;
};

Descriptor open_file(const fs::path& path, int flags, mode_t mode = 0) {
  return Descriptor(retried([&] { return ::open(path.c_str(), flags | O_CLOEXEC, mode); }));
}

bool renamed(const fs::path& from, const fs::path& to) {
  return retried([&] { return ::rename(from.c_str(), to.c_str()); }) == 0;
}

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = retried([&] { return ::write(fd, bytes.data(), bytes.size()); });
    if (written < 0) return false;
    if (written == 0) return errno = EIO, false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

void check_size(std::size_t size, std::size_t limit, const fs::path& name) {
  if (size > limit)
    raise<Error>("read_file", "{}: size = {} bytes: must be at most {}", name.string(), size,
                 limit);
}

std::string read_to_end(int fd, std::size_t expected, const fs::path& name) {
  const std::size_t limit = expected > 0 ? system_memory() : most_stream_bytes;
  check_size(expected, limit, name);
  std::string bytes(expected + 1, '\0');
  std::size_t size = 0;
  while (true) {  // until the end: a pipe has no size, and a file may grow
    if (size == bytes.size()) bytes.resize(size + (size < 4096 ? 4096 : size / 2));
    const ssize_t got =
        retried([&] { return ::read(fd, bytes.data() + size, bytes.size() - size); });
    if (got < 0) system_error("read_file", name);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
    check_size(size, limit, name);
  }
  bytes.resize(size);
  return bytes;
}

std::string read_all(int fd, const fs::path& name) {
  struct stat info;
  if (::fstat(fd, &info) != 0) system_error("read_file", name);
  const std::size_t expected = S_ISREG(info.st_mode) ? static_cast<std::size_t>(info.st_size) : 0;
  try {
    return read_to_end(fd, expected, name);
  } catch (const std::bad_alloc&) {
    system_error("read_file", name, ENOMEM);
  } catch (const std::length_error&) {
    system_error("read_file", name, ENOMEM);
  }
}

// Rejects devices such as /dev/zero, which has no end, or a disk.
void check_no_device(int fd, const fs::path& name) {
  struct stat info, null;
  if (::fstat(fd, &info) != 0 || !(S_ISCHR(info.st_mode) || S_ISBLK(info.st_mode))) return;
  const bool is_null = ::stat("/dev/null", &null) == 0 && S_ISCHR(null.st_mode) &&
                       S_ISCHR(info.st_mode) && info.st_rdev == null.st_rdev;
  if (!is_null && ::isatty(fd) == 0)
    raise<Error>("read_file", "{} is a device: must be a file, a pipe or a terminal",
                 name.string());
}

// --- temporary files -----------------------------------------------------------------------------

fs::path folder_of(const fs::path& path) {
  return path.has_parent_path() ? path.parent_path() : fs::path(".");
}

constexpr std::size_t suffix_size = 6;

// ".fovea-NAME-"; six random characters follow.
std::string temporary_prefix(const fs::path& path) { return ".fovea-" + short_name(path) + "-"; }

std::string random_suffix(unsigned attempt) {
  constexpr std::string_view digits = "abcdefghijklmnopqrstuvwxyz0123456789";
  auto number = static_cast<std::uint64_t>(
      std::chrono::steady_clock::now().time_since_epoch().count() + 7919LL * ::getpid() + attempt);
  std::string suffix(suffix_size, ' ');
  for (char& c : suffix) {
    number = number * 6364136223846793005 + 1442695040888963407;
    c = digits[(number >> 33) % digits.size()];
  }
  return suffix;
}

// A new file in the directory of `path`, locked by its writer and removed unless it is renamed.
class TemporaryFile {
 public:
  TemporaryFile(const fs::path& path, mode_t mode, std::string_view op) {
    for (unsigned attempt = 0;; ++attempt) {
      name_ = folder_of(path) / (temporary_prefix(path) + random_suffix(attempt));
      fd_ = open_file(name_, O_WRONLY | O_CREAT | O_EXCL, mode);
      if (!fd_.is_open() && errno == EEXIST) continue;
      if (!fd_.is_open()) system_error(op, path);
      // Retry if another process removed it as abandoned before it was locked.
      if (lock() && linked()) return;
    }
  }
  ~TemporaryFile() {
    const int saved = errno;
    if (!renamed_) ::unlink(name_.c_str());
    errno = saved;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  int get() const { return fd_.get(); }
  bool rename_to(const fs::path& path) { return renamed_ = renamed(name_, path); }

 private:
  // True on a file system without locks, too: there remove_if_abandoned() removes nothing.
  bool lock() const {
    return retried([&] { return ::flock(get(), LOCK_EX | LOCK_NB); }) == 0 || errno != EWOULDBLOCK;
  }
  bool linked() const {
    struct stat info;
    return ::fstat(get(), &info) != 0 || info.st_nlink > 0;
  }

  fs::path name_;
  Descriptor fd_;
  bool renamed_ = false;
};

// If the lock is free, the writer was killed.
void remove_if_abandoned(const fs::path& path) {
  const Descriptor fd = open_file(path, O_RDWR | O_NOFOLLOW | O_NONBLOCK);
  if (fd.is_open() && retried([&] { return ::flock(fd.get(), LOCK_EX | LOCK_NB); }) == 0)
    ::unlink(path.c_str());
}

void remove_abandoned(const fs::path& path) {
  const fs::path folder = folder_of(path);
  const std::string prefix = temporary_prefix(path);
  const std::unique_ptr<DIR, int (*)(DIR*)> entries(::opendir(folder.c_str()), ::closedir);
  if (!entries) return;  // the directory is writable but not readable
  while (const dirent* entry = ::readdir(entries.get())) {
    const std::string_view name = entry->d_name;
    if (name.size() == prefix.size() + suffix_size && name.starts_with(prefix) &&
        name.find('.', prefix.size()) == name.npos)  // not ".fovea-NAME-x.lock"
      remove_if_abandoned(folder / name);
  }
}

// A rename is durable once the directory is synced. If the directory is unreadable, only the file
// can be synced; some file systems cannot sync directories (EINVAL, ENOTSUP).
void sync_folder(const fs::path& folder, int file, std::string_view op) {
  const Descriptor fd = open_file(folder, O_RDONLY | O_DIRECTORY);
  if (!fd.is_open() && errno != EACCES) system_error(op, folder);
  const int result = retried([&] { return ::fsync(fd.is_open() ? fd.get() : file); });
  if (result != 0 && errno != EINVAL && errno != ENOTSUP) system_error(op, folder);
}

// The mode of a new file by the umask or the directory's access control list.
mode_t mode_of_new_file(const fs::path& path, std::string_view op) {
  const TemporaryFile empty(path, 0666, op);
  struct stat info;
  if (::fstat(empty.get(), &info) != 0) system_error(op, path);
  return info.st_mode & 0777;
}

void check_target(const OutputTarget& target, std::string_view op) {
  if (target.descriptor >= 0) {
    const int flags = ::fcntl(target.descriptor, F_GETFL);
    if (flags < 0 || (flags & O_ACCMODE) == O_RDONLY) system_error(op, target.path, EBADF);
    return;
  }
  if (!target.exists) return;
  if (S_ISDIR(target.mode)) system_error(op, target.path, EISDIR);
  if (::access(target.path.c_str(), W_OK) != 0) system_error(op, target.path);
  // access() always succeeds for the superuser; a file without any write permission is protected.
  if (!target.stream && (target.mode & 0222) == 0) system_error(op, target.path, EACCES);
}

Descriptor open_stream(const OutputTarget& target, std::string_view op) {
  const int given = target.descriptor;
  if (given == STDOUT_FILENO) {  // keep the order with buffered output
    std::cout.flush();
    std::fflush(stdout);
  }
  Descriptor fd = given >= 0 ? Descriptor(::fcntl(given, F_DUPFD_CLOEXEC, 0))
                             : open_file(target.path, O_WRONLY | O_APPEND | O_NOCTTY);
  if (!fd.is_open()) system_error(op, target.path);
  return fd;
}

void replace_file(const OutputTarget& target, std::string_view bytes, std::string_view op) {
  remove_abandoned(target.path);
  const mode_t mode = target.exists ? target.mode & 07777 : mode_of_new_file(target.path, op);
  TemporaryFile temporary(target.path, 0600, op);
  const int fd = temporary.get();
  if (!write_all(fd, bytes) || retried([&] { return ::fsync(fd); }) != 0 ||
      retried([&] { return ::fchmod(fd, mode); }) != 0 || !temporary.rename_to(target.path))
    system_error(op, target.path);
  sync_folder(folder_of(target.path), fd, op);
}

// --- the target of a name ------------------------------------------------------------------------

// Links in /proc are not file names: /proc/self/fd/1 refers to an open file or to "pipe:[7]".
bool in_proc(const fs::path& path) {
  struct statfs info;
  return ::statfs(folder_of(path).c_str(), &info) == 0 && info.f_type == PROC_SUPER_MAGIC;
}

int own_descriptor(const fs::path& path) {
  const std::string name = path.filename().string();
  std::error_code ignored;
  if (name.empty() || name.size() > 9 || name.find_first_not_of("0123456789") != name.npos ||
      !fs::equivalent(folder_of(path), "/proc/self/fd", ignored))
    return -1;
  return std::stoi(name);
}

}  // namespace

OutputTarget::OutputTarget(const fs::path& name, std::string_view op) : path(name) {
  constexpr int most_links = 40;  // the limit of Linux
  struct stat info;
  for (int links = 0;; ++links) {
    if (in_proc(path)) {
      stream = true;
      descriptor = own_descriptor(path);
      break;
    }
    if (::lstat(path.c_str(), &info) != 0 || !S_ISLNK(info.st_mode)) break;
    if (links == most_links) system_error(op, name, ELOOP);
    std::error_code error;
    const fs::path next = fs::read_symlink(path, error);
    if (error) system_error(op, name, error.value());
    path = next.is_absolute() ? next : path.parent_path() / next;
  }
  const int result = descriptor >= 0 ? ::fstat(descriptor, &info) : ::stat(path.c_str(), &info);
  exists = result == 0;
  if (!exists && errno != ENOENT) system_error(op, name);
  if (exists) {
    mode = info.st_mode;
    stream = stream || !(S_ISREG(mode) || S_ISDIR(mode));
  } else if (::stat(folder_of(path).c_str(), &info) != 0) {
    system_error(op, name);
  }
  device_ = info.st_dev;
  inode_ = info.st_ino;
}

bool OutputTarget::same_file(const OutputTarget& other) const {
  return exists == other.exists && device_ == other.device_ && inode_ == other.inode_ &&
         (exists || path.filename() == other.path.filename());
}

std::string short_name(const fs::path& path) {
  constexpr std::size_t longest = 100;
  const std::string name = path.filename().string();
  if (name.size() <= longest) return name;
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  return fmt::format("{:016x}", hash);
}

std::string read_file(const fs::path& path) {
  const Descriptor fd = open_file(path, O_RDONLY | O_NOCTTY);
  if (!fd.is_open()) system_error("read_file", path);
  check_no_device(fd.get(), path);
  return read_all(fd.get(), path);
}

std::string read_standard_input() { return read_all(STDIN_FILENO, "standard input"); }

void write_file_atomically(const fs::path& path, std::string_view bytes) {
  constexpr std::string_view op = "write_file_atomically";
  const OutputTarget target(path, op);
  check_target(target, op);
  if (!target.stream) return replace_file(target, bytes, op);
  const Descriptor fd = open_stream(target, op);
  if (!write_all(fd.get(), bytes)) system_error(op, path);
}

void rename_file(const fs::path& from, const fs::path& to) {
  constexpr std::string_view op = "rename_file";
  const Descriptor fd = open_file(from, O_RDONLY);
  if (!fd.is_open() || !renamed(from, to)) system_error(op, from);
  sync_folder(folder_of(to), fd.get(), op);
}

GrowingText::~GrowingText() {
  if (stream_ >= 0) ::close(stream_);
}

void GrowingText::write(std::string_view all) {
  constexpr std::string_view op = "write";
  if (stream_ < 0) {
    const OutputTarget target(path_, op);
    if (!target.stream) return write_file_atomically(path_, all);
    check_target(target, op);
    stream_ = open_stream(target, op).release();
  }
  if (!write_all(stream_, all.substr(std::min(written_, all.size())))) system_error(op, path_);
  written_ = all.size();
}

void check_writable(const fs::path& path, std::string_view op) {
  const OutputTarget target(path, op);
  check_target(target, op);
  if (target.stream) return;
  remove_abandoned(target.path);
  const TemporaryFile trial(target.path, 0600, op);
}

}  // namespace fovea
