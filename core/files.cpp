#include <fovea/core/error.h>
#include <fovea/core/files.h>

#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

namespace fovea {
namespace {

[[noreturn]] void system_error(std::string_view op, const std::filesystem::path& path) {
  raise<Error>(op, "{}: {}", path.string(), std::strerror(errno));
}

// An open file descriptor, closed when it goes out of scope.
class Descriptor {
 public:
  explicit Descriptor(int fd) : fd_(fd) {}
  ~Descriptor() {
    if (fd_ >= 0) ::close(fd_);
  }
  Descriptor(const Descriptor&) = delete;
  Descriptor& operator=(const Descriptor&) = delete;

  bool is_open() const { return fd_ >= 0; }
  int get() const { return fd_; }

 private:
  int fd_;
};

// Removes the temporary file unless it was renamed; errno stays as it was for the error's text.
class TemporaryFile {
 public:
  explicit TemporaryFile(std::string name) : name_(std::move(name)) {}
  ~TemporaryFile() {
    const int saved = errno;
    if (!renamed_) ::unlink(name_.c_str());
    errno = saved;
  }
  TemporaryFile(const TemporaryFile&) = delete;
  TemporaryFile& operator=(const TemporaryFile&) = delete;

  bool rename_to(const std::filesystem::path& path) {
    renamed_ = ::rename(name_.c_str(), path.c_str()) == 0;
    return renamed_;
  }

 private:
  std::string name_;
  bool renamed_ = false;
};

bool write_all(int fd, std::string_view bytes) {
  while (!bytes.empty()) {
    const ssize_t written = ::write(fd, bytes.data(), bytes.size());
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return false;
    bytes.remove_prefix(static_cast<std::size_t>(written));
  }
  return true;
}

// mkstemp makes private files; the new file gets the permissions of the one that it replaces, or
// those of any new file.
mode_t permissions_for(const std::filesystem::path& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) == 0) return info.st_mode & 07777;
  const mode_t mask = ::umask(0);
  ::umask(mask);
  return 0666 & ~mask;
}

// A rename is on the disk once the folder is. Not every file system lets a folder be synced; the
// file is complete either way.
void sync_folder(const std::filesystem::path& folder) {
  const Descriptor fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.is_open()) ::fsync(fd.get());
}

// What a symbolic link leads to, so that the link stays and its target is replaced.
std::filesystem::path behind_links(const std::filesystem::path& path) {
  std::error_code none;
  if (!std::filesystem::is_symlink(path, none)) return path;
  return std::filesystem::weakly_canonical(path);
}

// A device or a pipe: it is written to, not replaced.
bool is_special(const std::filesystem::path& path) {
  std::error_code none;
  const std::filesystem::file_status status = std::filesystem::status(path, none);
  return std::filesystem::is_character_file(status) || std::filesystem::is_block_file(status) ||
         std::filesystem::is_fifo(status) || std::filesystem::is_socket(status);
}

}  // namespace

std::string read_file(const std::filesystem::path& path) {
  const Descriptor fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd.is_open()) system_error("read_file", path);
  struct stat info;
  if (::fstat(fd.get(), &info) != 0) system_error("read_file", path);
  std::string bytes(static_cast<std::size_t>(info.st_size) + 1, '\0');
  std::size_t size = 0;
  while (true) {  // a pipe has no size, and a file may grow: read until there is no more
    if (size == bytes.size()) bytes.resize(size + (size < 4096 ? 4096 : size / 2));
    const ssize_t got = ::read(fd.get(), bytes.data() + size, bytes.size() - size);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) system_error("read_file", path);
    if (got == 0) break;
    size += static_cast<std::size_t>(got);
  }
  bytes.resize(size);
  return bytes;
}

void write_file_atomically(const std::filesystem::path& given, std::string_view bytes) {
  constexpr std::string_view op = "write_file_atomically";
  const std::filesystem::path path = behind_links(given);
  if (is_special(path)) {
    const Descriptor fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd.is_open() || !write_all(fd.get(), bytes)) system_error(op, path);
    return;
  }
  const std::filesystem::path folder = path.has_parent_path() ? path.parent_path() : ".";
  std::string name = (folder / (".fovea-" + path.filename().string() + "-XXXXXX")).string();
  const Descriptor fd(::mkostemp(name.data(), O_CLOEXEC));
  if (!fd.is_open()) system_error(op, path);
  TemporaryFile temporary(std::move(name));
  if (::fchmod(fd.get(), permissions_for(path)) != 0 || !write_all(fd.get(), bytes) ||
      ::fsync(fd.get()) != 0 || !temporary.rename_to(path))
    system_error(op, path);
  sync_folder(folder);
}

}  // namespace fovea
