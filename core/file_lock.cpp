#include <fovea/core/error.h>
#include <fovea/core/file_lock.h>
#include <fovea/core/files.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <fcntl.h>
#include <optional>
#include <sys/file.h>
#include <sys/stat.h>
#include <thread>
#include <unistd.h>
#include <utility>

#include <fmt/format.h>

namespace fovea {
namespace {

// The holder writes its process id right after it acquires the lock.
std::string holder_of(int fd) {
  constexpr int attempts = 100;
  for (int i = 0; i < attempts; ++i) {
    char text[32];
    const ssize_t size = ::pread(fd, text, sizeof text, 0);
    if (size > 0) return std::string(text, static_cast<std::size_t>(size - 1));
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return "of unknown id";
}

template <class Call>
auto retried(const Call& call) {
  auto result = call();
  while (result < 0 && errno == EINTR) result = call();
  return result;
}

// Whether `name` still refers to the open file: its previous holder may have removed it.
bool is_current(int fd, const std::string& name) {
  struct stat open_file, named;
  return ::fstat(fd, &open_file) == 0 && ::lstat(name.c_str(), &named) == 0 &&
         open_file.st_dev == named.st_dev && open_file.st_ino == named.st_ino;
}

// A lock file is empty or contains a process id and a newline. No value if it cannot be read.
std::optional<bool> is_lock_file(int fd) {
  struct stat info;
  if (::fstat(fd, &info) != 0) return std::nullopt;
  if (!S_ISREG(info.st_mode)) return false;
  char text[32];
  const ssize_t size = retried([&] { return ::pread(fd, text, sizeof text, 0); });
  if (size < 0) return std::nullopt;
  if (size == 0) return true;
  const std::string_view line(text, static_cast<std::size_t>(size));
  return line.size() > 1 && line.size() < sizeof text &&
         line.find_first_not_of("0123456789") == line.size() - 1 && line.back() == '\n';
}

[[noreturn]] void refuse_other_file(std::string_view op, const std::string& name) {
  state_error(op, "{} is not a lock file: must be empty or hold a process id", name);
}

}  // namespace

std::filesystem::path lock_path(std::string_view op, const std::filesystem::path& path) {
  const OutputTarget target(path, op);
  return target.path.parent_path() / (".fovea-" + short_name(target.path) + ".lock");
}

FileLock::FileLock(std::string_view op, const std::filesystem::path& path)
    : name_(lock_path(op, path).string()), owner_(::getpid()) {
  while (true) {
    constexpr int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK;
    fd_ = retried([&] { return ::open(name_.c_str(), flags, 0666); });
    if (fd_ < 0 && (errno == ELOOP || errno == EISDIR)) refuse_other_file(op, name_);
    if (fd_ < 0) raise<Error>(op, "{}: {}", name_, std::strerror(errno));
    if (const std::optional<bool> is_ours = is_lock_file(fd_); !is_ours.value_or(false)) {
      const int error = errno;
      ::close(std::exchange(fd_, -1));
      if (is_ours) refuse_other_file(op, name_);
      raise<Error>(op, "{}: {}", name_, std::strerror(error));
    }
    const bool failed = retried([&] { return ::flock(fd_, LOCK_EX | LOCK_NB); }) != 0;
    if (failed && errno == EWOULDBLOCK) {
      const std::string holder = holder_of(fd_);
      ::close(std::exchange(fd_, -1));
      state_error(op, "{} is in use by process {}: must end first", path.string(), holder);
    }
    if (failed || is_current(fd_, name_)) break;
    ::close(fd_);
  }
  const std::string id = fmt::format("{}\n", owner_);
  if (retried([&] { return ::ftruncate(fd_, 0); }) != 0 ||
      retried([&] { return ::pwrite(fd_, id.data(), id.size(), 0); }) < 0) {
    const int error = errno;
    ::unlink(name_.c_str());
    ::close(std::exchange(fd_, -1));
    raise<Error>(op, "{}: {}", name_, std::strerror(error));
  }
}

FileLock::~FileLock() {
  if (fd_ < 0) return;
  // Remove it before unlocking: after that it may belong to another process.
  if (::getpid() == owner_ && is_current(fd_, name_)) ::unlink(name_.c_str());
  ::close(fd_);
}

FileLock::FileLock(FileLock&& other) noexcept
    : name_(std::move(other.name_)), owner_(other.owner_), fd_(std::exchange(other.fd_, -1)) {}

}  // namespace fovea
